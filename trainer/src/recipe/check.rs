//! Values of the right type that cannot work, found before anything is loaded.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Component, Path};

use super::data::{ShapesSplit, Source};
use super::eval::Eval;
use super::image::Augmentation;
use super::model::{Model, Start, Text, Tower, Vision};
use super::tokens::Tokens;
use super::train::{Schedule, Train};
use super::{Data, Recipe};

/// A value that cannot work: its key, what is wrong with it, and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) key: String,
    pub(super) problem: String,
    pub(super) remedy: String,
}

type Checked = Result<(), Fault>;

/// Fails with the fault unless the condition holds.
fn require(holds: bool, key: &str, problem: impl Display, remedy: impl Display) -> Checked {
    if holds {
        return Ok(());
    }
    Err(Fault {
        key: key.to_owned(),
        problem: problem.to_string(),
        remedy: remedy.to_string(),
    })
}

fn at_least(key: &str, found: u64, least: u64) -> Checked {
    require(
        found >= least,
        key,
        format_args!("is {found}"),
        format_args!("give {least} or more"),
    )
}

/// A share of something that may be 0 but not all.
fn share(key: &str, found: f64) -> Checked {
    require(
        (0.0..1.0).contains(&found),
        key,
        format_args!("is {found}"),
        "give 0 or more, and less than 1",
    )
}

fn positive(key: &str, found: f64) -> Checked {
    let holds = found.is_finite() && found > 0.0;
    require(
        holds,
        key,
        format_args!("is {found}"),
        "give a number above 0",
    )
}

fn not_negative(key: &str, found: f64) -> Checked {
    let holds = found.is_finite() && found >= 0.0;
    require(holds, key, format_args!("is {found}"), "give 0 or more")
}

/// The first value of the recipe that cannot work.
pub(super) fn check(recipe: &Recipe) -> Checked {
    let mut parts = Path::new(&recipe.name).components();
    require(
        matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        ),
        "name",
        format_args!("is \"{}\"", recipe.name),
        "a run's folder is named by it: give a name without slashes",
    )?;
    data(&recipe.data)?;
    augmentation(&recipe.image.augmentation)?;
    if let Tokens::Bpe(bpe) = &recipe.tokens {
        // 256 bytes, each at the end of a word or not, and the two special tokens.
        at_least("tokens.vocab", bpe.vocab as u64, 514)?;
    }
    model(&recipe.model)?;
    batches(&recipe.train)?;
    length(&recipe.train)?;
    optimizer(&recipe.train)?;
    at_least("run.keep_last", recipe.run.keep_last as u64, 1)?;
    eval(&recipe.eval)
}

fn data(data: &Data) -> Checked {
    require(
        !data.train.is_empty(),
        "data.train",
        "is empty",
        "name a table with --train TABLE, or add [[data.train]] to the recipe",
    )?;
    share("data.max_bad", data.max_bad)?;
    require(
        data.prefetch <= 1024,
        "data.prefetch",
        format_args!("is {}", data.prefetch),
        "give 1024 or fewer",
    )?;
    for source in &data.train {
        positive("data.train.weight", source.weight())?;
    }
    for source in data.train.iter().chain(&data.val) {
        if let Source::Shapes(shapes) = source {
            let (key, pictures) = match shapes.split {
                ShapesSplit::Train => ("data.shapes.train", data.shapes.train),
                ShapesSplit::Val => ("data.shapes.val", data.shapes.val),
                ShapesSplit::HeldOut => ("data.shapes.held_out", data.shapes.held_out),
            };
            at_least(key, pictures as u64, 1)?;
        }
    }
    Ok(())
}

fn augmentation(augmentation: &Augmentation) -> Checked {
    let Augmentation::RandomResizedCrop(crop) = augmentation else {
        return Ok(());
    };
    let [low, high] = crop.scale;
    require(
        0.0 < low && low <= high && high <= 1.0,
        "image.augmentation.scale",
        format_args!("is [{low}, {high}]"),
        "give the least and the greatest share of the area, above 0 and up to 1",
    )?;
    let [low, high] = crop.ratio;
    require(
        0.0 < low && low <= high && high.is_finite(),
        "image.augmentation.ratio",
        format_args!("is [{low}, {high}]"),
        "give the least and the greatest width over height, above 0",
    )
}

fn model(model: &Model) -> Checked {
    let two = model.pretrained.is_some() && (model.preset.is_some() || model.start().is_none());
    require(
        !two,
        "model",
        "has both `pretrained` and sizes",
        "leave out `preset`, `embed_dim`, `vision` and `text`: the weights bring their own",
    )?;
    let Some(start) = model.start() else {
        let remedy =
            "give `embed_dim`, `vision` and `text`, or a `preset`, or a `pretrained` folder";
        return require(false, "model", "lacks sizes", remedy);
    };
    let both = [Tower::Image, Tower::Text]
        .iter()
        .all(|tower| model.lock.contains(tower));
    require(
        !both,
        "model.lock",
        "locks both towers",
        "leave one of them to train",
    )?;
    match start {
        Start::Pretrained(_) => Ok(()),
        Start::Sizes {
            embed_dim,
            vision,
            text,
        } => {
            at_least("model.embed_dim", embed_dim as u64, 1)?;
            vision_sizes(vision)?;
            text_sizes(text)
        }
    }
}

