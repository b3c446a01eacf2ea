//! Masked words (Devlin et al. 2019): BERT with its head, and a step of it.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Bool, Device, IndexingUpdateOp, Int, Tensor, TensorData},
};
use checkpointing::{
    Call, Chain, Cost, Execution, Forward, Gradients, HIDDEN, Outline, Parameter, Passenger, Saved,
    Seed, Segment, State, Streams, Wants, is_trainable, parameters,
};
use peft::{Adaptable, Linear, LinearCall, LinearConfig, LinearSaved, Visit};
use precision::Stored;
use transformer::{
    Activation, LayerNorm, Locked, VocabularyHead, VocabularyLoss, VocabularyWants, push_blocks,
    vocabulary_cross_entropy,
};

use crate::{TextConfig, TextTransformer};

/// The name under which a state carries the places of the tokens that are to be said, ids `[1, labelled]`, counted through
/// the batch row by row.
pub const LABELLED: &str = "labelled";

/// What the head owns: a transform and a bias for each word. Its decoder is the word embedding.
#[derive(Module, Debug)]
pub struct MlmHead {
    /// Before the decoder.
    pub transform: MlmTransform,
    /// `[vocabulary]`.
    pub bias: Param<Tensor<1>>,
}

/// From the hidden states of the labelled tokens to what is decoded, `[batch, tokens, d_model] -> [1, labelled, d_model]`.
///
/// Reads the passenger [`LABELLED`]; without one it transforms every token and keeps the shape. Nothing is computed of a
/// token that no loss reads.
#[derive(Module, Debug)]
pub struct MlmTransform {
    /// Before the activation.
    pub dense: Linear,
    /// After the activation.
    pub norm: LayerNorm,
    #[module(skip)]
    activation: Activation,
}

impl MlmHead {
    /// Initialises the head as BERT's: weights from N(0, 0.02).
    pub fn new(config: &TextConfig, device: &Device) -> Self {
        let dense = LinearConfig::new(config.sizes.d_model, config.sizes.d_model).with_std(0.02);
        Self {
            transform: MlmTransform {
                dense: dense.init(device),
                norm: LayerNorm::new(config.sizes.d_model, config.sizes.norm_epsilon, device),
                activation: config.sizes.activation,
            },
            bias: Initializer::Zeros.init([config.vocab_size], device),
        }
    }
}

/// What an [`MlmTransform`] keeps.
pub struct MlmSaved {
    /// Of the hidden states.
    shape: [usize; 3],
    /// The caller's places.
    places: Option<Tensor<2, Int>>,
    hidden: Option<Stored<2>>,
    /// Before the activation.
    dense: Option<Stored<2>>,
    /// Of the map.
    map: LinearSaved,
}

impl Saved for MlmSaved {
    fn bytes(&self) -> usize {
        let tensors = [&self.hidden, &self.dense].into_iter().flatten();
        tensors.map(Stored::bytes).sum::<usize>() + self.map.bytes()
    }
}

impl MlmTransform {
    /// The rows that are transformed.
    fn pick(&self, hidden: Tensor<3>, places: Option<Tensor<2, Int>>) -> Tensor<2> {
        let [batch, tokens, width] = hidden.dims();
        let rows = hidden.reshape([batch * tokens, width]);
        match places {
            None => rows,
            Some(places) if rows.is_autodiff() && !places.is_autodiff() => {
                rows.select(0, places.autodiff().squeeze_dim(0))
            }
            Some(places) => rows.select(0, places.squeeze_dim(0)),
        }
    }

    /// Rows as they leave.
    fn shaped(rows: Tensor<2>, is_picked: bool, [batch, tokens, width]: [usize; 3]) -> Tensor<3> {
        if is_picked {
            rows.unsqueeze_dim(0)
        } else {
            rows.reshape([batch, tokens, width])
        }
    }

    /// Whether the pullback computes anything.
    fn pulls(&self, wants_input: bool) -> bool {
        wants_input || self.dense.trains() || self.norm.trains()
    }

    /// Whether the pullback reads the hidden states, and what is before the activation.
    fn keeps(&self, wants_input: bool) -> [bool; 2] {
        let pulls = self.pulls(wants_input);
        [pulls && self.dense.needs_input(), pulls]
    }
}

impl Forward for MlmTransform {
    fn forward(&self, input: State, seed: Seed) -> State {
        let nothing = Wants::nothing();
        self.record(input, &Call::new(seed, &nothing)).0
    }
}

impl Segment for MlmTransform {
    type Saved = MlmSaved;

    fn parameters(&self) -> Vec<Parameter> {
        parameters(self)
    }

    fn record(&self, mut input: State, call: &Call<'_>) -> (State, MlmSaved) {
        let places = input.ids(LABELLED);
        let hidden = input.take_hidden();
        let shape = hidden.dims();
        let rows = self.pick(hidden, places.clone());
        let [keeps_hidden, keeps_dense] = self.keeps(call.wants.has(HIDDEN));
        let kept = keeps_hidden.then(|| call.keep.store(rows.clone()));
        let (dense, map) = self.dense.record(rows, &dense_call(call));
        let (active, dense) = if keeps_dense {
            let (active, dense) = self.activation.forward_keeping(dense);
            (active, Some(call.keep.store(dense)))
        } else {
            (self.activation.forward(dense), None)
        };
        let output = Self::shaped(self.norm.forward(active), places.is_some(), shape);
        let saved = MlmSaved {
            shape,
            places,
            hidden: kept,
            dense,
            map,
        };
        (input.without(LABELLED).with_stream(HIDDEN, output), saved)
    }

