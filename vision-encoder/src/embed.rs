//! From pixels to hidden states: the first segment of a vision tower.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Int, Tensor, TensorData},
};
use checkpointing::{Seed, Segment, State};
use peft::{Linear, LinearConfig};
use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use transformer::LayerNorm;

use crate::{VisionConfig, resample_positions};

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
        let (d_model, grid) = (config.d_model, config.grid());
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
                .then(|| LayerNorm::new(d_model, config.norm_epsilon, device)),
            patch_size: config.patch_size,
            grid,
            patch_dropout: config.patch_dropout,
        }
    }

    /// `[batch, channels, height, width] -> [batch, patches, channels * size * size]`.
    fn cut(&self, pixels: Tensor<4>) -> (Tensor<3>, [usize; 2]) {
        let [batch, channels, height, width] = pixels.dims();
        let size = self.patch_size;
        let grid = [height / size, width / size];
        // [batch, channels, rows, size, columns, size] -> [batch, rows, columns, channels, size, size]
        let patches = pixels
            .slice([0..batch, 0..channels, 0..grid[0] * size, 0..grid[1] * size])
            .reshape([batch, channels, grid[0], size, grid[1], size])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([batch, grid[0] * grid[1], channels * size * size]);
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
}

impl Segment for PatchEmbed {
    fn forward(&self, input: State, seed: Seed) -> State {
        let (patches, grid) = self.cut(input.pixels("pixels"));
        let (class_position, positions) = self.positions(grid);
        let mut hidden = self.patches.forward(patches) + positions.unsqueeze::<3>();
        if let Some(seed) = seed.training().filter(|_| self.patch_dropout > 0.0) {
            hidden = keep_some(hidden, self.patch_dropout, seed);
        }
        if let (Some(class), Some(position)) = (&self.class_token, class_position) {
            let [batch, _, d_model] = hidden.dims();
            let class: Tensor<3> = (class.val().unsqueeze::<2>() + position).unsqueeze();
            hidden = Tensor::cat(vec![class.expand([batch, 1, d_model]), hidden], 1);
        }
        let hidden = match &self.norm {
            None => hidden,
            Some(norm) => norm.forward(hidden),
        };
        input.without("pixels").with_tensors(vec![hidden])
    }
}

/// Keeps a random part of each picture's patches, in order; the same number for every picture.
fn keep_some(hidden: Tensor<3>, dropped: f64, seed: u64) -> Tensor<3> {
    let [batch, patches, d_model] = hidden.dims();
    let kept = ((patches as f64 * (1.0 - dropped)).round() as usize).clamp(1, patches);
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    let mut rows = Vec::with_capacity(batch * kept);
    for picture in 0..batch {
        let mut chosen = index::sample(&mut generator, patches, kept).into_vec();
        chosen.sort_unstable();
        rows.extend(
            chosen
                .into_iter()
                .map(|patch| (picture * patches + patch) as i64),
        );
    }
    let data = TensorData::new(rows, [batch * kept]);
    let rows = Tensor::<1, Int>::from_data(data, &hidden.device());
    let flat: Tensor<2> = hidden.reshape([batch * patches, d_model]);
    flat.select(0, rows).reshape([batch, kept, d_model])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patch_dropout_keeps_the_same_number_of_each_picture_in_order() {
        let device = Device::default();
        let hidden = Tensor::<1, Int>::arange(0..20, &device)
            .float()
            .reshape([2, 10, 1]);
        let kept = keep_some(hidden.clone(), 0.5, 3);
        assert_eq!(kept.dims(), [2, 5, 1]);
        let values: Vec<f32> = kept.into_data().iter::<f32>().collect();
        assert!(
            values.windows(2).all(|pair| pair[0] < pair[1]),
            "{values:?}"
        );
        assert!(values[4] < 10.0 && values[5] >= 10.0);
        assert_eq!(
            keep_some(hidden.clone(), 0.5, 3).into_data(),
            keep_some(hidden, 0.5, 3).into_data()
        );
    }
}
