//! What can be wrong with a picture or with a preprocessor's configuration.

/// Why the bytes of a picture were refused. The caller knows the file name and adds it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// There are no bytes.
    #[error("the image file is empty (0 bytes); remove it or download it again")]
    Empty,
    /// The file is larger than [`Limits::max_bytes`](super::Limits::max_bytes).
    #[error(
        "the image file has {found} bytes, the limit is {limit}; shrink it or raise image.max_bytes"
    )]
    TooManyBytes {
        /// Bytes in the file.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The header declares more pixels than [`Limits::max_pixels`](super::Limits::max_pixels).
    #[error(
        "the image header declares {width}x{height} pixels, the limit is {limit} pixels in all; shrink the picture or \
         raise image.max_pixels"
    )]
    TooManyPixels {
        /// Declared width, in pixels.
        width: u32,
        /// Declared height, in pixels.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
    /// A side is longer than resizing has room for: a strip of a few kilobytes would take gigabytes on its way to a
    /// square.
    #[error(
        "the image header declares {width}x{height} pixels, a side has at most {limit}; cut the picture up"
    )]
    TooLong {
        /// Declared width, in pixels.
        width: u32,
        /// Declared height, in pixels.
        height: u32,
        /// Pixels allowed on a side.
        limit: u32,
    },
    /// The content is of no image format that is read here.
    #[error(
        "this is {}, not JPEG, PNG, GIF, WebP, BMP or TIFF; {remedy}",
        found.unwrap_or("no image")
    )]
    NotAnImage {
        /// What it is instead, if that can be told.
        found: Option<&'static str>,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The file is damaged: cut short, or a checksum or a code does not fit.
    #[error("broken {format} data: {reason}; the file is cut short or damaged, replace it")]
    Broken {
        /// Name of the format.
        format: &'static str,
        /// What the decoder met.
        reason: String,
    },
    /// A valid file that uses a feature nobody here decodes.
    #[error("unsupported {format} data: {reason}; convert the picture to 8-bit RGB JPEG or PNG")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// What is not supported.
        reason: String,
    },
    /// The decoder panicked, which is a fault of it, mostly at damaged files.
    #[error(
        "the {format} decoder failed on this file ({reason}); save the picture anew or replace it"
    )]
    Panicked {
        /// Name of the format.
        format: &'static str,
        /// The panic's message and place.
        reason: String,
    },
    /// The number of bytes does not fit the size and kind of the picture.
    #[error(
        "a picture of {width}x{height} needs {expected} bytes, found {found}; pass one byte a channel, row by row"
    )]
    WrongLength {
        /// Width, in pixels.
        width: u32,
        /// Height, in pixels.
        height: u32,
        /// Bytes needed.
        expected: u64,
        /// Bytes given.
        found: u64,
    },
}

/// Why a preprocessor cannot be built from a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessorError {
    /// The text is no JSON object of the expected shape.
    #[error("the preprocessor configuration does not parse: {reason}")]
    Json {
        /// What the parser met, with line and column.
        reason: String,
    },
    /// No known processor has this name.
    #[error(
        "unknown image processor `{found}`; known are {expected}, with or without `Fast` or `Pil` at the end"
    )]
    UnknownProcessor {
        /// The name in the file; empty if there is none.
        found: String,
        /// The names that are known.
        expected: &'static str,
    },
    /// SigLIP 2's processor for pictures of any shape.
    #[error(
        "image processor `{found}` (NaFlex) cuts pictures of any shape into patches, which no tower here takes; use a \
         SigLIP 2 of fixed size, whose processor is SiglipImageProcessor"
    )]
    NaFlex {
        /// The name in the file.
        found: String,
    },
    /// A key holds a value that cannot be honoured.
    #[error("preprocessor key `{key}`: found {found}, expected {expected}")]
    Value {
        /// The key, by its name in the file that was read.
        key: String,
        /// What it says.
        found: String,
        /// What it may say.
        expected: &'static str,
    },
}

/// A value that cannot be honoured.
pub(super) fn refused(
    key: &str,
    found: impl ToString,
    expected: &'static str,
) -> PreprocessorError {
    PreprocessorError::Value {
        key: key.to_owned(),
        found: found.to_string(),
        expected,
    }
}
