//! Two-tower models: transformers' CLIP and SigLIP, open_clip's.

use burn::tensor::{Device, Tensor};
use checkpointing::{Chain, Execution, Forward, HIDDEN, Passenger, Policy, Seed, State};
use fusion::{
    Batch, DualConfig, DualEncoder, DualKeys, StepConfig, contrastive_step, loss::ContrastiveLoss,
    normalise,
};
use kernels::product;
use text_encoder::TextTransformer;

use transformer::{Tokens, Weights, load, save, save_gradients};
use vision_encoder::VisionTransformer;

use crate::fixture::{Fixture, device, each, ids, mask, tensor};

type Model = DualEncoder<VisionTransformer, TextTransformer>;

pub(crate) fn loss_of(config: &DualConfig) -> ContrastiveLoss {
    match config.logit_bias {
        None => ContrastiveLoss::Softmax,
        Some(_) => ContrastiveLoss::Sigmoid,
    }
}

struct Case<'a> {
    fixture: &'a Fixture,
    device: Device,
    model: Model,
    config: DualConfig,
    keys: DualKeys,
    inputs: Weights,
    outputs: Weights,
}

impl<'a> Case<'a> {
    fn open(fixture: &'a Fixture, (config, keys): (DualConfig, DualKeys), file: &str) -> Self {
        let device = device();
        let weights = fixture.weights(file);
        let model = load(config.init(&device), &config.bindings(keys), &weights)
            .unwrap_or_else(|error| panic!("{}: {error}", fixture.folder.display()));
        let again = save(&model, &config.bindings(keys)).unwrap();
        for key in again.keys() {
            assert_eq!(
                again.get(key),
                weights.get(key),
                "{key} changes when it is saved again"
            );
        }
        let (inputs, outputs) = (fixture.inputs(), fixture.weights("outputs.safetensors"));
        Self {
            fixture,
            device,
            model,
            config,
            keys,
            inputs,
            outputs,
        }
    }

    fn compare<const D: usize>(&self, name: &str, got: Tensor<D>) {
        self.fixture.compare_tensor(&self.outputs, name, got);
    }

    /// Compares the outputs of the segments: `first` names what comes out of the embedding, if it
    /// has a name, and `layer(i)` what comes out of block `i`. Gives the last block's output.
    fn layers(
        &self,
        chain: &Chain<'_>,
        input: State,
        name: impl Fn(usize) -> Option<String>,
    ) -> State {
        let seed = Seed::evaluation();
        let mut state = input;
        for index in 0..chain.len() - 1 {
            state = chain.run(index..index + 1, state, seed);
            if let Some(name) = name(index) {
                self.compare(&name, state.stream(HIDDEN));
            }
        }
        state
    }

    fn vision(&self, pixels: &str, name: impl Fn(usize) -> Option<String>) -> State {
        use vision_encoder::VisionEncoder;
        let pixels = tensor::<4>(&self.inputs, pixels, &self.device);
        let input = State::default().with("pixels", Passenger::Pixels(pixels));
        self.layers(&self.model.vision.chain(Tokens::All), input, name)
    }

    fn text(
        &self,
        masked: Option<&str>,
        id_name: &str,
        name: impl Fn(usize) -> Option<String>,
    ) -> State {
        use text_encoder::TextEncoder;
        let mut input = State::default().with(
            "ids",
            Passenger::Ids(ids(&self.inputs, id_name, &self.device)),
        );
        if let Some(masked) = masked {
            input = input.with(
                "mask",
                Passenger::Mask(mask(&self.inputs, masked, &self.device)),
            );
        }
        self.layers(&self.model.text.chain(Tokens::All), input, name)
    }

    fn vision_features(&self, hidden: State) -> Tensor<2> {
        self.model
            .vision
            .head
            .forward(hidden, Seed::evaluation())
            .into_hidden()
            .squeeze_dim(1)
    }

    fn text_features(&self, hidden: State) -> Tensor<2> {
        self.model
            .text
            .head
            .forward(hidden, Seed::evaluation())
            .into_hidden()
            .squeeze_dim(1)
    }

    /// Loss and all gradients, for every policy, in micro-batches and in parts.
    fn step(&self, pixels: &str, id_name: &str, masked: Option<&str>) {
        let batch = Batch {
            pixels: tensor(&self.inputs, pixels, &self.device),
            ids: ids(&self.inputs, id_name, &self.device),
            mask: masked.map(|name| mask(&self.inputs, name, &self.device)),
        };
        let pairs = batch.pixels.dims()[0];
        for policy in [
            Policy::StoreAll,
            Policy::EveryCut,
            Policy::Every(2),
            Policy::Nested(2, 1),
        ] {
            for (micro, parts) in [(pairs, 1), (1, 1), (3, 1), (pairs, 2), (pairs, 3), (3, 2)] {
                if parts > 1 && trainer::device::is_gpu(&self.device) {
                    continue;
                }
                let batches = split(&batch, micro);
                let config = StepConfig {
                    loss: loss_of(&self.config),
                    execution: Execution { policy, parts },
                };
                let out = contrastive_step(&self.model, &batches, &config, Seed::evaluation());
                self.fixture.compare_number(&self.outputs, "loss", out.loss);
                let bindings = self.config.bindings(self.keys);
                let gradients = save_gradients(&self.model, &bindings, &out.gradients).unwrap();
                self.fixture
                    .compare_parameters("grads.safetensors", &gradients);
            }
        }
    }

