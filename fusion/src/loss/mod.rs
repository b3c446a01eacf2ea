//! Losses in closed form: value and gradients together, without a graph.
//!
//! The contrastive losses never hold the `batch x batch` matrix of logits. They visit it tile by
//! tile ([`Tiling`]): a tile of products `image @ text.T` is turned in place into the derivative of
//! the loss with respect to those products, multiplied into the gradients, and dropped.

mod clip;
mod log_sum_exp;
mod siglip;
mod tiles;
mod tiling;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

pub use tiling::Tiling;

use tiles::Features;

/// How a batch of matching image and text features is scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContrastiveLoss {
    /// CLIP: the mean of the cross entropies of rows and of columns (Radford et al. 2021).
    #[default]
    Softmax,
    /// SigLIP: a logistic loss of every pair, summed and divided by the batch (Zhai et al. 2023).
    Sigmoid,
}

/// What turns a product of features into a logit: `scale * product + bias`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitMap {
    /// The factor itself, not its logarithm.
    pub scale: f32,
    /// The offset. The softmax loss does not depend on it.
    pub bias: Option<f32>,
}

/// A loss and its gradients.
#[derive(Clone, Debug)]
pub struct LossAndGrads {
    /// The loss, a mean over the batch.
    pub loss: f64,
    /// With respect to the image features, `[batch, d_joint]`.
    pub grad_image: Tensor<2>,
    /// With respect to the text features, `[batch, d_joint]`.
    pub grad_text: Tensor<2>,
    /// With respect to the scale. A scale stored as its logarithm receives `scale` times this.
    pub grad_scale: f64,
    /// With respect to the bias, if there is one.
    pub grad_bias: Option<f64>,
}

impl ContrastiveLoss {
    /// The loss of a batch in which row `i` of `image` belongs to row `i` of `text`.
    ///
    /// Features need not be normalised. They are plain tensors, not on a graph, of any device.
    ///
    /// # Shapes
    ///
    /// * `image`, `text`: `[batch, d_joint]`
    ///
    /// # Panics
    ///
    /// If the shapes differ, or the batch is empty.
    pub fn evaluate(
        self,
        image: Tensor<2>,
        text: Tensor<2>,
        logits: LogitMap,
        tiling: Tiling,
    ) -> LossAndGrads {
        let features = Features::new(image, text, tiling);
        match self {
            Self::Softmax => clip::evaluate(features, logits),
            Self::Sigmoid => siglip::evaluate(features, logits),
        }
    }
}

#[cfg(test)]
mod tests;
