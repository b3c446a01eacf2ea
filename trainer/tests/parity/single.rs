//! Towers alone: ViT classifiers and BERT.

use burn::{
    module::{Module, ModuleDisplay},
    tensor::{Device, Tensor},
};
use checkpointing::{
    Chain, Gradients, HIDDEN, Pass, Passenger, Policy, Pulled, Schedule, Seed, State, forward,
    is_trainable,
};
use kernels::product;
use text_encoder::{MaskedLanguageModel, TextConfig, TextEncoder, TextKeys};
use transformer::{
    Bindings, CrossEntropy, Tokens, VocabularyWants, Weights, cross_entropy, load, save_gradients,
    vocabulary_cross_entropy,
};
use vision_encoder::{Pooling, VisionConfig, VisionEncoder, VisionKeys};

use crate::fixture::{Fixture, data, device, each, ids, json_file, mask, tensor, weights_file};

const POLICIES: [Policy; 4] = [
    Policy::StoreAll,
    Policy::EveryCut,
    Policy::Every(2),
    Policy::Nested(2, 1),
];

/// Runs a chain in evaluation; the pullback is asked for parameters alone.
fn run(chain: &Chain<'_>, schedule: &Schedule, input: State) -> (State, checkpointing::Pullback) {
    forward(chain, &Pass::new(schedule, Seed::evaluation()), input)
}

fn labels(inputs: &Weights) -> Vec<usize> {
    let labels = data(inputs, "labels");
    labels.iter::<i64>().map(|label| label as usize).collect()
}

/// The outputs of every segment, in order.
fn states(chain: &Chain<'_>, input: &State) -> Vec<Tensor<3>> {
    let mut state = input.clone();
    let step = |place| {
        state = chain.run(place..place + 1, state.clone(), Seed::evaluation());
        state.stream(HIDDEN)
    };
    (0..chain.len()).map(step).collect()
}

#[test]
fn parity_vit() {
    each("vit", |fixture| {
        let json = fixture.json("config.json");
        if json.get("model_type").is_some() {
            vit(
                fixture,
                &VisionConfig::from_hf_vit(&json).unwrap(),
                VisionKeys::HfVit,
            );
        } else {
            vit(
                fixture,
                &VisionConfig::from_timm(&json).unwrap(),
                VisionKeys::Timm,
            );
        }
    });
}

fn vit(fixture: &Fixture, config: &VisionConfig, keys: VisionKeys) {
    let device = device();
    let bindings = config.bindings(keys);
    let weights = fixture.weights("model.safetensors");
    let model = load(config.init(&device), &bindings, &weights).unwrap();
    let (inputs, outputs) = (fixture.inputs(), fixture.weights("outputs.safetensors"));
    let compare = |name: &str, got: Tensor<3>| fixture.compare_tensor(&outputs, name, got);
    let input = |name: &str| {
        let pixels = tensor::<4>(&inputs, name, &device);
        State::default().with("pixels", Passenger::Pixels(pixels))
    };
    let chain = model.chain(Tokens::All);
    let states = states(&chain, &input("pixel_values"));
    let (last, logits) = (&states[states.len() - 2], &states[states.len() - 1]);
    let hidden = model.head.tokens(last.clone());
    let layers = states[..states.len() - 1].iter().enumerate();
    match keys {
        VisionKeys::HfVit => {
            layers.for_each(|(i, x)| compare(&format!("hidden_states.{i}"), x.clone()));
            compare("last_hidden_state", hidden);
            let large = self::states(&chain, &input("pixel_values_hires"));
            compare("hires.logits", large[large.len() - 1].clone());
        }
        _ => {
            layers
                .skip(1)
                .for_each(|(i, x)| compare(&format!("blocks.{}", i - 1), x.clone()));
            compare("features", hidden);
            assert_ne!(config.pooling, Pooling::None);
            compare(
                "pre_logits",
                model.head.pool(last.clone(), Seed::evaluation()),
            );
        }
    }
    compare("logits", logits.clone());
    for policy in POLICIES {
        let schedule = policy.schedule(chain.len());
        let (output, pullback) = run(&chain, &schedule, input("pixel_values"));
        let labels = labels(&inputs);
        let config = CrossEntropy {
            label_smoothing: 0.0,
            mean_over: labels.len(),
        };
        let found = cross_entropy(output.into_hidden().squeeze_dim(1), &labels, config);
        fixture.compare_number(&outputs, "loss", found.loss);
        let pulled = pullback.pull(&chain, found.logits.unsqueeze_dim(1));
        compare_gradients(fixture, &model, &bindings, &pulled.gradients);
    }
    fixture.finish();
}

