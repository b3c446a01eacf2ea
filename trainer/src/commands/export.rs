//! `export`: a run's model as transformers or open_clip load it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use burn::tensor::Device;
use clap::Args;
use transformer::Weights;

use crate::{
    adapters,
    files::write,
    recipe::Overrides,
    say::{say, tell},
    task::{Built, Export, Format, OpenedModel, Task, WithTask, with_task},
};

/// Options of `export`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExportArgs {
    /// The folder of a run, or of weights.
    #[arg(long)]
    run: PathBuf,
    /// The folder to write; it must be empty or not exist.
    #[arg(long)]
    out: PathBuf,
    /// Whose files.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Options of `merge`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MergeArgs {
    /// The folder of a run with adapters; or of weights, with `--adapter`.
    #[arg(long)]
    run: PathBuf,
    /// An adapter of HF PEFT or of a run, for the weights in `--run`.
    #[arg(long)]
    adapter: Option<PathBuf>,
    /// The folder to write; it must be empty or not exist.
    #[arg(long)]
    out: PathBuf,
    /// Whose files.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Writes the whole model of a run with its adapters folded in, as `export` writes a model.
///
/// # Errors
///
/// As [`run`]; if there is no adapter, or it cannot be folded in.
pub(crate) fn merge(args: &MergeArgs, device: &Device) -> anyhow::Result<()> {
    let MergeArgs {
        run,
        adapter,
        out,
        format,
    } = args.clone();
    let what = What::Merged(adapter);
    let args = ExportArgs { run, out, format };
    written(&args, what, device)
}

/// Writes config, weights, tokenizer and preprocessing of a run's newest whole record, or of a folder of weights.
///
/// # Errors
///
/// If the folder holds no model, the format has no model of this shape, or the new folder cannot be written.
pub(crate) fn run(args: &ExportArgs, device: &Device) -> anyhow::Result<()> {
    written(args, What::AsIs, device)
}

/// What of a model is written.
enum What {
    /// The model; of a run with adapters, these alone.
    AsIs,
    /// The model with its adapters, or those of a folder, folded in.
    Merged(Option<PathBuf>),
}

fn written(args: &ExportArgs, what: What, device: &Device) -> anyhow::Result<()> {
    check_folder(&args.out)?;
    let overrides = Overrides {
        // A recipe must name data. An export opens none.
        train: vec![PathBuf::from("none")],
        ..Overrides::default()
    };
    let opened = OpenedModel::find(&args.run, &overrides)?;
    let task = opened.recipe.task.clone();
    let making = Making {
        args,
        what,
        opened,
        device,
    };
    let export = with_task(&task, making)?;
    if let Some(key) = first_not_finite(&export.weights) {
        tell(format_args!(
            "warning: `{key}` holds numbers that are not finite: this model diverged, and gives no useful features"
        ));
    }
    let config = &export.config;
    let mut files = vec![
        (config.name, serde_json::to_vec_pretty(&config.json)?),
        (config.weights_name(), export.weights.to_safetensors()?),
    ];
    files.extend(export.files);
    export.notes.iter().for_each(tell);
    fs::create_dir_all(&args.out)
        .with_context(|| format!("{}: cannot be made", args.out.display()))?;
    for (name, bytes) in &files {
        write(&args.out.join(name), bytes)?;
    }
    let call = export.call.replace("{}", &args.out.display().to_string());
    say(format_args!("written: {call}"));
    Ok(())
}

struct Making<'a> {
    args: &'a ExportArgs,
    what: What,
    opened: OpenedModel,
    device: &'a Device,
}

impl WithTask for Making<'_> {
    type Output = anyhow::Result<Export>;

    fn run<T: Task>(mut self) -> anyhow::Result<Export> {
        let mut built = self.opened.build::<T>(self.device)?;
        built.log_lines.iter().for_each(tell);
        let format = self.args.format;
        if let What::Merged(adapter) = &self.what {
            built = self.merged(built, adapter.as_deref())?;
        } else if built.adapters.is_some() {
            return Ok(Export {
                weights: built.weights()?,
                config: built.config,
                files: Vec::new(),
                notes: Vec::new(),
                call: "PeftModel.from_pretrained(base, \"{}\")",
            });
        }
        if let Some(export) = built.task.export(&built.model, format)? {
            return Ok(export);
        }
        let others = [Format::Hf, Format::OpenClip].into_iter();
        let remedy = others.filter(|other| *other != format).map(|other| {
            let has_it = built.task.export(&built.model, other);
            has_it.map(|export| export.map(|_| format!("; try --format {}", other.option())))
        });
        let remedy = remedy.collect::<anyhow::Result<Vec<_>>>()?;
        bail!(
            "{}: {} has no model of this shape, or does not preprocess pictures so{}",
            self.args.run.display(),
            format.library(),
            remedy.into_iter().flatten().collect::<String>()
        )
    }
}

impl Making<'_> {
    /// The model with adapters folded in.
    fn merged<T: Task>(
        &self,
        mut built: Built<T>,
        adapter: Option<&Path>,
    ) -> anyhow::Result<Built<T>> {
        let run = self.args.run.display();
        if let Some(adapter) = adapter {
            ensure!(
                built.adapters.is_none(),
                "{run}: has an adapter of its own; leave out --adapter, or name the weights that it is of"
            );
            built = adapters::with_files(built, adapter, self.device)?;
        }
        ensure!(
            built.adapters.take().is_some(),
            "{run}: has no adapter to fold in; name one with --adapter, or use `export`"
        );
        built.model = adapters::merged(&built.model)?;
        Ok(built)
    }
}

/// The first tensor that holds NaN or infinities.
fn first_not_finite(weights: &Weights) -> Option<&str> {
    weights.keys().find(|key| {
        let values = weights
            .get(key)
            .and_then(|data| data.as_slice::<f32>().ok());
        values.is_some_and(|values| values.iter().any(|value| !value.is_finite()))
    })
}

/// A folder to write into: empty, or not there yet.
fn check_folder(out: &Path) -> anyhow::Result<()> {
    match fs::read_dir(out) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            Err(error).with_context(|| format!("{}: cannot be written into", out.display()))
        }
        Ok(mut entries) => {
            ensure!(
                entries.next().is_none(),
                "{}: is not empty; give a new folder with --out",
                out.display()
            );
            Ok(())
        }
    }
}
