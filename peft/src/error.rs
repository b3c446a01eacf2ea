//! What can go wrong with adapters.

/// Why an adapter cannot be attached, merged or switched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeftError {
    /// A bottleneck was to be folded into a weight.
    #[error(
        "a bottleneck adapter is not linear, and no weight says the same; keep it beside the model"
    )]
    NotLinear,
    /// What was not merged was to be undone.
    #[error("the adapter is not merged")]
    NotMerged,
    /// What was merged was to be attached, switched or weighted.
    #[error("the adapter `{name}` is merged; unmerge it before")]
    Merged {
        /// The adapter.
        name: String,
    },
    /// A factor of zero was merged and is to be undone.
    #[error("a factor is zero, and what it was multiplied with is gone; load the model again")]
    MultipliedByZero,
    /// There is no adapter of this name.
    #[error("there is no adapter `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// There is an adapter of this name.
    #[error("there is an adapter `{name}` already")]
    Twice {
        /// The name.
        name: String,
    },
    /// An adapter that multiplies was to be weighted.
    #[error("the adapter `{name}` multiplies, and only what adds has a weight")]
    NoWeight {
        /// The adapter.
        name: String,
    },
    /// DoRA was to stand beside another adapter.
    #[error(
        "the adapter `{name}` is a DoRA, whose lengths are those of one map: switch the others off"
    )]
    NotAlone {
        /// The adapter.
        name: String,
    },
    /// A pattern cannot be read.
    #[error("the pattern `{pattern}` cannot be read: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// A name or pattern means nothing.
    #[error("`{wanted}` means no module of the model; near are: {near}")]
    NoTarget {
        /// The name or pattern.
        wanted: String,
        /// What there is.
        near: String,
    },
    /// A config says what cannot be.
    #[error("`{key}` is {found}; supported: {supported}")]
    Config {
        /// The key.
        key: String,
        /// What it says.
        found: String,
        /// What it may say.
        supported: String,
    },
    /// An adapter has no such tensor.
    #[error("`{tensor}` is of another kind of adapter than the config's")]
    Unexpected {
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape.
    #[error("`{tensor}` is {found:?}; the model's map needs {wanted:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// What it is.
        found: Vec<usize>,
        /// What it has to be.
        wanted: Vec<usize>,
    },
}
