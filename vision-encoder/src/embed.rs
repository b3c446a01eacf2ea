//! From pixels to hidden states: the first segment of a vision tower.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData},
};
use checkpointing::{
    Call, Cost, Forward, Gradients, HIDDEN, Outline, Parameter, Saved, Seed, Segment, State,
    Streams, is_trainable, parameters, product_flops,
};
use peft::{Adaptable, Linear, LinearCall, LinearConfig, LinearSaved, Visit};
use precision::{Format, Stored};
use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use transformer::LayerNorm;

use crate::{
    VisionConfig,
    position::{pull_resampled, resample_positions},
};

/// Cuts pictures into patches, maps them linearly, and adds class token and positions.
///
/// Reads the passenger `"pixels"`, `[batch, channels, height, width]`, and drops it.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    /// `[channels * size * size, d_model]`.
    pub patches: Linear,
    /// `[d_model]`.
    pub class_token: Option<Param<Tensor<1>>>,
    /// `[class token and patches, d_model]`.
    pub positions: Param<Tensor<2>>,
    /// A norm on the sum (CLIP).
    pub norm: Option<LayerNorm>,
    patch_size: usize,
    grid: usize,
    patch_dropout: f64,
}

impl PatchEmbed {
    pub(crate) fn new(config: &VisionConfig, device: &Device) -> Self {
        let (d_model, grid) = (config.sizes.d_model, config.grid());
        let std = (d_model as f64).powf(-0.5);
        let normal = Initializer::Normal { mean: 0.0, std };
        let class = usize::from(config.class_token);
        Self {
            patches: LinearConfig::new(config.channels * config.patch_size.pow(2), d_model)
                .with_bias(config.patch_bias)
                .init(device),
            class_token: config.class_token.then(|| normal.init([d_model], device)),
            positions: normal.init([class + grid * grid, d_model], device),
            norm: config
                .pre_norm
                .then(|| LayerNorm::new(d_model, config.sizes.norm_epsilon, device)),
            patch_size: config.patch_size,
            grid,
            patch_dropout: config.patch_dropout,
        }
    }

    /// `[batch, channels, height, width] -> [batch * patches, channels * size * size]`, and the grid of patches.
    fn cut(&self, pixels: Tensor<4>) -> (Tensor<2>, [usize; 2]) {
        let [batch, channels, height, width] = pixels.dims();
        let size = self.patch_size;
        let grid = [height / size, width / size];
        // [batch, channels, rows, size, columns, size] -> [batch, rows, columns, channels, size, size]
        let patches = pixels
            .slice([0..batch, 0..channels, 0..grid[0] * size, 0..grid[1] * size])
            .reshape([batch, channels, grid[0], size, grid[1], size])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch * grid[0] * grid[1], channels * size * size]);
        (patches, grid)
    }

    /// The positions of the class token, if there is one, and of a grid of patches.
    fn positions(&self, grid: [usize; 2]) -> (Option<Tensor<2>>, Tensor<2>) {
        let all = self.positions.val();
        let from = [self.grid, self.grid];
        if self.class_token.is_none() {
            return (None, resample_positions(all, from, grid));
        }
        let [rows, d_model] = all.dims();
        let class = all.clone().slice([0..1, 0..d_model]);
        let patches = all.slice([1..rows, 0..d_model]);
        (Some(class), resample_positions(patches, from, grid))
    }

    /// The patches that are kept of each picture.
    fn kept(&self, batch: usize, patches: usize, seed: Seed) -> Option<KeptPatches> {
        let seed = seed.training().filter(|_| self.patch_dropout > 0.0)?;
        Some(KeptPatches::draw(batch, patches, self.patch_dropout, seed))
    }

    /// How many patches of each picture are kept.
    fn count(&self, patches: usize, seed: Seed) -> usize {
        match seed.training() {
            Some(_) if self.patch_dropout > 0.0 => kept_count(patches, self.patch_dropout),
            _ => patches,
        }
    }

    /// The sum of patches, class token and positions, `[batch, tokens, d_model]`.
    fn sum(&self, pixels: Tensor<4>, call: &LinearCall) -> (Tensor<3>, LinearSaved) {
        let seed = call.seed;
        let [batch, ..] = pixels.dims();
        let (mut patches, grid) = self.cut(pixels);
        let (class_position, positions) = self.positions(grid);
        let kept = self.kept(batch, grid[0] * grid[1], seed);
        let positions: Tensor<3> = match kept {
            None => positions.unsqueeze(),
            Some(kept) => {
                let device = patches.device();
                patches = patches.select(0, kept.rows(&device));
                let positions = positions.select(0, kept.places(&device));
                let [_, d_model] = positions.dims();
                positions.reshape([batch, kept.count, d_model])
            }
        };
        let [_, _, d_model] = positions.dims();
        let (patches, saved) = self.patches.record(patches, call);
        let hidden = patches.reshape([batch as i32, -1, d_model as i32]) + positions;
        let sum = match (&self.class_token, class_position) {
            (Some(class), Some(position)) => {
                let class: Tensor<3> = (class.val().unsqueeze::<2>() + position).unsqueeze();
                Tensor::cat(vec![class.expand([batch, 1, d_model]), hidden], 1)
            }
            _ => hidden,
        };
        (sum, saved)
    }

    /// The call of the map of patches. Nobody reads the cotangent of a picture.
    fn patches_call(seed: Seed, keep: Format) -> LinearCall {
        LinearCall {
            seed,
            wants_input: false,
            keep,
        }
    }

    fn trains(&self) -> bool {
        self.norm.as_ref().is_some_and(LayerNorm::trains) || self.trains_sum()
    }

    /// Whether anything before the norm trains.
    fn trains_sum(&self) -> bool {
        self.patches.trains()
            || is_trainable(&self.positions)
            || self.class_token.as_ref().is_some_and(is_trainable)
    }

    /// The gradient of the positions, `[class token and patches, d_model]`, for the cotangent of each token that is kept.
    fn pull_positions(
        &self,
        class: Option<Tensor<2>>,
        patches: Tensor<3>,
        grid: [usize; 2],
        kept: Option<&KeptPatches>,
    ) -> Tensor<2> {
        let [batch, count, d_model] = patches.dims();
        let sum = match kept {
            None => patches.sum_dim(0).squeeze_dim(0),
            Some(kept) => Tensor::zeros([grid[0] * grid[1], d_model], &patches.device())
                .select_assign(
                    0,
                    kept.places(&patches.device()),
                    patches.reshape([batch * count, d_model]),
                    IndexingUpdateOp::Add,
                ),
        };
        let sum = pull_resampled(sum, [self.grid, self.grid], grid);
        match class {
            None => sum,
            Some(class) => Tensor::cat(vec![class, sum], 0),
        }
    }
}

