//! `[task]`, `[model]` and `[tokens]`: sizes that fit each other, and vocabularies that fit the weights.

use std::collections::BTreeSet;

use transformer::Locked;

use super::super::Recipe;
use super::super::model::{Model, Start, Text, Tower, Vision};
use super::super::task::Task;
use super::super::tokens::Tokens;
use super::Faults;

impl Faults {
    pub(super) fn tokens(&mut self, recipe: &Recipe) {
        let (tokens, model) = (&recipe.tokens, &recipe.model);
        if matches!(recipe.task, Task::Classify(_)) {
            // It reads no caption.
            return;
        }
        let of_weights = model.pretrained.is_some() || model.pretrained_text.is_some();
        match tokens {
            Tokens::Bpe(learnt) | Tokens::Wordpiece(learnt) => {
                let (name, least) = match tokens {
                    // 256 bytes, each at the end of a word or not, and the two special tokens.
                    Tokens::Bpe(_) => ("bpe", 514),
                    _ => ("wordpiece", 64),
                };
                self.within("tokens.vocab", learnt.vocab, least..=4_000_000);
                self.require(
                    !of_weights,
                    "tokens.kind",
                    format_args!(
                        "is \"{name}\" beside pretrained weights: a vocabulary learnt from the captions has nothing to do \
                         with their token embeddings"
                    ),
                    "use the tokenizer of these weights: leave `tokens` out, or set tokens.kind=pretrained",
                );
            }
            Tokens::Pretrained(_) => {
                self.require(
                    of_weights,
                    "tokens.kind",
                    "is \"pretrained\", as it is where nothing is said, and there is no `model.pretrained`",
                    "set tokens.kind to bpe or wordpiece (with tokens.vocab), clip or file (with tokens.path), or name a \
                     folder of weights in `model.pretrained` or `model.pretrained_text`",
                );
            }
            Tokens::Clip(_) | Tokens::File(_) => {}
        }
        if let Some(context) = tokens.reading().context {
            self.within("tokens.context", context, 3..=65_536);
        }
    }

    pub(super) fn task(&mut self, task: &Task) {
        match task {
            Task::Contrastive => {}
            Task::Classify(classify) => {
                self.share("task.label_smoothing", classify.label_smoothing);
                let classes = &classify.classes;
                self.require(
                    classes.len() != 1,
                    "task.classes",
                    "has 1",
                    "give the two or more classes to tell apart, or leave it out",
                );
                let mut known = BTreeSet::new();
                for (i, class) in classes.iter().enumerate() {
                    self.require(
                        known.insert(class),
                        &format!("task.classes.{i}"),
                        format_args!("is \"{class}\" again"),
                        "name each class once",
                    );
                }
            }
            Task::Mlm(mlm) => {
                self.share("task.mask", mlm.mask);
                self.require(
                    mlm.mask != 0.0,
                    "task.mask",
                    "is 0",
                    "give the share of tokens that are to be said, such as 0.15",
                );
            }
        }
    }

    pub(super) fn model(&mut self, model: &Model, task: &Task) {
        let beside = [
            ("embed_dim", model.embed_dim.is_some()),
            ("vision", model.vision.is_some()),
            ("text", model.text.is_some()),
            ("pretrained_vision", model.pretrained_vision.is_some()),
            ("pretrained_text", model.pretrained_text.is_some()),
            ("preset", model.preset.is_some()),
        ];
        if model.pretrained.is_some() {
            self.require(
                beside.iter().all(|(_, is_there)| !is_there),
                "model",
                "has both `pretrained` and sizes",
                "leave out `preset`, `embed_dim`, `vision` and `text`: the weights bring their own",
            );
        }
        for (one, other, both) in [
            (
                "pretrained_vision",
                "vision",
                model.pretrained_vision.is_some() && model.vision.is_some(),
            ),
            (
                "pretrained_text",
                "text",
                model.pretrained_text.is_some() && model.text.is_some(),
            ),
        ] {
            self.require(
                !both,
                "model",
                format_args!("has both `{one}` and `{other}`"),
                format_args!("leave out `{other}`: the weights bring their own sizes"),
            );
        }
        self.locks(model, task);
        let (vision, text) = (model.vision_start(), model.text_start());
        let lacks = match task {
            Task::Contrastive if model.pretrained.is_some() => None,
            Task::Contrastive => {
                let complete = vision.is_some() && text.is_some() && model.embed_dim.is_some();
                (!complete).then_some(
                    "give `embed_dim`, `vision` and `text`, or a `preset`, or a `pretrained` folder",
                )
            }
            Task::Classify(_) => vision
                .is_none()
                .then_some("give `vision`, or a `preset`, or a `pretrained` folder"),
            Task::Mlm(_) => text
                .is_none()
                .then_some("give `text`, or a `preset`, or a `pretrained` folder"),
        };
        if let Some(remedy) = lacks {
            self.require(false, "model", "lacks sizes", remedy);
            return;
        }
        if let Some(embed_dim) = model.embed_dim {
            self.within("model.embed_dim", embed_dim, 1..=65_536);
        }
        let (sees, reads) = match task {
            Task::Contrastive => (true, true),
            Task::Classify(_) => (true, false),
            Task::Mlm(_) => (false, true),
        };
        let mut drawn = false;
        if let (true, Some(Start::Sizes(vision))) = (sees, vision) {
            self.vision_sizes(vision);
            drawn = true;
        }
        if let (true, Some(Start::Sizes(text))) = (reads, text) {
            self.text_sizes(text);
            drawn = true;
        }
        self.require(
            model.family.is_some() || !drawn || *task != Task::Contrastive,
            "model.family",
            "is missing",
            "set it to clip or siglip",
        );
    }