fn compare_gradients<M: Module + ModuleDisplay>(
    fixture: &Fixture,
    model: &M,
    bindings: &Bindings,
    gradients: &Gradients,
) {
    let gradients = save_gradients(model, bindings, gradients).unwrap();
    fixture.compare_parameters("grads.safetensors", &gradients);
}

#[test]
fn parity_bert() {
    each("bert", |fixture| {
        let json = fixture.json("config.json");
        match json["architectures"][0].as_str() {
            Some("BertModel") => bert_base(fixture, &TextConfig::from_hf_bert(&json).unwrap()),
            Some("BertForMaskedLM") => bert_mlm(fixture),
            other => panic!("{}: no check for {other:?}", fixture.folder.display()),
        }
    });
}

fn bert_input(inputs: &Weights, device: &Device) -> State {
    State::default()
        .with("ids", Passenger::Ids(ids(inputs, "input_ids", device)))
        .with(
            "segments",
            Passenger::Ids(ids(inputs, "token_type_ids", device)),
        )
        .with(
            "mask",
            Passenger::Mask(mask(inputs, "attention_mask", device)),
        )
}

fn bert_base(fixture: &Fixture, config: &TextConfig) {
    let device = device();
    let bindings = config.bindings(TextKeys::Bert);
    let weights = fixture.weights("model.safetensors");
    let model = load(config.init(&device), &bindings, &weights).unwrap();
    let (inputs, outputs) = (fixture.inputs(), fixture.weights("outputs.safetensors"));
    let compare = |name: &str, got: Tensor<3>| fixture.compare_tensor(&outputs, name, got);
    let chain = model.chain(Tokens::All);
    let input = bert_input(&inputs, &device);
    let states = states(&chain, &input);
    let hidden = states[states.len() - 2].clone();
    for (i, x) in states[..states.len() - 1].iter().enumerate() {
        compare(&format!("hidden_states.{i}"), x.clone());
    }
    compare("last_hidden_state", hidden.clone());
    compare("pooler_output", states[states.len() - 1].clone());
    let real = mask(&inputs, "attention_mask", &device)
        .float()
        .unsqueeze_dim::<3>(2);
    let mean = (hidden * real.clone()).sum_dim(1) / real.clone().sum_dim(1);
    compare("mean_pooled", mean);
    let bare = State::default().with("ids", Passenger::Ids(ids(&inputs, "input_ids", &device)));
    let bare = self::states(&chain, &bare);
    compare("defaults.last_hidden_state", bare[bare.len() - 2].clone());

    // loss = mean((hidden - target)^2 over real tokens) + mean(pooled^2): the chain up to the last
    // block and the pooler are pulled back apart, since the loss reads both.
    let target = tensor::<3>(&inputs, "target_hidden", &device);
    for policy in POLICIES {
        let schedule = policy.schedule(chain.len());
        let pass = Pass::new(&schedule, Seed::evaluation());
        let last = chain.len() - 1;
        let (state, body) = forward(&chain, &pass.clone().over(0..last), input.clone());
        let hidden = state.stream(HIDDEN);
        let to_head = pass.over(last..last + 1).wanting(HIDDEN);
        let (pooled, head) = forward(&chain, &to_head, state);
        let pooled = pooled.into_hidden();
        let [_, _, d_model] = hidden.dims();
        let count = real.clone().sum().into_scalar::<f32>() * d_model as f32;
        let difference = (hidden - target.clone()) * real.clone();
        let squares = (difference.clone() * difference.clone()).sum() / count;
        let loss = squares + (pooled.clone() * pooled.clone()).mean();
        fixture.compare_number(&outputs, "loss", f64::from(loss.into_scalar::<f32>()));
        let elements = pooled.dims().iter().product::<usize>() as f32;
        let mut pulled: Pulled = head.pull(&chain, pooled * 2.0 / elements);
        let through_head = pulled.cotangents.take(HIDDEN).expect("it was wanted");
        let cotangent = difference * 2.0 / count + through_head;
        pulled
            .gradients
            .merge(body.pull(&chain, cotangent).gradients);
        compare_gradients(fixture, &model, &bindings, &pulled.gradients);
    }
    fixture.finish();
}