/// What a [`PatchEmbed`] keeps.
pub struct PatchEmbedSaved {
    /// The caller's pictures.
    pixels: Tensor<4>,
    /// The sum before the norm.
    sum: Option<Stored<3>>,
    /// Of the map of patches.
    patches: LinearSaved,
}

impl Saved for PatchEmbedSaved {
    fn bytes(&self) -> usize {
        self.sum.as_ref().map_or(0, Stored::bytes) + self.patches.bytes()
    }
}

impl Forward for PatchEmbed {
    fn forward(&self, input: State, seed: Seed) -> State {
        let call = Self::patches_call(seed, Format::F32);
        let (sum, _) = self.sum(input.pixels("pixels"), &call);
        let hidden = match &self.norm {
            None => sum,
            Some(norm) => norm.forward(sum),
        };
        input.without("pixels").with_stream(HIDDEN, hidden)
    }

    fn reads(&self) -> &'static [&'static str] {
        &[]
    }
}

impl Segment for PatchEmbed {
    type Saved = PatchEmbedSaved;

    fn parameters(&self) -> Vec<Parameter> {
        parameters(self)
    }

    fn record(&self, input: State, call: &Call<'_>) -> (State, PatchEmbedSaved) {
        let pixels = input.pixels("pixels");
        let of_patches = Self::patches_call(call.seed, call.keep);
        let (sum, patches) = self.sum(pixels.clone(), &of_patches);
        let (hidden, sum) = match &self.norm {
            None => (sum, None),
            Some(norm) => {
                let hidden = norm.forward(sum.clone());
                (hidden, self.trains().then(|| call.keep.store(sum)))
            }
        };
        let output = input.without("pixels").with_stream(HIDDEN, hidden);
        let saved = PatchEmbedSaved {
            pixels,
            sum,
            patches,
        };
        (output, saved)
    }

