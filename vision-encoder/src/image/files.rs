//! The files that say how pictures are preprocessed, read and written.

use super::{PreprocessorConfig, PreprocessorError, hf, open_clip, timm};

impl PreprocessorConfig {
    /// Read from transformers' `preprocessor_config.json`. Keys that are left out have the defaults of the processor that
    /// it names; where it names none, `model_type` of the model's `config.json` decides.
    ///
    /// # Errors
    /// [`PreprocessorError`] that names the key, what it holds and what it may hold.
    pub fn from_hf_json(text: &str, model_type: Option<&str>) -> Result<Self, PreprocessorError> {
        hf::read(text, model_type)
    }

    /// Read from transformers' `processor_config.json`, which holds the same since version 5, under `image_processor`, and
    /// comes before a `preprocessor_config.json` beside it; `None` if it holds no such thing.
    ///
    /// # Errors
    /// As [`from_hf_json`](Self::from_hf_json).
    pub fn from_hf_processor_json(
        text: &str,
        model_type: Option<&str>,
    ) -> Result<Option<Self>, PreprocessorError> {
        hf::read_nested(text, model_type)
    }

    /// Read from open_clip's `preprocess_cfg`: either that object, or a whole `open_clip_config.json`, whose
    /// `model_cfg.vision_cfg.image_size` then decides on the size, as in open_clip.
    ///
    /// # Errors
    /// [`PreprocessorError`] that names the key, what it holds and what it may hold.
    pub fn from_open_clip_json(text: &str) -> Result<Self, PreprocessorError> {
        open_clip::read(text)
    }

    /// Read from timm's `pretrained_cfg`: either that object, or a whole `config.json` that has one.
    ///
    /// # Errors
    /// [`PreprocessorError`] that names the key, what it holds and what it may hold.
    pub fn from_timm_json(text: &str) -> Result<Self, PreprocessorError> {
        timm::read(text)
    }

    /// What transformers' `AutoImageProcessor` reads back to this, as the `preprocessor_config.json`; `None` if it has no
    /// such processor. The order of steps and the rounding are then transformers' own.
    pub fn to_hf_json(&self) -> Option<serde_json::Value> {
        hf::write(self)
    }

    /// What open_clip reads back to this, as its `preprocess_cfg`; `None` if it has no such transform. The order of steps
    /// and the rounding are then open_clip's own.
    pub fn to_open_clip_json(&self) -> Option<serde_json::Value> {
        open_clip::write(self)
    }
}
