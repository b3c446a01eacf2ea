//! The model of a recipe or of a record, with all that it needs to read pictures and captions.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use burn::tensor::Device;
use data::Source;
use fusion::{DualConfig, DualKeys};
use transformer::Bindings;
use vision_encoder::image::PreprocessorConfig;

use super::{Contrastive, Inputs, Model, sizes};
use crate::{
    input::{
        ConfigFile, HF, OPEN_CLIP, PREPROCESSING, TOKENIZER, WeightsFolder,
        caption_reader::CaptionReader,
        early,
        image_reader::ImageReader,
        model::drawn,
        preprocessing::{self, Pictures},
        tokenizer::{self, Captions},
        towers::{TextTower, VisionTower},
    },
    recipe::{Family, Preprocessing, Recipe, Start, Task as TaskRecipe, Tower},
    task::{Built, From, Plan},
};

/// From where the parameters come.
enum Weights {
    /// Drawn, but for the towers that were trained apart.
    Drawn(Option<Box<VisionTower>>, Option<Box<TextTower>>),
    /// From a file that holds the whole model.
    Whole(Box<WeightsFolder>),
}

/// What a model is made from.
struct Parts {
    config: DualConfig,
    file: ConfigFile,
    keys: DualKeys,
    preprocessing: PreprocessorConfig,
    captions: Captions,
    context: usize,
    weights: Weights,
}

/// Makes what a plan asks for.
pub(super) fn build(plan: Plan<'_>) -> anyhow::Result<Built<Contrastive>> {
    let Plan {
        recipe,
        from,
        memory,
        device,
    } = plan;
    let (parts, log_lines) = match from {
        From::Recipe(captions) => Parts::of_recipe(recipe, captions, memory)?,
        From::Record(record) => (Parts::of_record(recipe, record)?, Vec::new()),
    };
    parts.built(recipe, log_lines, device)
}

impl Parts {
    /// What a recipe asks for; it gets what was found out: the family, and how captions are read.
    fn of_recipe(
        recipe: &mut Recipe,
        captions: Option<&dyn Source>,
        memory: Option<u64>,
    ) -> anyhow::Result<(Self, Vec<String>)> {
        let weights = found(recipe)?;
        let text_folder = match &weights {
            Weights::Whole(folder) => Some(&**folder),
            Weights::Drawn(_, text) => text.as_ref().map(|text| &text.folder),
        };
        let mut captions = Captions::resolve(recipe, text_folder, captions)?;
        let (sizes, file) = match &weights {
            Weights::Whole(folder) => {
                let (config, keys) = whole(folder)?;
                (config, Some((folder.file.clone(), keys)))
            }
            Weights::Drawn(vision, text) => {
                let vocabulary = captions.tokenizer.max_id() as usize + 1;
                let vision = vision.as_ref().map(|tower| &tower.config);
                let text = text.as_ref().map(|tower| &tower.config);
                (sizes::sized(recipe, vision, text, vocabulary)?, None)
            }
        };
        let config = sizes::trained_as(sizes, recipe);
        let blocks = [
            (Tower::Image, config.vision.sizes.n_layers),
            (Tower::Text, config.text.sizes.n_layers),
        ];
        for (tower, n_layers) in blocks {
            recipe.model.check_locks(tower, n_layers)?;
        }
        let side = config.vision.image_size;
        early::memory(recipe, config.parameters(), Some(side), memory)?;
        let family = sizes::family_of(&config);
        ensure!(
            recipe.model.family.is_none_or(|wanted| wanted == family),
            "recipe {}: `model.family` is {}, and the weights are of a {}; set it to {}, or leave it out",
            recipe.name,
            recipe.model.family.map_or("", Family::name),
            family.name(),
            family.name()
        );
        tokenizer::check(&captions.tokenizer, &config.text)
            .with_context(|| captions.from.clone())?;
        let context = tokenizer::context(recipe, captions.max_length, &config.text)?;
        let usual = usual(&config);
        let brought = match &weights {
            Weights::Whole(folder) => brought(folder, usual, side)?,
            Weights::Drawn(Some(vision), _) => vision.folder.pictures()?,
            Weights::Drawn(None, _) => None,
        };
        let pictures = Pictures::resolve(recipe, brought, usual, side)?;
        recipe.model.family = Some(family);
        recipe.tokens = recipe
            .tokens
            .clone()
            .with_reading(captions.reading(context));
        let mut log_lines = vec![pictures.log_line];
        log_lines.append(&mut captions.log_lines);
        let (file, keys) = match file {
            Some(file) => file,
            None => config_file(&config)?,
        };
        let parts = Self {
            config,
            file,
            keys,
            preprocessing: pictures.config,
            captions,
            context,
            weights,
        };
        Ok((parts, log_lines))
    }

    /// What a record holds, under its recipe.
    fn of_record(recipe: &Recipe, record: &Path) -> anyhow::Result<Self> {
        let weights = WeightsFolder::read(record)?;
        let (config, keys) = whole(&weights)?;
        let config = sizes::trained_as(config, recipe);
        let captions = Captions::recorded(recipe, record)?;
        tokenizer::check(&captions.tokenizer, &config.text)?;
        let context = tokenizer::context(recipe, None, &config.text)?;
        let brought = preprocessing::recorded(record)?;
        let side = config.vision.image_size;
        let pictures = Pictures::resolve(recipe, brought, usual(&config), side)?;
        Ok(Self {
            file: weights.file.clone(),
            keys,
            preprocessing: pictures.config,
            captions,
            context,
            weights: Weights::Whole(Box::new(weights)),
            config,
        })
    }

