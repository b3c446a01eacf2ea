//! `[model]` and `[tokens]`: sizes that fit each other, and vocabularies that fit the weights.

use super::super::model::{Model, Start, Text, Tower, Vision};
use super::super::tokens::Tokens;
use super::Faults;

impl Faults {
    pub(super) fn tokens(&mut self, tokens: &Tokens, model: &Model) {
        let has_weights = model.pretrained.is_some();
        match tokens {
            Tokens::Bpe(bpe) => {
                // 256 bytes, each at the end of a word or not, and the two special tokens.
                self.within("tokens.vocab", bpe.vocab, 514..=4_000_000);
                self.require(
                    !has_weights,
                    "tokens.kind",
                    "is \"bpe\" beside `model.pretrained`: a vocabulary learnt from the captions has nothing to do \
                     with the token embeddings of these weights",
                    "use the tokenizer of these weights: leave `tokens` out, or set tokens.kind=pretrained",
                );
            }
            Tokens::Pretrained(_) => {
                self.require(
                    has_weights,
                    "tokens.kind",
                    "is \"pretrained\", as it is where nothing is said, and there is no `model.pretrained`",
                    "set tokens.kind to bpe (with tokens.vocab), clip or file (with tokens.path), or name a folder of \
                     weights in `model.pretrained`",
                );
            }
            Tokens::Clip(_) | Tokens::File(_) => {}
        }
        if let Some(context) = tokens.reading().context {
            self.within("tokens.context", context, 3..=65_536);
        }
    }

    pub(super) fn model(&mut self, model: &Model) {
        let two = model.pretrained.is_some() && (model.preset.is_some() || model.start().is_none());
        self.require(
            !two,
            "model",
            "has both `pretrained` and sizes",
            "leave out `preset`, `embed_dim`, `vision` and `text`: the weights bring their own",
        );
        let both = [Tower::Image, Tower::Text]
            .iter()
            .all(|tower| model.lock.contains(tower));
        self.require(
            !both,
            "model.lock",
            "locks both towers",
            "leave one of them to train",
        );
        match model.start() {
            Some(Start::Sizes {
                embed_dim,
                vision,
                text,
            }) => {
                self.within("model.embed_dim", embed_dim, 1..=65_536);
                self.vision_sizes(vision);
                self.text_sizes(text);
                self.require(
                    model.family.is_some(),
                    "model.family",
                    "is missing",
                    "set it to clip or siglip",
                );
            }
            Some(Start::Pretrained(_)) => {}
            None if two => {}
            None => {
                let remedy = "give `embed_dim`, `vision` and `text`, or a `preset`, or a `pretrained` folder";
                self.require(false, "model", "lacks sizes", remedy);
            }
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