    fn locks(&mut self, model: &Model, task: &Task) {
        let whole = |tower: Tower| model.locked(tower).any(|part| part == Locked::Whole);
        let key = "model.lock";
        let only = match task {
            Task::Contrastive => {
                self.require(
                    !(whole(Tower::Image) && whole(Tower::Text)),
                    key,
                    "locks both towers",
                    "leave one of them to train",
                );
                return;
            }
            Task::Classify(_) => Tower::Image,
            Task::Mlm(_) => Tower::Text,
        };
        let name = only.name();
        self.require(
            !whole(only),
            key,
            "locks all that there is",
            format_args!("lock `{name}-body`, and its head trains"),
        );
        let other = model.lock.iter().find(|lock| lock.tower != only);
        if let Some(other) = other {
            self.require(
                false,
                key,
                format_args!(
                    "names the {} tower, which a task of kind {} has not",
                    other.tower.name(),
                    task.name()
                ),
                format_args!("give `{name}-body` or `{name}-blocks(n)`"),
            );
        }
    }

    fn vision_sizes(&mut self, vision: &Vision) {
        let Vision {
            image_size,
            patch_size,
            ..
        } = *vision;
        let sizes = self.within("model.vision.patch_size", patch_size, 1..=4096)
            & self.within("model.vision.image_size", image_size, 1..=16_384);
        if sizes {
            self.require(
                image_size.is_multiple_of(patch_size),
                "model.vision.image_size",
                format_args!(
                    "is {image_size}, not a multiple of `model.vision.patch_size` {patch_size}"
                ),
                format_args!("give {}", neighbours(image_size, patch_size)),
            );
            let patches = (image_size / patch_size) as u64;
            self.require(
                patches <= 256,
                "model.vision.patch_size",
                format_args!("makes {patches} x {patches} patches of a picture"),
                "give a larger patch, or smaller pictures: 256 x 256 patches at most",
            );
        }
        self.blocks(
            "vision",
            vision.d_model,
            vision.n_layers,
            vision.n_heads,
            vision.mlp_ratio,
        );
    }

    fn text_sizes(&mut self, text: &Text) {
        self.within("model.text.context", text.context, 3..=65_536);
        self.blocks(
            "text",
            text.d_model,
            text.n_layers,
            text.n_heads,
            text.mlp_ratio,
        );
    }

    fn blocks(
        &mut self,
        tower: &str,
        d_model: usize,
        n_layers: usize,
        n_heads: usize,
        mlp_ratio: f64,
    ) {
        let key = |last: &str| format!("model.{tower}.{last}");
        self.within(&key("n_layers"), n_layers, 1..=1024);
        let heads = self.within(&key("n_heads"), n_heads, 1..=65_536);
        let width = self.within(&key("d_model"), d_model, 1..=65_536);
        if self.positive(&key("mlp_ratio"), mlp_ratio) && width {
            self.require(
                (1.0..=1e6).contains(&(d_model as f64 * mlp_ratio)),
                &key("mlp_ratio"),
                format_args!(
                    "is {mlp_ratio}, which makes {:.0} neurons of `model.{tower}.d_model` {d_model}",
                    d_model as f64 * mlp_ratio
                ),
                "give 4",
            );
        }
        if heads && width {
            self.require(
                d_model.is_multiple_of(n_heads),
                &key("n_heads"),
                format_args!(
                    "is {n_heads}, which does not divide `model.{tower}.d_model` {d_model}"
                ),
                format_args!(
                    "give a divisor of {d_model}, or a d_model of {}",
                    neighbours(d_model, n_heads)
                ),
            );
        }
    }
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