    fn pull(
        &self,
        saved: PatchEmbedSaved,
        mut cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        let Some(cotangent) = cotangents.take(HIDDEN) else {
            return Streams::default();
        };
        let cotangent = match (&self.norm, saved.sum) {
            (Some(norm), Some(sum)) => norm.pull(sum.load(), cotangent, None, gradients),
            _ => cotangent,
        };
        if !self.trains_sum() {
            return Streams::default();
        }
        let [batch, tokens, d_model] = cotangent.dims();
        let classes = usize::from(self.class_token.is_some());
        let patches = cotangent
            .clone()
            .slice([0..batch, classes..tokens, 0..d_model]);
        let class = self.class_token.as_ref().map(|token| {
            let class = cotangent.slice([0..batch, 0..1, 0..d_model]);
            let class: Tensor<2> = class.sum_dim(0).squeeze_dim(0);
            gradients.give(token, || class.clone().reshape([d_model]));
            class
        });
        let [_, _, height, width] = saved.pixels.dims();
        let grid = [height, width].map(|side| side / self.patch_size);
        let kept = self.kept(batch, grid[0] * grid[1], call.seed);
        gradients.give(&self.positions, || {
            self.pull_positions(class, patches.clone(), grid, kept.as_ref())
        });
        let input = self.patches.needs_input().then(|| {
            let (cut, _) = self.cut(saved.pixels);
            let device = cut.device();
            match &kept {
                None => cut,
                Some(kept) => cut.select(0, kept.rows(&device)),
            }
        });
        let rows = batch * (tokens - classes);
        let cotangent = patches.reshape([rows, d_model]);
        let of_patches = Self::patches_call(call.seed, call.keep);
        self.patches
            .pull(input, saved.patches, cotangent, &of_patches, gradients);
        Streams::default()
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        let shape = input.passenger("pixels");
        let shape = shape.expect("the chain needs pixels `pixels`");
        let batch = shape[0];
        let grid = [shape[2] / self.patch_size, shape[3] / self.patch_size];
        let all = grid[0] * grid[1];
        let count = self.count(all, call.seed);
        let d_model = self.patches.d_output();
        let tokens = count + usize::from(self.class_token.is_some());
        let hidden = [batch, tokens, d_model];
        let resampled = if grid == [self.grid, self.grid] {
            0
        } else {
            product_flops([all, self.grid * self.grid, d_model])
        };
        let positions = if is_trainable(&self.positions) {
            resampled
        } else {
            0
        };
        let keeps = self.norm.is_some() && self.trains();
        let of_patches = Self::patches_call(call.seed, call.keep);
        let kept = self.patches.saved_bytes(batch * count, &of_patches);
        Cost {
            output: input.clone().without("pixels").with_stream(HIDDEN, hidden),
            forward_flops: self.patches.forward_flops(batch * count, call.seed) + resampled,
            backward_flops: self.patches.pull_flops(batch * count, &of_patches) + positions,
            saved_bytes: kept
                + if keeps {
                    call.keep.bytes(hidden.iter().product())
                } else {
                    0
                },
        }
    }
}

/// How many patches of a picture are kept.
fn kept_count(patches: usize, dropped: f64) -> usize {
    ((patches as f64 * (1.0 - dropped)).round() as usize).clamp(1, patches)
}

/// A random part of each picture's patches, in order; the same number for every picture.
struct KeptPatches {
    /// Of each picture.
    count: usize,
    /// Of a picture.
    patches: usize,
    /// Places within the picture, picture by picture.
    places: Vec<i64>,
}

impl KeptPatches {
    fn draw(batch: usize, patches: usize, dropped: f64, seed: u64) -> Self {
        let count = kept_count(patches, dropped);
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut places = Vec::with_capacity(batch * count);
        for _ in 0..batch {
            let mut chosen = index::sample(&mut generator, patches, count).into_vec();
            chosen.sort_unstable();
            places.extend(chosen.into_iter().map(|patch| patch as i64));
        }
        Self {
            count,
            patches,
            places,
        }
    }

    /// The places within the pictures.
    fn places(&self, device: &Device) -> Tensor<1, Int> {
        indices(self.places.clone(), device)
    }

    /// The rows among the patches of all pictures.
    fn rows(&self, device: &Device) -> Tensor<1, Int> {
        let places = self.places.iter().enumerate();
        let rows = places.map(|(i, place)| (i / self.count * self.patches) as i64 + place);
        indices(rows.collect(), device)
    }
}

fn indices(places: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = places.len();
    Tensor::from_data(TensorData::new(places, [count]), device)
}

impl Adaptable for PatchEmbed {
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.linear("patches", &mut self.patches);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_dropout_keeps_the_same_number_of_each_picture_in_order() {
        let kept = KeptPatches::draw(2, 10, 0.5, 3);
        assert_eq!((kept.count, kept.places.len()), (5, 10));
        for places in kept.places.chunks(5) {
            assert!(
                places.windows(2).all(|pair| pair[0] < pair[1]),
                "{places:?}"
            );
        }
        let rows = kept.rows(&Device::default()).into_data();
        let rows: Vec<i64> = rows.iter::<i64>().collect();
        assert!(rows[4] < 10 && rows[5] >= 10, "{rows:?}");
        assert_eq!(KeptPatches::draw(2, 10, 0.5, 3).places, kept.places);
    }
}