    fn built(
        self,
        recipe: &Recipe,
        mut log_lines: Vec<String>,
        device: &Device,
    ) -> anyhow::Result<Built<Contrastive>> {
        let Self {
            config,
            file,
            keys,
            preprocessing,
            captions,
            context,
            weights,
        } = self;
        let model = match weights {
            Weights::Whole(folder) => {
                let namings = namings(&config, keys);
                folder.load(config.init(device), &namings, &mut log_lines)?
            }
            Weights::Drawn(vision, text) => {
                let init = |device: &Device| config.init(device);
                let mut model: Model = drawn(recipe.seed, device, init);
                if let Some(tower) = vision {
                    model.vision =
                        tower.load(&config.vision, model.vision, device, &mut log_lines)?;
                }
                if let Some(tower) = text {
                    model.text = tower.load(&config.text, model.text, device, &mut log_lines)?;
                }
                model
            }
        };
        let json = captions.tokenizer.to_json()?;
        let padded = tokenizer::padded(captions.tokenizer, &config.text);
        let inputs = Inputs {
            images: ImageReader::new(recipe, &preprocessing, config.vision.image_size)?,
            captions: CaptionReader::new(padded, context, config.text.needs_mask()),
        };
        Ok(Built {
            model: locked(model, recipe),
            config: file,
            texts: vec![
                (TOKENIZER, json),
                (PREPROCESSING, serde_json::to_string_pretty(&preprocessing)?),
            ],
            log_lines,
            adapters: None,
            task: Contrastive {
                recipe: recipe.clone(),
                config,
                keys,
                preprocessing,
                inputs,
                device: device.clone(),
            },
        })
    }
}

/// The folders that a recipe names.
fn found(recipe: &Recipe) -> anyhow::Result<Weights> {
    let model = &recipe.model;
    if let Some(folder) = &model.pretrained {
        let folder = WeightsFolder::find(folder.as_path())?;
        if let Some(run) = &folder.run
            && run.task != TaskRecipe::Contrastive
        {
            bail!(
                "{}: is a run of kind {}, which has one tower; name it in `model.pretrained_vision` or \
                 `model.pretrained_text`",
                folder.path.display(),
                run.task.name()
            );
        }
        return Ok(Weights::Whole(Box::new(folder)));
    }
    let vision = match model.vision_start() {
        Some(Start::Pretrained(folder)) => Some(Box::new(VisionTower::find(folder.as_path())?)),
        _ => None,
    };
    let text = match model.text_start() {
        Some(Start::Pretrained(folder)) => Some(Box::new(TextTower::find(folder.as_path())?)),
        _ => None,
    };
    Ok(Weights::Drawn(vision, text))
}

/// The sizes and the naming of a folder with a whole model.
fn whole(folder: &WeightsFolder) -> anyhow::Result<(DualConfig, DualKeys)> {
    folder.parse(|json| {
        if folder.file.name == OPEN_CLIP {
            DualConfig::from_open_clip(json)
        } else {
            DualConfig::from_hf(json)
        }
    })
}

/// The namings that the weights beside a config may follow, the config's own first: folders hold files of transformers and
/// of open_clip side by side, and open_clip's from before the text tower stood apart.
pub(crate) fn namings(config: &DualConfig, keys: DualKeys) -> Vec<Bindings> {
    let hf = match config.logit_bias {
        None => DualKeys::HfClip,
        Some(_) => DualKeys::HfSiglip,
    };
    let others = [DualKeys::OpenClip, DualKeys::OpenClipCustom, hf];
    let others = others.into_iter().filter(|other| *other != keys);
    // A tower that was trained apart has names that the others have not.
    let others = others.filter(|_| keys != DualKeys::HfVisionText);
    std::iter::once(keys)
        .chain(others)
        .map(|keys| config.bindings(keys))
        .collect()
}

/// The config of sizes that no file brought.
fn config_file(config: &DualConfig) -> anyhow::Result<(ConfigFile, DualKeys)> {
    let hf = config.to_hf().map(|(json, keys)| (HF, json, keys));
    let file = hf.or_else(|| {
        let (json, keys) = config.to_open_clip()?;
        Some((OPEN_CLIP, serde_json::json!({ "model_cfg": json }), keys))
    });
    let (name, json, keys) = file.context(
        "neither transformers nor open_clip has a model of these two towers, so that nothing could read it again; join a \
         ViT or CLIP's vision tower with a BERT or CLIP's text tower, or two of one family",
    )?;
    Ok((ConfigFile { name, json }, keys))
}

/// The preprocessing that a folder names. A run's records of before the file that says it have it in their recipe.
fn brought(
    folder: &WeightsFolder,
    usual: Preprocessing,
    side: usize,
) -> anyhow::Result<Option<(PreprocessorConfig, String)>> {
    let named = folder.pictures()?;
    let Some(run) = folder.run.as_ref().filter(|_| named.is_none()) else {
        return Ok(named);
    };
    let pictures = Pictures::resolve(run, None, usual, side)?;
    let from = format!("the recipe of {}", folder.path.display());
    Ok(Some((pictures.config, from)))
}

/// The preprocessing of pictures where nothing is said.
fn usual(config: &DualConfig) -> Preprocessing {
    if sizes::is_vit(&config.vision) {
        return Preprocessing::Vit;
    }
    match sizes::family_of(config) {
        Family::Clip => Preprocessing::Clip,
        Family::Siglip => Preprocessing::Siglip,
    }
}

/// The model with parts of its towers frozen.
fn locked(mut model: Model, recipe: &Recipe) -> Model {
    for part in recipe.model.locked(Tower::Image) {
        model.vision = model.vision.locked(part);
    }
    for part in recipe.model.locked(Tower::Text) {
        model.text = model.text.locked(part);
    }
    model
}
