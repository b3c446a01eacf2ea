//! The BERT of a recipe or of a record, with its tokenizer.

use std::path::Path;

use anyhow::{Context, ensure};
use burn::tensor::Device;
use data::Source;
use text_encoder::{MaskedLanguageModel, TextConfig, tokenizer::Tokenizer};
use transformer::NormOrder;

use super::{Inputs, Mlm, masking::Masking};
use crate::{
    input::{
        ConfigFile, HF, TOKENIZER, WeightsFolder,
        caption_reader::CaptionReader,
        early,
        model::drawn,
        tokenizer::{self, Captions},
        towers::TextTower,
    },
    recipe::{self, Recipe, Start, Tower},
    task::{Built, From, Plan},
};

/// Makes what a plan asks for.
pub(super) fn build(plan: Plan<'_>) -> anyhow::Result<Built<Mlm>> {
    let Plan {
        recipe,
        from,
        memory,
        device,
    } = plan;
    let (tower, mut captions) = match from {
        From::Recipe(source) => of_recipe(recipe, source)?,
        From::Record(record) => of_record(recipe, record)?,
    };
    let config = trained_as(recipe, tower.as_ref(), &captions.tokenizer)?;
    early::memory(recipe, config.parameters(), None, memory)?;
    tokenizer::check(&captions.tokenizer, &config).with_context(|| captions.from.clone())?;
    let context = tokenizer::context(recipe, captions.max_length, &config)?;
    if matches!(from, From::Recipe(_)) {
        recipe.tokens = recipe
            .tokens
            .clone()
            .with_reading(captions.reading(context));
    }
    let mut log_lines = std::mem::take(&mut captions.log_lines);
    let masking = masking(recipe, &captions)?;
    let model = model(recipe, &config, tower.as_ref(), device, &mut log_lines)?;
    let json = config.to_hf_bert().context(
        "transformers' BERT has no model of this shape, so that nothing could read it again; start from a BERT's weights, \
         or from sizes",
    )?;
    let tokenizer = captions.tokenizer.to_json()?;
    let padded = tokenizer::padded(captions.tokenizer, &config);
    Ok(Built {
        model: locked(model, recipe),
        config: ConfigFile { name: HF, json },
        texts: vec![(TOKENIZER, tokenizer)],
        log_lines,
        adapters: None,
        task: Mlm {
            recipe: recipe.clone(),
            inputs: Inputs {
                captions: CaptionReader::new(padded, context, config.needs_mask()),
                masking,
                seed: recipe.seed,
            },
            config,
            device: device.clone(),
        },
    })
}

fn of_recipe(
    recipe: &Recipe,
    source: Option<&dyn Source>,
) -> anyhow::Result<(Option<TextTower>, Captions)> {
    let tower = match recipe.model.text_start() {
        Some(Start::Pretrained(folder)) => Some(TextTower::find(folder.as_path())?),
        _ => None,
    };
    let folder = tower.as_ref().map(|tower| &tower.folder);
    let captions = Captions::resolve(recipe, folder, source)?;
    Ok((tower, captions))
}

fn of_record(recipe: &Recipe, record: &Path) -> anyhow::Result<(Option<TextTower>, Captions)> {
    let tower = TextTower::read(WeightsFolder::read(record)?)?;
    Ok((Some(tower), Captions::recorded(recipe, record)?))
}

/// The sizes, with what a recipe says of training alone.
fn trained_as(
    recipe: &Recipe,
    tower: Option<&TextTower>,
    tokenizer: &Tokenizer,
) -> anyhow::Result<TextConfig> {
    let sizes = match (tower, &recipe.model.text) {
        (Some(tower), _) => tower.config.clone(),
        (None, Some(sizes)) => {
            let vocab_size = tokenizer.max_id() as usize + 1;
            let (context, d_model, n_layers) = (sizes.context, sizes.d_model, sizes.n_layers);
            let mut config = TextConfig::bert(vocab_size, context, d_model, n_layers);
            sizes.apply(&mut config.sizes);
            config.padding_id = Some(tokenizer.pad_id() as usize);
            config
        }
        (None, None) => anyhow::bail!("recipe {}: `model.text` is missing", recipe.name),
    };
    ensure!(
        sizes.norm_order == NormOrder::Post && !sizes.causal,
        "{}: holds a text tower that is no BERT, and masked words are BERT's; name a BERT's folder",
        tower.map_or(String::new(), |tower| tower
            .folder
            .path
            .display()
            .to_string())
    );
    let mut config = TextConfig {
        // It takes no part.
        pooler: false,
        ..sizes
    };
    recipe
        .model
        .check_locks(Tower::Text, config.sizes.n_layers)?;
    config.sizes = config.sizes.with_dropout(recipe.train.dropout);
    Ok(config.checked()?)
}

/// How words are hidden.
fn masking(recipe: &Recipe, captions: &Captions) -> anyhow::Result<Masking> {
    let tokenizer = &captions.tokenizer;
    let mask = tokenizer.mask_id().with_context(|| {
        format!(
            "{}: has no token that stands for a hidden word, such as [MASK]; use a BERT's tokenizer, or learn one with \
             tokens.kind=wordpiece",
            captions.from
        )
    })?;
    let words = (0..=tokenizer.max_id()).filter(|id| tokenizer.token(*id).is_some());
    let words: Vec<i64> = words
        .filter(|id| *id != mask && !tokenizer.is_special(*id) && *id != tokenizer.pad_id())
        .map(i64::from)
        .collect();
    ensure!(
        !words.is_empty(),
        "{}: holds no word that could be hidden",
        captions.from
    );
    let share = match &recipe.task {
        recipe::Task::Mlm(mlm) => mlm.mask,
        recipe::Task::Contrastive | recipe::Task::Classify(_) => {
            unreachable!("the task of the recipe is another")
        }
    };
    Ok(Masking {
        share,
        mask: i64::from(mask),
        words,
    })
}

/// The model: drawn, or with the weights of a folder, which may lack the head of masked words.
fn model(
    recipe: &Recipe,
    config: &TextConfig,
    tower: Option<&TextTower>,
    device: &Device,
    log_lines: &mut Vec<String>,
) -> anyhow::Result<MaskedLanguageModel> {
    let init = |device: &Device| MaskedLanguageModel::new(config, device);
    let Some(tower) = tower else {
        return Ok(drawn(recipe.seed, device, init));
    };
    if tower.folder.holds("cls.predictions.bias")? {
        // Whatever stands beside it, a pooler or the head that tells next sentences, is not read.
        let namings = [config.mlm_bindings().ignoring_others()];
        return tower.folder.load(init(device), &namings, log_lines);
    }
    let mut model = drawn(recipe.seed, device, init);
    log_lines.push(format!(
        "weights: {} has no head of masked words; it is new",
        tower.folder.path.display()
    ));
    model.bert = tower.load(config, model.bert, device, log_lines)?;
    Ok(model)
}

/// The model with parts of its tower frozen.
fn locked(mut model: MaskedLanguageModel, recipe: &Recipe) -> MaskedLanguageModel {
    for part in recipe.model.locked(Tower::Text) {
        model = model.locked(part);
    }
    model
}
