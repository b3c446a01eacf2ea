//! Walking the similarities of all pairs tile by tile.

use std::ops::Range;

use burn::tensor::Tensor;

use super::LossAndGrads;

/// Features of matched rows, and the size of a tile of their similarities.
pub(super) struct Pairs {
    image: Tensor<2>,
    text: Tensor<2>,
    tile: [usize; 2],
}

/// What the tiles add up to, before the diagonal is taken off.
pub(super) struct Tiles {
    pub(super) loss: f64,
    pub(super) grad_image: Tensor<2>,
    pub(super) grad_text: Tensor<2>,
    pub(super) grad_scale: f64,
    pub(super) grad_bias: f64,
}

/// What one tile adds: its weights `dloss/dz`, and `sum(weights * similarity)`, `sum(weights)`.
pub(super) struct Weighted {
    pub(super) weights: Tensor<2>,
    pub(super) along_scale: f64,
    pub(super) along_bias: f64,
}

impl Pairs {
    pub(super) fn new(image: Tensor<2>, text: Tensor<2>, tile: [usize; 2]) -> Self {
        Self {
            image,
            text,
            tile: tile.map(|size| size.max(1)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.image.dims()[0]
    }

    fn ranges(&self, axis: usize) -> Vec<Range<usize>> {
        let (len, size) = (self.len(), self.tile[axis]);
        (0..len)
            .step_by(size)
            .map(|start| start..(start + size).min(len))
            .collect()
    }

    /// Visits each tile of the similarities `I T'`, row by row.
    pub(super) fn for_each(&self, mut f: impl FnMut(&Range<usize>, &Range<usize>, Tensor<2>)) {
        for rows in self.ranges(0) {
            let image = rows_of(&self.image, &rows);
            for columns in self.ranges(1) {
                let text = rows_of(&self.text, &columns);
                f(&rows, &columns, image.clone().matmul(text.transpose()));
            }
        }
    }

    /// The only tile, if there is but one: then a second pass need not compute it again.
    pub(super) fn single(&self) -> bool {
        self.tile.iter().all(|size| *size >= self.len())
    }

    /// Adds up the gradients of tiles that `weigh` turns from similarities into weights.
    pub(super) fn accumulate(
        &self,
        scale: f32,
        kept: Option<Tensor<2>>,
        mut weigh: impl FnMut(&Range<usize>, &Range<usize>, Tensor<2>) -> Weighted,
    ) -> Tiles {
        let mut kept = kept;
        let (mut grad_scale, mut grad_bias) = (0.0, 0.0);
        let mut image_parts = Vec::new();
        let mut text_parts: Vec<Option<Tensor<2>>> = vec![None; self.ranges(1).len()];
        for rows in self.ranges(0) {
            let image = rows_of(&self.image, &rows);
            let mut image_part: Option<Tensor<2>> = None;
            for (columns, text_part) in self.ranges(1).iter().zip(&mut text_parts) {
                let text = rows_of(&self.text, columns);
                let similarity = kept
                    .take()
                    .unwrap_or_else(|| image.clone().matmul(text.clone().transpose()));
                let tile = weigh(&rows, columns, similarity);
                grad_scale += tile.along_scale;
                grad_bias += tile.along_bias;
                add(
                    text_part,
                    tile.weights.clone().transpose().matmul(image.clone()),
                );
                add(&mut image_part, tile.weights.matmul(text));
            }
            image_parts.extend(image_part);
        }
        let join = |parts: Vec<Tensor<2>>| Tensor::cat(parts, 0) * scale;
        let grad_image = join(image_parts);
        let grad_text = join(text_parts.into_iter().flatten().collect());
        Tiles {
            loss: 0.0,
            grad_image,
            grad_text,
            grad_scale,
            grad_bias,
        }
    }

    /// Takes the mean of the diagonal of `z` off the loss, and its gradients with it.
    pub(super) fn without_diagonal(
        self,
        tiles: Tiles,
        scale: f32,
        bias: Option<f32>,
    ) -> LossAndGrads {
        let n = self.len() as f64;
        let diagonal = (self.image.clone() * self.text.clone()).sum_dim(1);
        let diagonal: f64 = diagonal.into_data().iter::<f64>().sum::<f64>() / n;
        let share = scale / self.len() as f32;
        LossAndGrads {
            loss: tiles.loss - f64::from(scale) * diagonal - f64::from(bias.unwrap_or(0.0)),
            grad_image: tiles.grad_image - self.text * share,
            grad_text: tiles.grad_text - self.image * share,
            grad_scale: tiles.grad_scale - diagonal,
            grad_bias: bias.map(|_| tiles.grad_bias - 1.0),
        }
    }
}

fn rows_of(features: &Tensor<2>, rows: &Range<usize>) -> Tensor<2> {
    let [len, width] = features.dims();
    if rows.len() == len {
        return features.clone();
    }
    features.clone().slice([rows.clone(), 0..width])
}

fn add(sum: &mut Option<Tensor<2>>, part: Tensor<2>) {
    *sum = Some(match sum.take() {
        None => part,
        Some(sum) => sum + part,
    });
}
