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
        "the image file has {found} bytes, the limit is {limit}; shrink it or raise the limit on bytes"
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
         raise the limit on pixels"
    )]
    TooManyPixels {
        /// Declared width, in pixels.
        width: u32,
        /// Declared height, in pixels.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
    /// The content is of no known image format.
    #[error(
        "this is not an image: the content is none of JPEG, PNG, GIF, WebP, BMP, TIFF; replace the file"
    )]
    NotAnImage,
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
        "unknown image processor `{found}`; known are {expected}, with or without `Fast` at the end"
    )]
    UnknownProcessor {
        /// The name in the file; empty if there is none.
        found: String,
        /// The names that are known.
        expected: &'static str,
    },
    /// A key holds a value that cannot be honoured.
    #[error("preprocessor key `{key}`: found {found}, expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        expected: &'static str,
    },
}
