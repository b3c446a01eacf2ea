//! What can be wrong with groups and with a saved state.

/// A group that cannot be, or a saved state that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptimizerError {
    /// The pattern of a group cannot be read.
    #[error("the pattern `{pattern}` cannot be read: {message}")]
    Pattern {
        /// As it was given.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// A group would be empty.
    #[error(
        "the pattern `{pattern}` matches the path of no parameter that trains; their paths begin with {known}"
    )]
    EmptyGroup {
        /// As it was given.
        pattern: String,
        /// How the paths begin.
        known: String,
    },
    /// A group would be empty: groups before it have all that it matches.
    #[error(
        "all that the pattern `{pattern}` matches is in the group of `{by}` before it; put it first"
    )]
    ShadowedGroup {
        /// As it was given.
        pattern: String,
        /// The pattern of the first of those groups.
        by: String,
    },
    /// There is no slot of a path.
    #[error("`{path}` is no parameter that trains")]
    NoSlot {
        /// The path.
        path: String,
    },
    /// A state has more or fewer tensors than the optimizer keeps.
    #[error("the state of `{path}` has {found} tensors, the optimizer {expected}")]
    StateTensors {
        /// The slot's path.
        path: String,
        /// Tensors that the optimizer keeps.
        expected: usize,
        /// Tensors that were given.
        found: usize,
    },
    /// A tensor of a state is of another size than its parameter.
    #[error("the state of `{path}` has {found} elements, the parameter {expected}")]
    StateSize {
        /// The slot's path.
        path: String,
        /// Elements of the parameter.
        expected: usize,
        /// Elements that were given.
        found: usize,
    },
}
