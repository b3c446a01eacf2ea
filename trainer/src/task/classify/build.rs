//! The classifier of a recipe or of a record.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use data::Source;
use vision_encoder::{Pooling, VisionConfig, VisionKeys, VisionTransformer};

use super::{Classify, Inputs, classes_of, settings, timm_file};
use crate::{
    input::{
        ConfigFile, HF, PREPROCESSING, WeightsFolder, early,
        image_reader::ImageReader,
        model::drawn,
        preprocessing::{self, Pictures},
        towers::VisionTower,
    },
    recipe::{self, Preprocessing, Recipe, Start, Tower},
    task::{Built, From, Plan},
};

/// Makes what a plan asks for.
pub(super) fn build(plan: Plan<'_>) -> anyhow::Result<Built<Classify>> {
    let Plan {
        recipe,
        from,
        memory,
        device,
    } = plan;
    let mut log_lines = Vec::new();
    let tower = match from {
        From::Recipe(_) => match recipe.model.vision_start() {
            Some(Start::Pretrained(folder)) => Some(VisionTower::find(folder.as_path())?),
            _ => None,
        },
        From::Record(record) => Some(VisionTower::read(WeightsFolder::read(record)?)?),
    };
    let found = tower.as_ref().and_then(|tower| {
        let names = classes_of(&tower.folder.file.json)?;
        Some(each_once(names, &tower.folder, &mut log_lines))
    });
    let classes = match from {
        From::Recipe(source) => classes(recipe, source, found.as_deref())?,
        From::Record(_) => settings(recipe).classes.clone(),
    };
    recipe.task = recipe::Task::Classify(recipe::Classify {
        classes: classes.clone(),
        ..settings(recipe).clone()
    });
    if let (From::Record(record), Some(found)) = (from, &found) {
        ensure!(
            *found == classes,
            "`task.classes` names other classes than {}, or in another order; leave it out, or train anew from the record \
             with `model.pretrained`",
            record.display()
        );
    }
    let config = trained_as(recipe, tower.as_ref(), classes.len())?;
    let side = config.image_size;
    early::memory(recipe, config.parameters(), Some(side), memory)?;
    let brought = match (from, &tower) {
        (From::Record(record), _) => preprocessing::recorded(record)?,
        (From::Recipe(_), Some(tower)) => tower.folder.pictures()?,
        (From::Recipe(_), None) => None,
    };
    let pictures = Pictures::resolve(recipe, brought, Preprocessing::Vit, side)?;
    log_lines.push(pictures.log_line);
    let (file, keys) = config_file(&config, tower.as_ref(), &classes)?;
    let model = match &tower {
        None => drawn(recipe.seed, device, |device| config.init(device)),
        // The head is of use for the very classes it was trained on alone.
        Some(tower) if found.as_ref() == Some(&classes) => {
            let namings = [config.bindings(keys)];
            tower
                .folder
                .load(config.init(device), &namings, &mut log_lines)?
        }
        Some(tower) => {
            let model = drawn(recipe.seed, device, |device| config.init(device));
            log_lines.push(format!(
                "classes: {} that {} does not name, in this order; their classifier is new",
                classes.len(),
                tower.folder.path.display()
            ));
            tower.load(&config, model, device, &mut log_lines)?
        }
    };
    let images = ImageReader::new(recipe, &pictures.config, side)?;
    let texts = vec![(
        PREPROCESSING,
        serde_json::to_string_pretty(&pictures.config)?,
    )];
    Ok(Built {
        model: locked(model, recipe),
        config: file,
        texts,
        log_lines,
        adapters: None,
        task: Classify {
            settings: settings(recipe).clone(),
            recipe: recipe.clone(),
            config,
            keys,
            preprocessing: pictures.config,
            inputs: Inputs::new(images, &classes),
            device: device.clone(),
        },
    })
}

/// Names of classes of which each is another, as ImageNet's, which has two cranes, are not: a later one gets its number.
fn each_once(
    mut names: Vec<String>,
    folder: &WeightsFolder,
    log_lines: &mut Vec<String>,
) -> Vec<String> {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (number, name) in names.iter_mut().enumerate() {
        if !seen.insert(name.clone()) {
            let numbered = format!("{name} ({number})");
            log_lines.push(format!(
                "classes: {} names {name:?} again; class {number} is {numbered:?} here",
                folder.path.display()
            ));
            seen.insert(numbered.clone());
            *name = numbered;
        }
    }
    names
}

