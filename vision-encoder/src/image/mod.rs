//! Pictures in, pixel values out: decoding, preprocessing and training crops.
//!
//! ```text
//! file bytes --decode--> Picture --Preprocessor::apply--> u8 [3, height, width] --normalise--> f32
//! ```
//!
//! [`decode`] looks at content, never at a file name, and refuses from the header what is too large.
//! [`PreprocessorConfig`] says what the published processors do (CLIP, SigLIP, ViT, DeiT, BLIP, open_clip, timm): it is
//! read from their files, overruled value by value, printed in a line and written again. [`Preprocessor`] does it, and
//! [`RandomResizedCrop`] does what torchvision's training crop does. The 8-bit planes are what is worth keeping in
//! memory: a quarter of the floats, and normalising them is one table look-up.
//!
//! Nothing here reads a path; the caller adds the name of the file to an [`ImageError`].

mod augment;
mod axis;
mod convolve;
mod decode;
mod description;
mod error;
mod exif;
mod files;
mod formats;
mod gif;
mod hf;
mod jpeg;
mod jpeg_header;
mod json;
mod kind;
mod normalise;
mod open_clip;
mod options;
mod picture;
mod png;
mod preprocess;
mod resample;
mod stored;
mod tiff;
mod timm;

pub use augment::{Draw, RandomResizedCrop, Region};
pub use axis::Filter;
pub use decode::decode;
pub use description::{Convention, PreprocessorConfig, ResizeMode, Size};
pub use error::{ImageError, PreprocessorError};
pub use normalise::Normalise;
pub use options::{Alpha, DecodeOptions, Limits, Orientation};
pub use picture::{Picture, PixelKind};
pub use preprocess::Preprocessor;
