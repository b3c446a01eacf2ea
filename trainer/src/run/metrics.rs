//! What is known of a step after it.

/// Metrics of one step.
pub(super) struct Metrics {
    pub(super) loss: f64,
    pub(super) norm: f64,
    pub(super) rate: f64,
    /// Whether the loss or the gradients were no numbers, so that nothing was changed.
    pub(super) is_skipped: bool,
}
