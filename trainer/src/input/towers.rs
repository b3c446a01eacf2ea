//! One tower of a folder: of a run, a ViT's or BERT's, or of a file that holds two.

use std::path::Path;

use anyhow::bail;
use burn::{module::Module, tensor::Device};
use fusion::DualConfig;
use text_encoder::{TextConfig, TextKeys, TextTransformer};
use transformer::{Bindings, ConfigError, Section};
use vision_encoder::{VisionConfig, VisionKeys, VisionTransformer};

use super::{folder::OPEN_CLIP, weights::WeightsFolder};

/// A tower of a folder, without its projection.
pub(crate) struct FolderTower<C: TowerConfig> {
    /// Its sizes.
    pub(crate) config: C,
    /// The folder.
    pub(crate) folder: WeightsFolder,
    /// How its keys may be named.
    namings: Vec<C::Naming>,
}

/// A vision tower of a folder.
pub(crate) type VisionTower = FolderTower<VisionConfig>;
/// A text tower of a folder.
pub(crate) type TextTower = FolderTower<TextConfig>;

/// The sizes of a tower that a folder may hold.
pub(crate) trait TowerConfig: Sized {
    /// How its keys may be named.
    type Naming;
    /// The tower itself.
    type Tower: Module;

    /// The sizes that the files of a folder say, and how their keys may be named.
    fn read(folder: &WeightsFolder) -> anyhow::Result<(Self, Vec<Self::Naming>)>;

    /// The same without a projection, with or without a tanh layer.
    fn body(&self, pooler: bool) -> Self;

    /// Whether it ends in a tanh layer.
    fn has_pooler(&self) -> bool;

    /// The name of each of its parameters.
    fn bindings(&self, naming: &Self::Naming) -> Bindings;

    /// A tower of these sizes.
    fn init(&self, device: &Device) -> Self::Tower;

    /// Takes the projection of `drawn`, and its tanh layer where `tower` has none.
    fn complete(tower: Self::Tower, drawn: Self::Tower) -> Self::Tower;
}

impl<C: TowerConfig> FolderTower<C> {
    /// Reads what the files of a folder, or of a run's newest record, say of their tower.
    ///
    /// # Errors
    ///
    /// Names the file and the key; if there is no such tower.
    pub(crate) fn find(path: &Path) -> anyhow::Result<Self> {
        Self::read(WeightsFolder::find(path)?)
    }

    /// As [`find`](Self::find), of a folder that was found.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub(crate) fn read(folder: WeightsFolder) -> anyhow::Result<Self> {
        let (config, namings) = C::read(&folder)?;
        Ok(Self {
            config: config.body(config.has_pooler()),
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
        config: &C,
        drawn: C::Tower,
        device: &Device,
        lines: &mut Vec<String>,
    ) -> anyhow::Result<C::Tower> {
        // A task whose model has no tanh layer takes none of a folder.
        let body = config.body(config.has_pooler() && self.config.has_pooler());
        let namings = self.namings.iter();
        let namings: Vec<Bindings> = namings
            .map(|naming| body.bindings(naming).ignoring_others())
            .collect();
        let tower = self.folder.load(body.init(device), &namings, lines)?;
        Ok(C::complete(tower, drawn))
    }
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

impl TowerConfig for VisionConfig {
    type Naming = VisionKeys;
    type Tower = VisionTransformer;

    fn read(folder: &WeightsFolder) -> anyhow::Result<(Self, Vec<Self::Naming>)> {
        let root = |read: fn(&Section) -> Result<VisionConfig, ConfigError>| {
            folder.parse(|json| Section::root(json).and_then(|section| read(&section)))
        };
        let (config, namings) = match kind(folder) {
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
                (two(folder)?.vision, namings)
            }
            Kind::Bert | Kind::ClipText => bail!(
                "{}: holds a text tower; name a folder with a vision tower",
                folder.path.display()
            ),
        };
        Ok((config, namings))
    }

    fn body(&self, pooler: bool) -> Self {
        Self {
            pooler,
            d_output: None,
            output_bias: false,
            ..self.clone()
        }
    }

    fn has_pooler(&self) -> bool {
        self.pooler
    }

    fn bindings(&self, keys: &Self::Naming) -> Bindings {
        self.bindings(*keys)
    }

    fn init(&self, device: &Device) -> Self::Tower {
        self.init(device)
    }

    fn complete(mut tower: Self::Tower, drawn: Self::Tower) -> Self::Tower {
        tower.head.projection = drawn.head.projection;
        tower.head.pooler = tower.head.pooler.or(drawn.head.pooler);
        tower
    }
}

impl TowerConfig for TextConfig {
    type Naming = (TextKeys, &'static str);
    type Tower = TextTransformer;

    fn read(folder: &WeightsFolder) -> anyhow::Result<(Self, Vec<Self::Naming>)> {
        let (config, namings) = match kind(folder) {
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
                (two(folder)?.text, namings)
            }
            Kind::Vit | Kind::Timm | Kind::ClipVision | Kind::SiglipVision => bail!(
                "{}: holds a vision tower; name a folder with a text tower",
                folder.path.display()
            ),
        };
        Ok((config, namings))
    }

    fn body(&self, pooler: bool) -> Self {
        Self {
            pooler,
            d_output: None,
            output_bias: false,
            ..self.clone()
        }
    }

    fn has_pooler(&self) -> bool {
        self.pooler
    }

    fn bindings(&self, (keys, prefix): &Self::Naming) -> Bindings {
        self.bindings(*keys).prefix_keys(prefix)
    }

    fn init(&self, device: &Device) -> Self::Tower {
        self.init(device)
    }

    fn complete(mut tower: Self::Tower, drawn: Self::Tower) -> Self::Tower {
        tower.head.projection = drawn.head.projection;
        tower.head.pooler = tower.head.pooler.or(drawn.head.pooler);
        tower
    }
}
