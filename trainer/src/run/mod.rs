//! A run: its folder, its records, the loop that trains, and how it is taken up again.

mod advice;
mod clock;
mod contents;
mod evaluation;
mod folder;
mod lock;
mod log;
mod metrics;
pub mod record;
mod report;
mod resume;
pub mod schedule;
mod step;
mod training;
mod trains;

pub(crate) use advice::longer;
pub(crate) use clock::Clock;
pub(crate) use contents::Contents;
pub(crate) use folder::RunFolder;
pub(crate) use log::bad_sample;
pub(crate) use resume::Resumed;
pub(crate) use training::Training;
pub(crate) use trains::Unmoved;