    fn pull(
        &self,
        saved: MlmSaved,
        mut cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        let (Some(cotangent), Some(dense)) = (cotangents.take(HIDDEN), saved.dense) else {
            return Streams::default();
        };
        let [first, second, width] = cotangent.dims();
        let cotangent: Tensor<2> = cotangent.reshape([first * second, width]);
        let dense = dense.load();
        let active = self.activation.forward(dense.clone());
        let active = self.norm.pull(active, cotangent, None, gradients);
        let (_, dense) = self.activation.pull(dense, active);
        let hidden = saved.hidden.map(Stored::load);
        let of_dense = dense_call(call);
        let pulled = self
            .dense
            .pull(hidden, saved.map, dense, &of_dense, gradients);
        let Some(pulled) = pulled else {
            return Streams::default();
        };
        let [batch, tokens, width] = saved.shape;
        let pulled = match saved.places {
            None => pulled,
            Some(places) => {
                let zeros = Tensor::zeros([batch * tokens, width], &pulled.device());
                let places = places.squeeze_dim(0);
                zeros.select_assign(0, places, pulled, IndexingUpdateOp::Add)
            }
        };
        Streams::hidden(pulled.reshape(saved.shape))
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        let [batch, tokens, width] = input.stream(HIDDEN);
        let picked = input.passenger(LABELLED).map(|shape| shape[1]);
        let rows = picked.unwrap_or(batch * tokens);
        let shape = picked.map_or([batch, tokens, width], |rows| [1, rows, width]);
        let wants = call.wants.has(HIDDEN);
        let kept = self.keeps(wants).into_iter().filter(|is_kept| *is_kept);
        Cost {
            output: input.clone().without(LABELLED).with_stream(HIDDEN, shape),
            forward_flops: self.dense.forward_flops(rows, call.seed),
            backward_flops: if self.pulls(wants) {
                self.dense.pull_flops(rows, &dense_call(call))
            } else {
                0
            },
            saved_bytes: call.keep.bytes(kept.count() * rows * width)
                + self.dense.saved_bytes(rows, &dense_call(call)),
        }
    }
}

/// The call of the map before the activation.
fn dense_call(call: &Call<'_>) -> LinearCall {
    LinearCall {
        seed: call.seed,
        wants_input: call.wants.has(HIDDEN),
        keep: call.keep,
    }
}

/// BERT that says masked words (`BertForMaskedLM`): the decoder is the word embedding, one parameter with both gradients.
#[derive(Module, Debug)]
pub struct MaskedLanguageModel {
    /// The tower. Its pooler, if it has one, takes no part.
    pub bert: TextTransformer,
    /// From its hidden states to words.
    pub head: MlmHead,
}

/// Captions of which some words are hidden.
#[derive(Clone, Debug)]
pub struct MaskedBatch {
    /// Token ids with words hidden, `[batch, tokens]`.
    pub ids: Tensor<2, Int>,
    /// True for real tokens, `[batch, tokens]`; without one all are.
    pub mask: Option<Tensor<2, Bool>>,
    /// The word that is to be said at each place, row by row; none where none is.
    pub labels: Vec<Option<usize>>,
}

/// What a step of masked words gives.
#[derive(Debug)]
pub struct MlmOutput {
    /// The mean over all labels of the step; 0 if there are none.
    pub loss: f64,
    /// How many labels are the likeliest word at their place.
    pub correct: usize,
    /// How many labels there are.
    pub counted: usize,
    /// The gradients of everything that trains.
    pub gradients: Gradients,
}

/// Loss and gradients of a batch of masked words, given as one or more micro-batches. The loss is the mean over the labels
/// of all of them, so that the micro-batches change nothing but the order of sums.
pub fn mlm_step(
    model: &MaskedLanguageModel,
    micro_batches: &[MaskedBatch],
    execution: Execution,
    seed: Seed,
) -> MlmOutput {
    let chain = model.chain();
    let labels = micro_batches.iter().flat_map(|batch| &batch.labels);
    let mut output = MlmOutput {
        loss: 0.0,
        correct: 0,
        counted: labels.flatten().count(),
        gradients: Gradients::default(),
    };
    let wants = VocabularyWants {
        hidden: chain.trains(),
        weight: is_trainable(&model.bert.embed.tokens),
        bias: is_trainable(&model.head.bias),
    };
    let mut seeds = (0..).map(|place| seed.child(place));
    let mut gradients = Gradients::default();
    for batch in micro_batches {
        let [rows, _] = batch.ids.dims();
        let pieces: Vec<Piece> = execution
            .split(rows)
            .map(|rows| batch.piece(rows))
            .collect();
        let labels: Vec<_> = pieces
            .iter()
            .flat_map(|piece| piece.labels.clone())
            .collect();
        let states = pieces.into_iter().map(|piece| piece.state).zip(&mut seeds);
        let loss = |outputs: Vec<Tensor<3>>, gradients: &mut Gradients| {
            let counts: Vec<usize> = outputs.iter().map(|output| output.dims()[1]).collect();
            let joined = Tensor::cat(outputs, 1).squeeze_dim(0);
            let head = model.vocabulary();
            let found = vocabulary_cross_entropy(joined, &head, &labels, output.counted, wants);
            output.loss += found.loss;
            output.correct += found.correct;
            model.give(found, &counts, gradients)
        };
        execution.step(&chain, states.collect(), loss, &mut gradients);
    }
    output.gradients = gradients;
    output
}