/// BERT with the head of masked words, from the files of a fixture.
pub(crate) struct MaskedBert {
    pub(crate) model: MaskedLanguageModel,
    pub(crate) bindings: Bindings,
}

impl MaskedBert {
    pub(crate) fn open(folder: &std::path::Path) -> Self {
        let config = TextConfig::from_hf_bert(&json_file(&folder.join("config.json"))).unwrap();
        let mut config = TextConfig {
            pooler: false,
            ..config
        };
        config.sizes.dropout = 0.0;
        config.sizes.attention_dropout = 0.0;
        let bindings = config.mlm_bindings();
        let weights = weights_file(&folder.join("model.safetensors"));
        let model = MaskedLanguageModel::new(&config, &device());
        Self {
            model: load(model, &bindings, &weights).unwrap(),
            bindings,
        }
    }
}

/// Labels as the files have them: less than 0 where nothing is to be said.
pub(crate) fn words(labels: impl Iterator<Item = i64>) -> Vec<Option<usize>> {
    labels.map(|label| usize::try_from(label).ok()).collect()
}

fn bert_mlm(fixture: &Fixture) {
    let MaskedBert { model, bindings } = MaskedBert::open(&fixture.folder);
    check_mlm(fixture, &fixture.inputs(), &model, "", |gradients| {
        compare_gradients(fixture, &model, &bindings, gradients);
    });
    fixture.finish();
}

/// Compares logits and loss of masked words, and gives the gradients of each policy to `check`.
pub(crate) fn check_mlm(
    fixture: &Fixture,
    inputs: &Weights,
    model: &MaskedLanguageModel,
    prefix: &str,
    check: impl Fn(&Gradients),
) {
    let device = device();
    let outputs = fixture.weights("outputs.safetensors");
    let input = bert_input(inputs, &device);
    let chain = model.chain();
    let decoded = chain.run(0..chain.len(), input.clone(), Seed::evaluation());
    let head = model.vocabulary();
    let hidden = decoded.into_hidden();
    let [batch, tokens, width] = hidden.dims();
    let rows: Tensor<2> = hidden.reshape([batch * tokens, width]);
    let logits = product(rows, head.weight.clone().transpose());
    let logits = logits + head.bias.clone().unwrap().unsqueeze();
    let logits: Tensor<3> = logits.reshape([batch as i32, tokens as i32, -1]);
    if prefix.is_empty() {
        fixture.compare_tensor(&outputs, "logits", logits);
    }

    let labels = words(data(inputs, "labels").iter::<i64>());
    let counted = labels.iter().flatten().count();
    let wants = VocabularyWants {
        hidden: true,
        weight: is_trainable(&model.bert.embed.tokens),
        bias: is_trainable(&model.head.bias),
    };
    for policy in POLICIES {
        let schedule = policy.schedule(chain.len());
        let (output, pullback) = run(&chain, &schedule, input.clone());
        let hidden = output.into_hidden().reshape([batch * tokens, width]);
        let found = vocabulary_cross_entropy(hidden, &head, &labels, counted, wants);
        fixture.compare_number(&outputs, &format!("{prefix}loss"), found.loss);
        let cotangent = found.hidden.unwrap().reshape([batch, tokens, width]);
        let mut gradients = pullback.pull(&chain, cotangent).gradients;
        if let Some(weight) = found.weight {
            gradients.add(model.bert.embed.tokens.id, weight);
        }
        if let Some(bias) = found.bias {
            gradients.add(model.head.bias.id, bias);
        }
        check(&gradients);
    }
}