/// The classes in the order of their numbers: those that the recipe names; those of the weights where they cover the data;
/// or those of the data, sorted.
fn classes(
    recipe: &Recipe,
    source: Option<&dyn Source>,
    of_weights: Option<&[String]>,
) -> anyhow::Result<Vec<String>> {
    let seen: BTreeSet<String> = match source {
        Some(source) => (0..source.len())
            .map(|row| source.caption(row).into_owned())
            .collect(),
        None => BTreeSet::new(),
    };
    let named = &settings(recipe).classes;
    let classes = if !named.is_empty() {
        named.clone()
    } else {
        match of_weights {
            Some(known) if seen.iter().all(|class| known.contains(class)) => known.to_vec(),
            _ => seen.iter().cloned().collect(),
        }
    };
    if let Some(unknown) = seen.iter().find(|class| !classes.contains(class)) {
        anyhow::bail!(
            "recipe {}: the class {unknown:?} of the training pictures is not in `task.classes`; add it, or leave \
             `task.classes` out",
            recipe.name
        );
    }
    ensure!(
        classes.len() >= 2,
        "recipe {}: there {} to tell apart; bring pictures of two or more classes, or name the column that holds them in \
         `task.column`",
        recipe.name,
        match classes.first() {
            Some(one) => format!("is one class, {one:?}, and nothing"),
            None => "are no classes".to_owned(),
        }
    );
    Ok(classes)
}

/// The sizes, with what a recipe says of training alone.
fn trained_as(
    recipe: &Recipe,
    tower: Option<&VisionTower>,
    classes: usize,
) -> anyhow::Result<VisionConfig> {
    let sizes = match (tower, &recipe.model.vision) {
        (Some(tower), _) => VisionConfig {
            // A classifier reads the token itself.
            pooler: false,
            ..tower.config.clone()
        },
        (None, Some(sizes)) => {
            let (d_model, n_layers) = (sizes.d_model, sizes.n_layers);
            let mut config =
                VisionConfig::vit(sizes.image_size, sizes.patch_size, d_model, n_layers);
            sizes.apply(&mut config.sizes);
            config
        }
        (None, None) => anyhow::bail!("recipe {}: `model.vision` is missing", recipe.name),
    };
    ensure!(
        sizes.pooling != Pooling::None,
        "{}: `global_pool` is \"\": every token is a feature, and a classifier reads one; set it to token or avg",
        tower.map_or(String::new(), |tower| tower
            .folder
            .path
            .display()
            .to_string())
    );
    let mut config = VisionConfig {
        d_output: Some(classes),
        output_bias: true,
        patch_dropout: recipe.train.patch_dropout,
        ..sizes
    };
    recipe
        .model
        .check_locks(Tower::Image, config.sizes.n_layers)?;
    config.sizes = config.sizes.with_dropout(recipe.train.dropout);
    Ok(config.checked()?)
}

/// What a record says of the model: transformers' ViT, or the timm config that the weights came with.
fn config_file(
    config: &VisionConfig,
    tower: Option<&VisionTower>,
    classes: &[String],
) -> anyhow::Result<(ConfigFile, VisionKeys)> {
    let folder = tower.map(|tower| &tower.folder);
    if let Some(folder) = folder.filter(|folder| folder.is_timm()) {
        return Ok((timm_file(&folder.file, classes), VisionKeys::Timm));
    }
    let json = config.to_hf_vit(classes).with_context(|| {
        let folder = folder.map_or(String::new(), |folder| format!("{}: ", folder.path.display()));
        format!(
            "{folder}a classifier of this tower has no place in transformers or timm; start from a ViT's weights, or from \
             sizes"
        )
    })?;
    Ok((ConfigFile { name: HF, json }, VisionKeys::HfVit))
}

/// The model with parts of its tower frozen.
fn locked(mut model: VisionTransformer, recipe: &Recipe) -> VisionTransformer {
    for part in recipe.model.locked(Tower::Image) {
        model = model.locked(part);
    }
    model
}
