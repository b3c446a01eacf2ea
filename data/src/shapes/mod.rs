//! The generated set: pictures of one or two coloured shapes, and captions that describe them.

mod caption;
mod draw;
mod layout;
mod scene;
mod split;

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::seeding::{Purpose, stream};
use crate::{Error, ImageData, Place, Sample, SampleError, Source};
pub use scene::{Colour, Object, Relation, Scene, Shape, Size, is_held_out};
pub use split::Split;

/// The picture sizes that can be drawn, in pixels.
const SIZES: std::ops::RangeInclusive<u32> = 16..=1024;

/// What to generate. The names of the fields are the names of the options in a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShapesConfig {
    /// Everything random follows from it: 0.
    pub seed: u64,
    /// Width and height of the pictures in pixels, 16 to 1024: 64. Below 48 the smallest shapes blur.
    pub size: u32,
    /// Pictures of the training split: 8192.
    pub train: usize,
    /// Pictures of the split of new scenes: 256.
    pub val: usize,
    /// Pictures of the split of new colour-shape combinations: 256.
    pub held_out: usize,
    /// Whether pictures show one shape alone, and never two. There are few such scenes: `train` and `val` have the same, in
    /// other pictures.
    pub alone: bool,
}

impl Default for ShapesConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            size: 64,
            train: 8192,
            val: 256,
            held_out: 256,
            alone: false,
        }
    }
}

/// One split of the generated set.
///
/// Sample `i` is a function of the seed, the split and `i`: the numbers of pictures in the configuration only say
/// where a split ends. In `val` and `held-out` no two pictures show the same scene, so every caption has one picture, but
/// for pictures of one shape alone.
#[derive(Debug, Clone)]
pub struct Shapes {
    config: ShapesConfig,
    split: Split,
    name: String,
    /// The scenes of an evaluation split; training scenes are drawn one by one.
    scenes: Vec<Scene>,
    /// Whether the class of a picture stands for its caption.
    labelled: bool,
}

impl Shapes {
    /// Prepares a split: some milliseconds, and no memory for pictures.
    ///
    /// # Errors
    ///
    /// If the picture size is out of range, or the split has fewer different scenes than pictures.
    pub fn new(config: ShapesConfig, split: Split) -> Result<Self, Error> {
        if !SIZES.contains(&config.size) {
            let (min, max) = (*SIZES.start(), *SIZES.end());
            return Err(Error::PictureSize {
                found: config.size,
                min,
                max,
            });
        }
        let mut scenes = split::evaluation_scenes(config.seed, split, config.alone);
        let (len, option) = split.wanted(&config);
        if split != Split::Train && !config.alone && len > scenes.len() {
            let (found, limit) = (len, scenes.len());
            return Err(Error::TooManyScenes {
                split: split.name(),
                option,
                found,
                limit,
            });
        }
        scenes.truncate(len);
        Ok(Self {
            name: format!("shapes/{}", split.name()),
            config,
            split,
            scenes,
            labelled: false,
        })
    }

    /// As [`new`](Self::new), with the class of a picture for its caption: colour and form of what stands left, above or
    /// inside, as `red circle`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn labelled(config: ShapesConfig, split: Split) -> Result<Self, Error> {
        let labelled = true;
        Ok(Self {
            labelled,
            ..Self::new(config, split)?
        })
    }

    /// What picture `index` shows.
    ///
    /// # Panics
    ///
    /// If `index` is not below `len()`.
    pub fn scene(&self, index: usize) -> Scene {
        assert!(
            index < self.len(),
            "sample {index} of {}, which has {}",
            self.name,
            self.len()
        );
        match self.split {
            Split::Train => split::training_scene(self.config.seed, index, self.config.alone),
            Split::Val | Split::HeldOut => self.scenes[index % self.scenes.len()],
        }
    }

    fn key(&self, index: usize) -> String {
        format!("{index:06}")
    }
}

impl Source for Shapes {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.split.wanted(&self.config).0
    }

    fn sample(&self, index: usize) -> Result<Sample, SampleError> {
        let scene = self.scene(index);
        let mut look = stream(
            Purpose::Look,
            self.config.seed,
            self.split as u64,
            index as u64,
        );
        // The wording comes first, so that `caption` need not lay out a picture.
        let caption = caption::describe(&scene, &mut look);
        let picture = layout::arrange(&scene, &mut look);
        let size = self.config.size;
        let image = ImageData::Rgb {
            width: size,
            height: size,
            pixels: draw::draw(&picture, size),
        };
        let caption = if self.labelled {
            scene.label()
        } else {
            caption
        };
        Ok(Sample {
            place: Place::Key(self.key(index)),
            image,
            caption,
        })
    }

    fn caption(&self, index: usize) -> Cow<'_, str> {
        if self.labelled {
            return self.scene(index).label().into();
        }
        let mut look = stream(
            Purpose::Look,
            self.config.seed,
            self.split as u64,
            index as u64,
        );
        caption::describe(&self.scene(index), &mut look).into()
    }

    fn kind(&self) -> &'static str {
        "the generated set"
    }

    fn image_key(&self, index: usize) -> Cow<'_, str> {
        self.key(index).into()
    }
}

#[cfg(test)]
mod tests;
