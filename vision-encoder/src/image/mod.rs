//! Pictures in, pixel values out: decoding, preprocessing and training crops.
//!
//! ```text
//! file bytes --decode--> Picture --Preprocessor::apply--> u8 [3, height, width] --normalise--> f32
//! ```
//!
//! [`decode`] looks at content, never at a file name, and refuses from the header what is too large.
//! [`Preprocessor`] does what the published processors do (CLIP, SigLIP, ViT, DeiT, BLIP, open_clip), and
//! [`RandomResizedCrop`] what torchvision's training crop does. The 8-bit planes are what is worth keeping in memory:
//! a quarter of the floats, and normalising them is one table look-up.
//!
//! Nothing here reads a path; the caller adds the name of the file to an [`ImageError`].

mod augment;
mod config;
mod convolve;
mod decode;
mod error;
mod jpeg;
mod normalise;
mod open_clip;
mod picture;
mod png;
mod preprocess;
mod resample;

pub use augment::{Draw, RandomResizedCrop, Region};
pub use decode::{Alpha, DecodeOptions, Limits, Orientation, decode};
pub use error::{ImageError, PreprocessorError};
pub use normalise::Normalise;
pub use picture::{Picture, PixelKind};
pub use preprocess::{Crop, CropRounding, Preprocessor, Resize};
pub use resample::Filter;
