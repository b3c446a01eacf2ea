//! One tower of a folder: of a run, a ViT's or BERT's, or of a file that holds two.

use std::path::Path;

use anyhow::bail;
use burn::tensor::Device;
use fusion::DualConfig;
use text_encoder::{TextConfig, TextKeys, TextTransformer};
use transformer::{Bindings, ConfigError, Section};
use vision_encoder::{VisionConfig, VisionKeys, VisionTransformer};

use super::{folder::OPEN_CLIP, weights::WeightsFolder};

/// A vision tower of a folder, without its projection.
pub(crate) struct VisionTower {
    /// Its sizes.
    pub(crate) config: VisionConfig,
    /// The folder.
    pub(crate) folder: WeightsFolder,
    namings: Vec<VisionKeys>,
}

/// A text tower of a folder, without its projection.
pub(crate) struct TextTower {
    /// Its sizes.
    pub(crate) config: TextConfig,
    /// The folder.
    pub(crate) folder: WeightsFolder,
    /// Each with what stands before its keys.
    namings: Vec<(TextKeys, &'static str)>,
}

/// What a folder's config may be of.
enum Kind {
    Vit,
    Timm,
    ClipVision,
    SiglipVision,
    Bert,
    ClipText,
    Two,
}

fn kind(folder: &WeightsFolder) -> Kind {
    if folder.file.name == OPEN_CLIP {
        return Kind::Two;
    }
    if folder.is_timm() {
        return Kind::Timm;
    }
    match folder.model_type() {
        Some("vit") => Kind::Vit,
        Some("bert") => Kind::Bert,
        Some("clip_vision_model") => Kind::ClipVision,
        Some("siglip_vision_model") => Kind::SiglipVision,
        Some("clip_text_model") => Kind::ClipText,
        // Whatever else it is, the parser of two towers says what it knows.
        _ => Kind::Two,
    }
}

fn two(folder: &WeightsFolder) -> anyhow::Result<DualConfig> {
    folder.parse(|json| {
        let parsed = if folder.file.name == OPEN_CLIP {
            DualConfig::from_open_clip(json)
        } else {
            DualConfig::from_hf(json)
        };
        parsed.map(|(config, _)| config)
    })
}

/// The key of a tanh layer, without what stands in front of it.
const POOLER: &str = "pooler.dense.weight";

impl VisionTower {
    /// Reads what the files of a folder, or of a run's newest record, say of their vision tower.
    ///
    /// # Errors
    ///
    /// Names the file and the key; if there is no vision tower.
    pub(crate) fn find(path: &Path) -> anyhow::Result<Self> {
        Self::read(WeightsFolder::find(path)?)
    }

    /// As [`find`](Self::find), of a folder that was found.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub(crate) fn read(folder: WeightsFolder) -> anyhow::Result<Self> {
        let root = |read: fn(&Section) -> Result<VisionConfig, ConfigError>| {
            folder.parse(|json| Section::root(json).and_then(|section| read(&section)))
        };
        let (config, namings) = match kind(&folder) {
            Kind::Vit => {
                let pooler = folder.holds(POOLER)?;
                let config = folder.parse(VisionConfig::from_hf_vit)?;
                let namings = vec![VisionKeys::HfVit, VisionKeys::HfVitModel];
                (VisionConfig { pooler, ..config }, namings)
            }
            Kind::Timm => {
                let config = folder.parse(VisionConfig::from_timm)?;
                (config, vec![VisionKeys::Timm])
            }
            Kind::ClipVision => {
                let config = root(|json| VisionConfig::from_hf_clip(json, 1))?;
                (config, vec![VisionKeys::HfClip])
            }
            Kind::SiglipVision => (
                root(VisionConfig::from_hf_siglip)?,
                vec![VisionKeys::HfClip],
            ),
            Kind::Two => {
                let namings = vec![
                    VisionKeys::HfClip,
                    VisionKeys::HfVisionText,
                    VisionKeys::OpenClip,
                    VisionKeys::OpenClipTimm,
                ];
                (two(&folder)?.vision, namings)
            }
            Kind::Bert | Kind::ClipText => bail!(
                "{}: holds a text tower; name a folder with a vision tower",
                folder.path.display()
            ),
        };
        let config = VisionConfig {
            d_output: None,
            output_bias: false,
            ..config
        };
        Ok(Self {
            config,
            folder,
            namings,
        })
    }

