//! The one token that a tower's features are made of, and the last block, which computes that token alone.

use burn::tensor::{Bool, IndexingUpdateOp, Int, Tensor};
use checkpointing::{
    Call, Chain, Cost, Forward, Gradients, HIDDEN, Outline, Parameter, Saved, Seed, Segment, State,
    Streams, parameters,
};
use kernels::Mask;
use precision::Stored;

use crate::{
    Block, BranchSaved, Layer, LayerCall, NormOrder,
    attention::AttentionSaved,
    layer::{elements, rows, sequences},
    mlp::MlpSaved,
};

/// The name under which a state carries the place of the pooled token in each sequence, ids `[batch, 1]`.
pub const POOLED: &str = "pooled";

/// Which tokens the last block of a tower computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// The one that the features are made of, where it is one.
    Pooled,
    /// All of them.
    All,
}

/// Adds the blocks of a tower to a chain, the last one for the pooled token alone where the features are made of one.
pub fn push_blocks<'a>(chain: &mut Chain<'a>, blocks: &'a [Block], pools_one: bool) {
    for (i, block) in blocks.iter().enumerate() {
        let name = format!("blocks.{i}");
        if pools_one && i + 1 == blocks.len() {
            chain.push(name, PooledBlock(block));
        } else {
            chain.push(name, block);
        }
    }
}

/// The last block of a tower whose features are made of one token: queries, attention and MLP of that token alone, for
/// nothing reads the others. Its features are the same, and a tower of `n` blocks is cheaper by about `0.8 / n`.
///
/// Reads the passengers [`POOLED`] and `"mask"`, and leaves hidden states `[batch, 1, d_model]`.
#[derive(Clone, Copy, Debug)]
pub struct PooledBlock<'a>(pub &'a Block);

/// What a [`PooledBlock`] keeps.
pub struct PooledBlockSaved {
    input: Option<Stored<3>>,
    attention: AttentionSaved,
    /// What attention gave, where a LayerScale trains.
    output: Option<Stored<3>>,
    /// The sum of the first branch.
    sum: Option<Stored<3>>,
    mlp: BranchSaved<MlpSaved>,
    /// The caller's passengers.
    passengers: State,
    tokens: usize,
}

impl Saved for PooledBlockSaved {
    fn bytes(&self) -> usize {
        let tensors = [&self.input, &self.output, &self.sum].into_iter().flatten();
        let tensors: usize = tensors.map(Stored::bytes).sum();
        tensors + self.attention.bytes() + self.mlp.bytes()
    }
}

impl PooledBlock<'_> {
    /// The place of the pooled token, and what it sees.
    fn token(&self, input: &State, tokens: usize) -> (PooledToken, Mask) {
        let place = input.ids(POOLED);
        let place = place.expect("the chain needs the place of the pooled token, `pooled`");
        let token = PooledToken::new(place, tokens);
        let causal = self.0.attention.is_causal();
        let mask = Mask::default().with_real(token.sees(tokens, causal, input.mask("mask")));
        (token, mask)
    }

    fn is_pre(&self) -> bool {
        self.0.norm_order == NormOrder::Pre
    }

    /// Whether attention is to give the cotangents of its inputs.
    fn attention_call<'m>(&self, call: &Call<'_>, mask: &'m Mask) -> LayerCall<'m> {
        let outer = Block::attention_call(call, mask);
        LayerCall {
            wants_input: outer.wants_input || self.is_pre() && self.0.attention_norm.trains(),
            ..outer
        }
    }

    fn keeps_sum(&self, call: &Call<'_>) -> bool {
        self.0.keeps_sum(call) || self.0.keeps_middle(call)
    }
}

impl Forward for PooledBlock<'_> {
    fn forward(&self, input: State, seed: Seed) -> State {
        let nothing = checkpointing::Wants::nothing();
        self.record(input, &Call::new(seed, &nothing)).0
    }
}

