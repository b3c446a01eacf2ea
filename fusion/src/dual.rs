//! Two towers that meet in one space.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use peft::{Adaptable, Visit};
use text_encoder::TextEncoder;
use vision_encoder::VisionEncoder;

/// A vision and a text tower, and the scale (and bias) of their similarities: CLIP and SigLIP.
#[derive(Module, Debug)]
pub struct DualEncoder<V: VisionEncoder, T: TextEncoder> {
    /// From pictures to features.
    pub vision: V,
    /// From captions to features.
    pub text: T,
    /// The logarithm of the scale, `[1]`.
    pub logit_scale: Param<Tensor<1>>,
    /// Added to each logit, `[1]`; SigLIP has one.
    pub logit_bias: Option<Param<Tensor<1>>>,
}

impl<V: VisionEncoder, T: TextEncoder> DualEncoder<V, T> {
    /// The scale of the similarities: the exponential of the parameter.
    pub fn scale(&self) -> f32 {
        self.logit_scale.val().into_scalar::<f32>().exp()
    }

    /// The bias of the logits, if the model has one.
    pub fn bias(&self) -> Option<f32> {
        self.logit_bias
            .as_ref()
            .map(|bias| bias.val().into_scalar::<f32>())
    }

    /// Keeps the scale between 1 and `max`, as open_clip does after each step.
    pub fn clamp_scale(&mut self, max: f64) {
        self.logit_scale = self
            .logit_scale
            .clone()
            .map(|scale| scale.clamp(0.0, max.max(1.0).ln()));
    }
}

impl<V, T> Adaptable for DualEncoder<V, T>
where
    V: VisionEncoder + Adaptable,
    T: TextEncoder + Adaptable,
{
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.within("vision", &mut self.vision);
        visit.within("text", &mut self.text);
    }
}