    /// A tower of the sizes `config` with the folder's weights; what it has beyond them, a tanh layer or a projection, is
    /// that of `drawn`.
    ///
    /// # Errors
    ///
    /// Names the file and the key that is missing or of another shape.
    pub(crate) fn load(
        &self,
        config: &VisionConfig,
        drawn: VisionTransformer,
        device: &Device,
        told: &mut Vec<String>,
    ) -> anyhow::Result<VisionTransformer> {
        let body = VisionConfig {
            pooler: self.config.pooler,
            d_output: None,
            ..config.clone()
        };
        let namings = self.namings.iter();
        let namings: Vec<Bindings> = namings
            .map(|keys| body.bindings(*keys).ignoring_others())
            .collect();
        let mut tower = self.folder.load(body.init(device), &namings, told)?;
        tower.head.projection = drawn.head.projection;
        if tower.head.pooler.is_none() {
            tower.head.pooler = drawn.head.pooler;
        }
        Ok(tower)
    }
}

impl TextTower {
    /// Reads what the files of a folder, or of a run's newest record, say of their text tower.
    ///
    /// # Errors
    ///
    /// Names the file and the key; if there is no text tower.
    pub(crate) fn find(path: &Path) -> anyhow::Result<Self> {
        Self::read(WeightsFolder::find(path)?)
    }

    /// As [`find`](Self::find), of a folder that was found.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub(crate) fn read(folder: WeightsFolder) -> anyhow::Result<Self> {
        let (config, namings) = match kind(&folder) {
            Kind::Bert => {
                let pooler = folder.holds(POOLER)?;
                let config = folder.parse(TextConfig::from_hf_bert)?;
                let namings = vec![(TextKeys::Bert, "bert."), (TextKeys::Bert, "")];
                (TextConfig { pooler, ..config }, namings)
            }
            Kind::ClipText => {
                let config = folder.parse(|json| {
                    Section::root(json).and_then(|json| TextConfig::from_hf_clip(&json, 1))
                })?;
                (config, vec![(TextKeys::HfClip, "")])
            }
            Kind::Two => {
                let keys = [
                    TextKeys::HfClip,
                    TextKeys::HfVisionText,
                    TextKeys::OpenClip,
                    TextKeys::OpenClipCustom,
                ];
                let namings = keys.map(|keys| (keys, "")).to_vec();
                (two(&folder)?.text, namings)
            }
            Kind::Vit | Kind::Timm | Kind::ClipVision | Kind::SiglipVision => bail!(
                "{}: holds a vision tower; name a folder with a text tower",
                folder.path.display()
            ),
        };
        let config = TextConfig {
            d_output: None,
            output_bias: false,
            ..config
        };
        Ok(Self {
            config,
            folder,
            namings,
        })
    }

    /// A tower of the sizes `config` with the folder's weights; what it has beyond them, a tanh layer or a projection, is
    /// that of `drawn`.
    ///
    /// # Errors
    ///
    /// Names the file and the key that is missing or of another shape.
    pub(crate) fn load(
        &self,
        config: &TextConfig,
        drawn: TextTransformer,
        device: &Device,
        told: &mut Vec<String>,
    ) -> anyhow::Result<TextTransformer> {
        let body = TextConfig {
            pooler: self.config.pooler,
            d_output: None,
            ..config.clone()
        };
        let namings = self.namings.iter();
        let namings: Vec<Bindings> = namings
            .map(|(keys, prefix)| body.bindings(*keys).prefix_keys(prefix).ignoring_others())
            .collect();
        let mut tower = self.folder.load(body.init(device), &namings, told)?;
        tower.head.projection = drawn.head.projection;
        if tower.head.pooler.is_none() {
            tower.head.pooler = drawn.head.pooler;
        }
        Ok(tower)
    }
}