impl Segment for PooledBlock<'_> {
    type Saved = PooledBlockSaved;

    fn parameters(&self) -> Vec<Parameter> {
        parameters(self.0)
    }

    fn record(&self, mut input: State, call: &Call<'_>) -> (State, PooledBlockSaved) {
        let block = self.0;
        let [_, tokens, _] = input.stream(HIDDEN).dims();
        let (token, mask) = self.token(&input, tokens);
        let first = block.attention_branch(call.seed);
        let x = input.take_hidden();
        let passengers = State {
            passengers: input.passengers.clone(),
            ..State::default()
        };
        let needs = first.needs_input(call.wants.has(HIDDEN));
        let kept = needs.then(|| call.keep.store(x.clone()));
        let all = if self.is_pre() {
            block.attention_norm.forward(x.clone())
        } else {
            x.clone()
        };
        let inner = self.attention_call(call, &mask);
        let queries = token.pick(all.clone());
        let (output, attention) = block.attention.record_from(queries, all, &inner);
        let needs = first.end.needs_output();
        let kept_output = needs.then(|| call.keep.store(output.clone()));
        let sum = token.pick(x) + first.end.forward(output);
        let keeps = self.keeps_sum(call);
        let kept_sum = keeps.then(|| call.keep.store(sum.clone()));
        let middle = if self.is_pre() {
            sum
        } else {
            block.attention_norm.forward(sum)
        };
        let mlp_call = block.mlp_call(call, &mask);
        let (output, mlp) = block.mlp_branch(call.seed).record(middle, &mlp_call);
        let saved = PooledBlockSaved {
            input: kept,
            attention,
            output: kept_output,
            sum: kept_sum,
            mlp,
            passengers,
            tokens,
        };
        (input.without(POOLED).with_stream(HIDDEN, output), saved)
    }

    fn pull(
        &self,
        saved: PooledBlockSaved,
        mut cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        let block = self.0;
        let Some(cotangent) = cotangents.take(HIDDEN) else {
            return Streams::default();
        };
        let (token, mask) = self.token(&saved.passengers, saved.tokens);
        let mask = &mask;
        let norm = &block.attention_norm;
        let (middle, sum) = match (self.is_pre(), saved.sum.map(Stored::load)) {
            (true, sum) => (sum, None),
            (false, sum) => {
                let middle = sum.clone().filter(|_| block.needs_middle(call));
                (middle.map(|sum| norm.forward(sum)), sum)
            }
        };
        let mlp_call = block.mlp_call(call, mask);
        let second = block.mlp_branch(call.seed);
        let pulled = second.pull(middle, saved.mlp, cotangent, &mlp_call, gradients);
        let Some(middle) = pulled else {
            return Streams::default();
        };
        let middle = match sum {
            None => middle,
            Some(sum) => norm.pull(sum, middle, None, gradients),
        };
        let first = block.attention_branch(call.seed);
        let branch = first
            .end
            .pull(saved.output.map(Stored::load), middle.clone(), gradients);
        let input = saved.input.map(Stored::load);
        let needed = input.clone().filter(|_| block.attention.needs_input());
        let inputs = needed.map(|x| {
            let tokens = if self.is_pre() { norm.forward(x) } else { x };
            [token.pick(tokens.clone()), tokens]
        });
        let inner = self.attention_call(call, mask);
        let attention = &block.attention;
        let pulled = attention.pull_from(inputs, saved.attention, branch, &inner, gradients);
        let Some([queries, tokens]) = pulled else {
            return Streams::default();
        };
        let pulled = match input {
            Some(x) if self.is_pre() => {
                let residual = token.put(x.zeros_like(), middle);
                let normed = token.put(tokens, queries);
                norm.pull(x, normed, Some(residual), gradients)
            }
            _ => token.put(tokens, queries + middle),
        };
        if call.wants.has(HIDDEN) {
            Streams::hidden(pulled)
        } else {
            Streams::default()
        }
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        let block = self.0;
        let [batch, tokens, d_model] = input.stream(HIDDEN);
        let one = [batch, 1, d_model];
        let first = block.attention_branch(call.seed);
        let mask = Mask::default();
        let inner = self.attention_call(call, &mask);
        let attention = block.attention.cost_from(batch, [1, tokens], &inner);
        let mlp_call = block.mlp_call(call, &mask);
        let mlp = block.mlp_branch(call.seed).cost(one, &mlp_call);
        let pulled = if block.pulls_middle(call) {
            attention.backward_flops
        } else {
            0
        };
        let kept = first.needs_input(call.wants.has(HIDDEN));
        let shapes = [
            kept.then_some([batch, tokens, d_model]),
            first.end.needs_output().then_some(one),
            self.keeps_sum(call).then_some(one),
        ];
        Cost {
            output: input.clone().without(POOLED).with_stream(HIDDEN, one),
            forward_flops: attention.forward_flops + mlp.forward_flops,
            backward_flops: mlp.backward_flops + pulled,
            saved_bytes: call.keep.bytes(elements(shapes.into_iter().flatten()))
                + attention.saved_bytes
                + mlp.saved_bytes,
        }
    }
}

/// One token of each sequence, known by its place.
#[derive(Clone, Debug)]
pub struct PooledToken {
    place: Tensor<2, Int>,
    /// Its rows among those of all tokens, `[batch]`.
    rows: Tensor<1, Int>,
}

impl PooledToken {
    /// The tokens at `place`, `[batch, 1]`, of sequences of `tokens`.
    pub fn new(place: Tensor<2, Int>, tokens: usize) -> Self {
        let [batch, _] = place.dims();
        let flat: Tensor<1, Int> = place.clone().reshape([batch]);
        let starts = Tensor::<1, Int>::arange(0..batch as i64, &flat.device()) * tokens as i64;
        let rows = flat.cast(starts.dtype()) + starts;
        Self { place, rows }
    }

    /// `[batch, tokens, d_model] -> [batch, 1, d_model]`.
    pub fn pick(&self, all: Tensor<3>) -> Tensor<3> {
        let [batch, _, _] = all.dims();
        let picked = rows(all).select(0, self.rows.clone());
        sequences(picked, [batch, 1])
    }

    /// The pullback of [`pick`](Self::pick), added to `all`.
    pub fn put(&self, all: Tensor<3>, picked: Tensor<3>) -> Tensor<3> {
        let [batch, tokens, _] = all.dims();
        let add = IndexingUpdateOp::Add;
        let sum = rows(all).select_assign(0, self.rows.clone(), rows(picked), add);
        sequences(sum, [batch, tokens])
    }

    /// What the token sees: the real tokens of `mask`, `[batch, tokens]`, and of a causal tower none behind itself.
    fn sees(
        &self,
        tokens: usize,
        causal: bool,
        mask: Option<Tensor<2, Bool>>,
    ) -> Option<Tensor<2, Bool>> {
        if !causal {
            return mask;
        }
        let places = Tensor::<1, Int>::arange(0..tokens as i64, &self.place.device());
        let places = places.cast(self.place.dtype()).unsqueeze::<2>();
        let [batch, _] = self.place.dims();
        let before = places
            .expand([batch, tokens])
            .lower_equal(self.place.clone().expand([batch, tokens]));
        Some(match mask {
            None => before,
            Some(mask) => before.bool_and(mask),
        })
    }
}
