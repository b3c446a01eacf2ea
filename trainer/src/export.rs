//! `export`: a run's model as transformers or open_clip load it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use fusion::DualKeys;
use serde_json::{Value, json};
use text_encoder::tokenizer::{Exported, Tokenizer};
use transformer::{Weights, save};

use crate::{
    files::write,
    input::{Setup, config_name, weights_name},
    recipe::Overrides,
    say::{say, tell},
};

/// Options of `export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
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

/// Whose files are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Format {
    /// transformers': `CLIPModel.from_pretrained`, `AutoProcessor.from_pretrained`.
    #[default]
    Hf,
    /// open_clip's: `create_model_and_transforms("local-dir:...")`.
    OpenClip,
}

/// Writes config, weights, tokenizer and preprocessing of a run's newest whole record, or of a folder of weights.
///
/// # Errors
///
/// If the folder holds no model, the format has no model of this shape, or the new folder cannot be written.
pub fn run(args: &ExportArgs, device: &Device) -> anyhow::Result<()> {
    check_folder(&args.out)?;
    let overrides = Overrides {
        // A recipe must name data. An export opens none.
        train: vec![PathBuf::from("none")],
        ..Overrides::default()
    };
    let (_, setup) = Setup::open(&args.run, &overrides, device)?;
    setup.told.iter().for_each(tell);
    let tokenizer = setup.exported_tokenizer()?;
    let parts = args.format.parts(&setup, &tokenizer).with_context(|| {
        format!(
            "{}: {} has no model of this shape; try --format {}",
            args.run.display(),
            args.format.name(),
            args.format.other()
        )
    })?;
    let weights = save(&setup.model, &setup.config.bindings(parts.keys))?;
    if let Some(key) = first_not_finite(&weights) {
        tell(format_args!(
            "warning: `{key}` holds numbers that are not finite: this model diverged, and gives no useful features"
        ));
    }
    let mut files = vec![
        (
            config_name(parts.keys),
            serde_json::to_vec_pretty(&parts.config)?,
        ),
        (weights_name(parts.keys), weights.to_safetensors()?),
    ];
    if let Some(json) = setup.preprocessing.to_hf_json() {
        files.push((
            "preprocessor_config.json",
            serde_json::to_vec_pretty(&json)?,
        ));
    }
    files.extend(tokenizer.files);
    tokenizer.notes.iter().for_each(tell);
    fs::create_dir_all(&args.out)
        .with_context(|| format!("{}: cannot be made", args.out.display()))?;
    for (name, bytes) in &files {
        write(&args.out.join(name), bytes)?;
    }
    say(args.format.hint(&args.out, parts.keys));
    Ok(())
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

/// What a format says of a model.
struct Written {
    config: Value,
    keys: DualKeys,
}

impl Format {
    /// The config of a model in this format; none if it has no such model.
    fn parts(self, setup: &Setup, tokenizer: &Exported) -> Option<Written> {
        // Pictures that the other library would preprocess otherwise would give other features.
        match self {
            Self::Hf => match (setup.config.to_hf(), setup.preprocessing.to_hf_json()) {
                (Some((config, keys)), Some(_)) => Some(Written {
                    config: with_special_tokens(config, setup.inputs.tokenizer()),
                    keys,
                }),
                _ => None,
            },
            Self::OpenClip => {
                let preprocessing = setup.preprocessing.to_open_clip_json();
                match (setup.config.to_open_clip(), preprocessing) {
                    (Some((mut config, keys)), Some(preprocessing)) => {
                        let kwargs = &tokenizer.open_clip_kwargs;
                        config["text_cfg"]["tokenizer_kwargs"] = kwargs.clone();
                        Some(Written {
                            config: json!({ "model_cfg": config, "preprocess_cfg": preprocessing }),
                            keys,
                        })
                    }
                    _ => None,
                }
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Hf => "transformers",
            Self::OpenClip => "open_clip",
        }
    }

    fn other(self) -> &'static str {
        match self {
            Self::Hf => "open_clip",
            Self::OpenClip => "hf",
        }
    }

    /// How the folder is read again.
    fn hint(self, out: &Path, keys: DualKeys) -> String {
        let out = out.display();
        match (self, keys) {
            (Self::Hf, DualKeys::HfSiglip) => {
                format!("written: transformers.SiglipModel.from_pretrained(\"{out}\")")
            }
            (Self::Hf, _) => format!("written: transformers.CLIPModel.from_pretrained(\"{out}\")"),
            (Self::OpenClip, _) => {
                format!("written: open_clip.create_model_and_transforms(\"local-dir:{out}\")")
            }
        }
    }
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

/// The special tokens' ids are the tokenizer's own.
fn with_special_tokens(mut config: Value, tokenizer: &Tokenizer) -> Value {
    let text = &mut config["text_config"];
    text["pad_token_id"] = json!(tokenizer.pad_id());
    let ends = [
        ("bos_token_id", tokenizer.start_id()),
        ("eos_token_id", tokenizer.end_id()),
    ];
    for (key, id) in ends {
        if let Some(id) = id {
            text[key] = json!(id);
        }
    }
    config
}
