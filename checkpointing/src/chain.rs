//! Forward through a chain, and its pullback.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::{Gradients, Link, Pulled, Schedule, Seed, State, Tape};

type Chain<'a> = &'a [&'a dyn Link];

/// What one stage holds between forward and pullback.
enum Held<'a> {
    /// The graphs of its segments.
    Tapes(Vec<Tape<'a>>),
    /// Only the cut before it.
    Cut {
        segments: Range<usize>,
        input: State,
    },
}

/// The vector-Jacobian product of a chain at the point where [`forward`] ran.
pub struct Pullback<'a> {
    chain: Chain<'a>,
    held: Vec<Held<'a>>,
    seed: Seed,
    wants: Wants,
}

/// Which segments must hand a cotangent to the one before.
#[derive(Clone, Copy)]
struct Wants {
    first_trainable: usize,
    input: bool,
}

impl Wants {
    fn cotangent_of_input_of(self, segment: usize) -> bool {
        self.input || segment > self.first_trainable
    }
}

/// Runs `chain` on `input` and returns the output and its pullback.
///
/// Segments before the first trainable parameter run without a graph and hold nothing, unless
/// `input_cotangent` asks for the cotangent of the input. Segment `i` is seeded by
/// `seed.child(i)`, so that a recomputation repeats its randomness.
///
/// # Panics
///
/// Panics if the schedule was made for a chain of another length.
pub fn forward<'a>(
    chain: Chain<'a>,
    schedule: &Schedule,
    input: State,
    seed: Seed,
    input_cotangent: bool,
) -> (State, Pullback<'a>) {
    assert_eq!(
        schedule.segments(),
        chain.len(),
        "the schedule is for another chain"
    );
    let first_trainable = chain
        .iter()
        .position(|link| link.trains())
        .unwrap_or(chain.len());
    let wants = Wants {
        first_trainable,
        input: input_cotangent,
    };
    let frozen = if input_cotangent { 0 } else { first_trainable };

    let mut state = input;
    let mut held = Vec::new();
    for stage in schedule.stages() {
        let start = stage.segments.start.max(frozen).min(stage.segments.end);
        state = run(chain, stage.segments.start..start, state, seed);
        let segments = start..stage.segments.end;
        if segments.is_empty() {
            continue;
        }
        if stage.keep {
            let (output, tapes) = record(chain, segments, state, seed, wants);
            state = output;
            held.push(Held::Tapes(tapes));
        } else {
            held.push(Held::Cut {
                segments: segments.clone(),
                input: state.clone(),
            });
            state = run(chain, segments, state, seed);
        }
    }
    (
        state,
        Pullback {
            chain,
            held,
            seed,
            wants,
        },
    )
}

fn run(chain: Chain<'_>, segments: Range<usize>, mut state: State, seed: Seed) -> State {
    for index in segments {
        state = chain[index].run(state, seed.child(index as u64));
    }
    state
}

fn record<'a>(
    chain: Chain<'a>,
    segments: Range<usize>,
    mut state: State,
    seed: Seed,
    wants: Wants,
) -> (State, Vec<Tape<'a>>) {
    let mut tapes = Vec::with_capacity(segments.len());
    for index in segments {
        let (output, tape) = chain[index].tape(
            state,
            seed.child(index as u64),
            wants.cotangent_of_input_of(index),
        );
        state = output;
        tapes.push(tape);
    }
    (state, tapes)
}

impl Pullback<'_> {
    /// Pulls the cotangent of the output back: one tensor for each differentiable output tensor.
    pub fn pull(self, cotangent: Vec<Tensor<3>>) -> Pulled {
        let mut gradients = Gradients::default();
        let cotangent = self.pull_into(cotangent, &mut |part| gradients.merge(part));
        Pulled {
            cotangent,
            gradients,
        }
    }

    /// Pulls back and hands the gradients of each segment to `sink` as soon as they are complete,
    /// the last segment first. Returns the cotangent of the input.
    pub fn pull_into(
        self,
        mut cotangent: Vec<Tensor<3>>,
        sink: &mut dyn FnMut(Gradients),
    ) -> Vec<Tensor<3>> {
        for held in self.held.into_iter().rev() {
            let tapes = match held {
                Held::Tapes(tapes) => tapes,
                Held::Cut { segments, input } => {
                    record(self.chain, segments, input, self.seed, self.wants).1
                }
            };
            for tape in tapes.into_iter().rev() {
                let pulled = tape(cotangent);
                cotangent = pulled.cotangent;
                sink(pulled.gradients);
            }
        }
        cotangent
    }
}
