//! The logits of an exported ViT or BERT, without the trainer: what `scripts/check_towers.py` compares with transformers.
//!
//!     cargo run --release -p trainer --example logits -- FOLDER INPUTS.safetensors OUT.safetensors
//!
//! FOLDER holds `config.json` and `model.safetensors`. The inputs are `pixel_values` `[pictures, 3, height, width]`, or
//! `input_ids` and `attention_mask` `[captions, tokens]`. The output is `logits`: `[pictures, classes]`, or `[captions *
//! tokens, words]`.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use burn::tensor::{Device, Tensor, TensorData};
use checkpointing::{Passenger, Seed, State};
use serde_json::Value;
use text_encoder::{MaskedLanguageModel, TextConfig};
use transformer::{Tokens, Weights, load};
use vision_encoder::{VisionConfig, VisionEncoder, VisionKeys};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, inputs, out] = &arguments[..] else {
        anyhow::bail!("give FOLDER INPUTS.safetensors OUT.safetensors");
    };
    let folder = Path::new(folder);
    let config: Value = serde_json::from_slice(&fs::read(folder.join("config.json"))?)?;
    let weights = Weights::from_safetensors(&fs::read(folder.join("model.safetensors"))?)?;
    let inputs = Weights::from_safetensors(&fs::read(inputs)?)?;
    let device = Device::default();
    let logits = match config["model_type"].as_str() {
        Some("vit") => vit(&config, &weights, &inputs, &device)?,
        Some("bert") => bert(&config, &weights, &inputs, &device)?,
        other => anyhow::bail!("config.json: `model_type` is {other:?}; give vit or bert"),
    };
    let mut output = Weights::default();
    output.insert("logits", logits.into_data());
    fs::write(out, output.to_safetensors()?)?;
    Ok(())
}

fn tensor(inputs: &Weights, name: &str) -> anyhow::Result<TensorData> {
    let data = inputs.get(name);
    Ok(data.with_context(|| format!("no `{name}`"))?.clone())
}

fn vit(
    config: &Value,
    weights: &Weights,
    inputs: &Weights,
    device: &Device,
) -> anyhow::Result<Tensor<2>> {
    let config = VisionConfig::from_hf_vit(config)?;
    let bindings = config.bindings(VisionKeys::HfVit);
    let model = load(config.init(device), &bindings, weights)?;
    let pixels = Tensor::<4>::from_data(tensor(inputs, "pixel_values")?, device);
    let chain = model.chain(Tokens::Pooled);
    let output = chain.run(0..chain.len(), model.input(pixels), Seed::evaluation());
    Ok(output.into_hidden().squeeze_dim(1))
}

fn bert(
    config: &Value,
    weights: &Weights,
    inputs: &Weights,
    device: &Device,
) -> anyhow::Result<Tensor<2>> {
    let config = TextConfig {
        pooler: false,
        ..TextConfig::from_hf_bert(config)?
    };
    let model = MaskedLanguageModel::new(&config, device);
    let model = load(model, &config.mlm_bindings(), weights)?;
    let ids = tensor(inputs, "input_ids")?;
    ensure!(ids.shape().len() == 2, "`input_ids` is [captions, tokens]");
    let mask = Tensor::<2, burn::tensor::Int>::from_data(tensor(inputs, "attention_mask")?, device);
    let state = State::default()
        .with("ids", Passenger::Ids(Tensor::from_data(ids, device)))
        .with("mask", Passenger::Mask(mask.equal_elem(1)));
    let chain = model.chain();
    let decoded = chain.run(0..chain.len(), state, Seed::evaluation());
    let hidden = decoded.into_hidden();
    let [captions, tokens, width] = hidden.dims();
    let head = model.vocabulary();
    let logits = hidden
        .reshape([captions * tokens, width])
        .matmul(head.weight.transpose());
    Ok(match head.bias {
        None => logits,
        Some(bias) => logits + bias.unsqueeze(),
    })
}