impl MaskedLanguageModel {
    /// Initialises the model of these sizes.
    pub fn new(config: &TextConfig, device: &Device) -> Self {
        Self {
            bert: config.init(device),
            head: MlmHead::new(config, device),
        }
    }

    /// The model with a part of its tower frozen; the head trains.
    pub fn locked(mut self, part: Locked) -> Self {
        self.bert = self.bert.locked(part);
        self
    }

    /// The chain, from the passengers `"ids"`, `"mask"` and [`LABELLED`] to what is decoded.
    pub fn chain(&self) -> Chain<'_> {
        let mut chain = Chain::new();
        chain.push("embed", &self.bert.embed);
        push_blocks(&mut chain, &self.bert.blocks, false);
        chain.push("head", &self.head.transform);
        chain
    }

    /// The decoder.
    pub fn vocabulary(&self) -> VocabularyHead {
        VocabularyHead {
            weight: self.bert.embed.tokens.val(),
            bias: Some(self.head.bias.val()),
        }
    }

    /// Loss, right words and labels of a batch, without a gradient.
    pub fn evaluate(&self, batch: &MaskedBatch) -> VocabularyLoss {
        let [rows, _] = batch.ids.dims();
        let piece = batch.piece(0..rows);
        let chain = self.chain();
        let output = chain.run(0..chain.len(), piece.state, Seed::evaluation());
        let counted = piece.labels.iter().flatten().count();
        let hidden = output.into_hidden().squeeze_dim(0);
        let wants = VocabularyWants::default();
        vocabulary_cross_entropy(hidden, &self.vocabulary(), &piece.labels, counted, wants)
    }

    /// Gives the decoder its gradients, and each part of what is decoded its cotangent.
    fn give(
        &self,
        found: VocabularyLoss,
        counts: &[usize],
        gradients: &mut Gradients,
    ) -> Vec<Tensor<3>> {
        let tokens = &self.bert.embed.tokens;
        if let Some(weight) = found.weight {
            gradients.add(tokens.id, weight);
        }
        if let Some(bias) = found.bias {
            gradients.add(self.head.bias.id, bias);
        }
        let [_, width] = tokens.lazy_shape().dims();
        let device = tokens.device();
        let mut start = 0;
        let cotangents = counts.iter().map(|count| {
            let rows = start..start + count;
            start += count;
            match &found.hidden {
                Some(hidden) => hidden.clone().slice([rows]).unsqueeze_dim(0),
                None => Tensor::zeros([1, *count, width], &device),
            }
        });
        cotangents.collect()
    }
}

/// Some rows of a batch, as the chain reads them.
struct Piece {
    state: State,
    /// Those of the places that the state carries.
    labels: Vec<Option<usize>>,
}

impl MaskedBatch {
    fn piece(&self, rows: std::ops::Range<usize>) -> Piece {
        let [all, tokens] = self.ids.dims();
        let is_whole = rows.len() == all;
        let labelled = self.labels[rows.start * tokens..rows.end * tokens].iter();
        let labelled = labelled.enumerate();
        let labelled = labelled.filter_map(|(place, label)| Some((place as i64, Some((*label)?))));
        let (mut places, mut labels): (Vec<i64>, Vec<_>) = labelled.unzip();
        if places.is_empty() {
            // A chain needs something to run on.
            (places, labels) = (vec![0], vec![None]);
        }
        let shape = [1, places.len()];
        let places = Tensor::from_data(TensorData::new(places, shape), &self.ids.device());
        let (mut ids, mut mask) = (self.ids.clone(), self.mask.clone());
        if !is_whole {
            ids = ids.slice([rows.clone()]);
            mask = mask.map(|mask| mask.slice([rows]));
        }
        let state = State::default()
            .with("ids", Passenger::Ids(ids))
            .with(LABELLED, Passenger::Ids(places));
        let state = match mask {
            None => state,
            Some(mask) => state.with("mask", Passenger::Mask(mask)),
        };
        Piece { state, labels }
    }
}

impl Adaptable for MaskedLanguageModel {
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.within("bert", &mut self.bert);
        visit.within("head", &mut self.head);
    }
}

impl Adaptable for MlmHead {
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.within("transform", &mut self.transform);
    }
}

impl Adaptable for MlmTransform {
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.linear("dense", &mut self.dense);
    }
}
