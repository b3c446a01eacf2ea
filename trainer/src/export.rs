//! `export`: a run's model as transformers or open_clip load it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use burn::tensor::Device;
use clap::{Args, ValueEnum};
use fusion::DualConfig;
use serde_json::{Value, json};
use text_encoder::tokenizer::Tokenizer;
use transformer::save;

use crate::{
    files::write,
    model::{self, WeightFiles, read_config, weights_folder},
    recipe::{Overrides, Preprocessing, Recipe},
    say::say,
    vocabulary,
};

/// Options of `export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The folder of a run.
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

/// Writes config, weights, tokenizer and preprocessing of a run's newest whole record.
///
/// # Errors
///
/// If there is no record, the format has no model of this shape, or the folder cannot be written.
pub fn run(args: &ExportArgs, device: &Device) -> anyhow::Result<()> {
    let record = weights_folder(&args.run)?;
    let recipe = Recipe::load(&record.join("recipe.toml"), &Overrides::default())?;
    let (config, keys) = read_config(&record)?;
    let model = model::load_weights(&record, &config, keys, device)?;
    let tokenizer = vocabulary::saved(&recipe, &record.join("tokenizer.json"))?;
    let (config_json, keys) = match args.format {
        Format::Hf => config.to_hf(),
        Format::OpenClip => config.to_open_clip(),
    }
    .with_context(|| {
        format!(
            "{}: {} has no model of this shape; try the other --format",
            args.run.display(),
            args.format.name()
        )
    })?;
    let preprocessing = recipe.preprocessing();
    let config_json = match args.format {
        Format::Hf => hf_config(config_json, &tokenizer),
        Format::OpenClip => json!({
            "model_cfg": config_json,
            "preprocess_cfg": open_clip_preprocessing(preprocessing),
        }),
    };
    let names = WeightFiles::of(keys);
    let weights = save(&model, &config.bindings(keys))?.to_safetensors()?;
    let text = |value: &Value| serde_json::to_vec_pretty(value);
    let size = config.vision.image_size;
    let files = [
        (names.config, text(&config_json)?),
        (names.weights, weights),
        ("tokenizer.json", tokenizer.to_json()?.into_bytes()),
        (
            "tokenizer_config.json",
            text(&tokenizer_config(&tokenizer, &config)?)?,
        ),
        (
            "preprocessor_config.json",
            text(&hf_preprocessing(preprocessing, size))?,
        ),
    ];
    empty_folder(&args.out)?;
    for (name, bytes) in &files {
        write(&args.out.join(name), bytes)?;
    }
    say(args.format.hint(&args.out));
    Ok(())
}

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::Hf => "transformers",
            Self::OpenClip => "open_clip",
        }
    }

    fn hint(self, out: &Path) -> String {
        let out = out.display();
        match self {
            Self::Hf => format!("written: transformers.CLIPModel.from_pretrained(\"{out}\")"),
            Self::OpenClip => {
                format!("written: open_clip.create_model_and_transforms(\"local-dir:{out}\")")
            }
        }
    }
}

fn empty_folder(out: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("{}: cannot be made", out.display()))?;
    let mut entries = fs::read_dir(out).with_context(|| out.display().to_string())?;
    ensure!(
        entries.next().is_none(),
        "{}: is not empty; give a new folder with --out",
        out.display()
    );
    Ok(())
}

/// The special tokens' ids are the tokenizer's own.
fn hf_config(mut config: Value, tokenizer: &Tokenizer) -> Value {
    let text = &mut config["text_config"];
    if let Some(start) = tokenizer.start_id() {
        text["bos_token_id"] = json!(start);
    }
    if let Some(end) = tokenizer.end_id() {
        text["eos_token_id"] = json!(end);
        text["pad_token_id"] = json!(end);
    }
    config
}

fn tokenizer_config(tokenizer: &Tokenizer, config: &DualConfig) -> anyhow::Result<Value> {
    let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id));
    let (start, end) = (token(tokenizer.start_id()), token(tokenizer.end_id()));
    // As transformers does for CLIP: the pooled token is the first end token, so that more of them change nothing.
    // SigLIP pools the last position: there the padding token matters.
    let pad = match config.text.trims() {
        true => end.clone(),
        false => token(Some(tokenizer.pad_id())),
    };
    Ok(json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.text.context,
        "bos_token": start,
        "eos_token": end,
        "pad_token": pad.context("the tokenizer has no token to pad with")?,
        "padding_side": "right",
        "clean_up_tokenization_spaces": false,
    }))
}

const CLIP_MEAN: [f64; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const CLIP_STD: [f64; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

fn hf_preprocessing(preprocessing: Preprocessing, size: usize) -> Value {
    let square = json!({ "height": size, "width": size });
    let (kind, resize, mean, std) = match preprocessing {
        Preprocessing::Clip | Preprocessing::OpenClip => (
            "CLIP",
            json!({ "shortest_edge": size }),
            CLIP_MEAN,
            CLIP_STD,
        ),
        Preprocessing::Siglip => ("Siglip", square.clone(), [0.5; 3], [0.5; 3]),
        Preprocessing::Vit => ("ViT", square.clone(), [0.5; 3], [0.5; 3]),
    };
    let mut json = json!({
        "image_processor_type": format!("{kind}ImageProcessor"),
        "do_resize": true,
        "size": resize,
        "resample": if kind == "ViT" { 2 } else { 3 },
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": mean,
        "image_std": std,
        "do_convert_rgb": true,
    });
    if kind == "CLIP" {
        json["processor_class"] = json!("CLIPProcessor");
        json["do_center_crop"] = json!(true);
        json["crop_size"] = square;
    }
    if kind == "Siglip" {
        json["processor_class"] = json!("SiglipProcessor");
    }
    json
}

fn open_clip_preprocessing(preprocessing: Preprocessing) -> Value {
    let (mean, std, interpolation, mode) = match preprocessing {
        Preprocessing::Clip | Preprocessing::OpenClip => {
            (CLIP_MEAN, CLIP_STD, "bicubic", "shortest")
        }
        Preprocessing::Siglip => ([0.5; 3], [0.5; 3], "bicubic", "squash"),
        Preprocessing::Vit => ([0.5; 3], [0.5; 3], "bilinear", "squash"),
    };
    json!({ "mean": mean, "std": std, "interpolation": interpolation, "resize_mode": mode })
}