fn vision_sizes(vision: &Vision) -> Checked {
    let Vision {
        image_size,
        patch_size,
        ..
    } = *vision;
    at_least("model.vision.patch_size", patch_size as u64, 1)?;
    at_least("model.vision.image_size", image_size as u64, 1)?;
    require(
        image_size.is_multiple_of(patch_size),
        "model.vision.image_size",
        format_args!("is {image_size}, not a multiple of `model.vision.patch_size` {patch_size}"),
        format_args!("give {}", neighbours(image_size, patch_size)),
    )?;
    blocks(
        "vision",
        vision.d_model,
        vision.n_layers,
        vision.n_heads,
        vision.mlp_ratio,
    )
}

fn text_sizes(text: &Text) -> Checked {
    at_least("model.text.context", text.context as u64, 3)?;
    blocks(
        "text",
        text.d_model,
        text.n_layers,
        text.n_heads,
        text.mlp_ratio,
    )
}

fn blocks(tower: &str, d_model: usize, n_layers: usize, n_heads: usize, mlp_ratio: f64) -> Checked {
    let key = |last: &str| format!("model.{tower}.{last}");
    at_least(&key("n_layers"), n_layers as u64, 1)?;
    at_least(&key("n_heads"), n_heads as u64, 1)?;
    at_least(&key("d_model"), d_model as u64, 1)?;
    positive(&key("mlp_ratio"), mlp_ratio)?;
    require(
        d_model as f64 * mlp_ratio >= 1.0,
        &key("mlp_ratio"),
        format_args!("is {mlp_ratio}, which leaves no neuron"),
        "give 4",
    )?;
    require(
        d_model.is_multiple_of(n_heads),
        &key("n_heads"),
        format_args!("is {n_heads}, which does not divide `model.{tower}.d_model` {d_model}"),
        format_args!(
            "give a divisor of {d_model}, or a d_model of {}",
            neighbours(d_model, n_heads)
        ),
    )
}

/// The multiples on both sides of a number, leaving out 0.
fn neighbours(number: usize, of: usize) -> String {
    let below = number / of * of;
    let above = below + of;
    if below == 0 {
        above.to_string()
    } else {
        format!("{below} or {above}")
    }
}

fn batches(train: &Train) -> Checked {
    let batch = train.batch;
    // A lone pair has no negatives: its contrastive loss is 0 whatever the model does.
    at_least("train.batch", batch as u64, 2)?;
    let Some(micro) = train.micro_batch else {
        return Ok(());
    };
    at_least("train.micro_batch", micro as u64, 1)?;
    require(
        batch.is_multiple_of(micro),
        "train.micro_batch",
        format_args!("is {micro}, which does not divide `train.batch` {batch}"),
        format_args!("give a divisor of {batch}, or leave it out"),
    )
}

fn length(train: &Train) -> Checked {
    match (train.epochs, train.steps) {
        (Some(epochs), None) => at_least("train.epochs", epochs, 1),
        (None, Some(steps)) => {
            at_least("train.steps", steps, 1)?;
            fits("train.warmup", train.warmup, steps)?;
            match &train.schedule {
                Schedule::ConstantCooldown(cooldown) => {
                    fits("train.schedule.steps", cooldown.steps, steps)
                }
                Schedule::Cosine | Schedule::Constant => Ok(()),
            }
        }
        (None, None) => require(false, "train", "has no length", "give `epochs` or `steps`"),
        (Some(_), Some(_)) => require(
            false,
            "train",
            "has both `epochs` and `steps`",
            "leave one of them out",
        ),
    }
}

/// A part of the schedule has to fit into the whole.
pub(super) fn fits(key: &str, part: u64, steps: u64) -> Checked {
    require(
        part <= steps,
        key,
        format_args!("is {part} steps, more than the {steps} of the whole run"),
        format_args!("give {steps} or fewer, or train for longer"),
    )
}

fn optimizer(train: &Train) -> Checked {
    positive("train.lr", train.lr)?;
    share("train.betas.0", train.betas[0])?;
    share("train.betas.1", train.betas[1])?;
    positive("train.eps", train.eps)?;
    not_negative("train.weight_decay", train.weight_decay)?;
    not_negative("train.clip_norm", train.clip_norm)?;
    require(
        train.max_scale >= 1.0,
        "train.max_scale",
        format_args!("is {}", train.max_scale),
        "give 1 or more",
    )?;
    share("train.dropout", train.dropout)?;
    share("train.patch_dropout", train.patch_dropout)?;
    at_least("train.log_every", train.log_every, 1)
}

fn eval(eval: &Eval) -> Checked {
    require(
        !eval.recall.is_empty(),
        "eval.recall",
        "is empty",
        "give the k of recall, such as [1, 5, 10]",
    )?;
    for (i, k) in eval.recall.iter().enumerate() {
        at_least(&format!("eval.recall.{i}"), *k as u64, 1)?;
    }
    let Some(zero_shot) = &eval.zero_shot else {
        return Ok(());
    };
    let classes = zero_shot.classes.len();
    require(
        classes >= 2,
        "eval.zero_shot.classes",
        format_args!("has {classes}"),
        "give the two or more classes to tell apart",
    )?;
    let mut known = BTreeSet::new();
    for (i, class) in zero_shot.classes.iter().enumerate() {
        require(
            known.insert(class),
            &format!("eval.zero_shot.classes.{i}"),
            format_args!("is \"{class}\" again"),
            "name each class once",
        )?;
    }
    let templates = &zero_shot.templates;
    require(
        !templates.is_empty(),
        "eval.zero_shot.templates",
        "is empty",
        "give prompts, such as \"a photo of a {}\"",
    )?;
    for (i, template) in templates.iter().enumerate() {
        require(
            template.matches("{}").count() == 1,
            &format!("eval.zero_shot.templates.{i}"),
            format_args!("is \"{template}\", without one place for the class"),
            "put {} once, where the class belongs",
        )?;
    }
    Ok(())
}