    fn embeds(&self, image: Tensor<2>, text: Tensor<2>, names: [&str; 5]) {
        self.compare(names[0], image.clone());
        self.compare(names[1], text.clone());
        let (image, text) = (normalise(image).0, normalise(text).0);
        self.compare(names[2], image.clone());
        self.compare(names[3], text.clone());
        let bias = self.model.bias().unwrap_or(0.0);
        let logits = product(image, text.transpose()) * self.model.scale() + bias;
        self.compare(names[4], logits);
    }
}

pub(crate) fn split(batch: &Batch, micro: usize) -> Vec<Batch> {
    let [pairs, channels, height, width] = batch.pixels.dims();
    let [_, tokens] = batch.ids.dims();
    (0..pairs)
        .step_by(micro)
        .map(|start| {
            let rows = start..(start + micro).min(pairs);
            Batch {
                pixels: batch.pixels.clone().slice([
                    rows.clone(),
                    0..channels,
                    0..height,
                    0..width,
                ]),
                ids: batch.ids.clone().slice([rows.clone(), 0..tokens]),
                mask: batch
                    .mask
                    .clone()
                    .map(|mask| mask.slice([rows.clone(), 0..tokens])),
            }
        })
        .collect()
}

const HF_NAMES: [&str; 5] = [
    "image_embeds_unnormalized",
    "text_embeds_unnormalized",
    "image_embeds",
    "text_embeds",
    "logits_per_image",
];

#[test]
fn parity_clip() {
    each("clip", |fixture| {
        let parsed = DualConfig::from_hf(&fixture.json("config.json")).unwrap();
        let case = Case::open(fixture, parsed, "model.safetensors");
        let vision = case.vision("pixel_values", |i| {
            Some(format!("vision_hidden_states.{i}"))
        });
        case.compare("vision_last_hidden_state", vision.stream(HIDDEN));
        let head = &case.model.vision.head;
        case.compare(
            "vision_pooled",
            head.pool(vision.stream(HIDDEN), Seed::evaluation()),
        );

        let head = &case.model.text.head;
        let masked = Some("attention_mask");
        let text = case.text(masked, "input_ids", |i| {
            Some(format!("text_hidden_states.{i}"))
        });
        case.compare("text_last_hidden_state", head.tokens(text.stream(HIDDEN)));
        case.compare(
            "text_pooled",
            head.pool(text.stream(HIDDEN), text.ids("ids").unwrap()),
        );
        let bare = case.text(None, "input_ids", |_| None);
        case.compare(
            "no_mask.text_last_hidden_state",
            head.tokens(bare.stream(HIDDEN)),
        );
        case.compare(
            "no_mask.text_pooled",
            head.pool(bare.stream(HIDDEN), bare.ids("ids").unwrap()),
        );

        case.embeds(
            case.vision_features(vision),
            case.text_features(text),
            HF_NAMES,
        );
        let large = case.vision("pixel_values_hires", |_| None);
        case.compare(
            "hires.image_embeds_unnormalized",
            case.vision_features(large),
        );
        case.step("pixel_values", "input_ids", masked);
        case.step("pixel_values", "input_ids", None);
        fixture.finish();
    });
}

#[test]
fn parity_siglip() {
    each("siglip", |fixture| {
        let parsed = DualConfig::from_hf(&fixture.json("config.json")).unwrap();
        let case = Case::open(fixture, parsed, "model.safetensors");
        let vision = case.vision("pixel_values", |i| {
            Some(format!("vision_hidden_states.{i}"))
        });
        let head = &case.model.vision.head;
        case.compare(
            "vision_last_hidden_state",
            head.tokens(vision.stream(HIDDEN)),
        );
        let head = &case.model.text.head;
        let text = case.text(None, "input_ids", |i| {
            Some(format!("text_hidden_states.{i}"))
        });
        case.compare("text_last_hidden_state", head.tokens(text.stream(HIDDEN)));
        let masked = case.text(Some("attention_mask"), "input_ids", |_| None);
        let hidden = head.tokens(masked.stream(HIDDEN));
        case.compare("with_mask.text_last_hidden_state", hidden);
        case.compare(
            "with_mask.text_embeds_unnormalized",
            case.text_features(masked),
        );

        case.embeds(
            case.vision_features(vision),
            case.text_features(text),
            HF_NAMES,
        );
        let large = case.vision("pixel_values_hires", |_| None);
        case.compare(
            "hires.image_embeds_unnormalized",
            case.vision_features(large),
        );
        case.step("pixel_values", "input_ids", None);
        fixture.finish();
    });
}

#[test]
fn parity_open_clip() {
    each("open_clip", |fixture| {
        let parsed = DualConfig::from_open_clip(&fixture.json("open_clip_config.json")).unwrap();
        let case = Case::open(fixture, parsed, "open_clip_model.safetensors");
        let layer = |kind: &'static str| {
            move |i: usize| {
                i.checked_sub(1)
                    .map(|layer| format!("{kind}_layers.{layer}"))
            }
        };
        let vision = case.vision("image", layer("vision"));
        let text = case.text(None, "text", layer("text"));
        let names = [
            "image_features_unnormalized",
            "text_features_unnormalized",
            "image_features",
            "text_features",
            "logits_per_image",
        ];
        case.embeds(
            case.vision_features(vision),
            case.text_features(text),
            names,
        );
        let scale = f64::from(case.model.scale());
        case.fixture
            .compare_number(&case.outputs, "logit_scale_exp", scale);
        case.step("image", "text", None);
        fixture.finish();
    });
}
