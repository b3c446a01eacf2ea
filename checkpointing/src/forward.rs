//! Forward through a chain, and its pullback.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use burn::tensor::Tensor;
use precision::{Format, Stored};

use crate::{
    Call, Chain, Gradients, Parameter, Passenger, Schedule, Seed, Slot, State, Streams,
    chain::{Plan, clip},
    schedule::How,
    segment::Held,
};

/// How a chain is run.
#[derive(Clone, Debug)]
pub struct Pass<'s> {
    /// What is held between forward and pullback.
    pub schedule: &'s Schedule,
    /// Segment `i` is seeded by `seed.child(i)`, so that a recomputation repeats its randomness.
    pub seed: Seed,
    /// The input's streams whose cotangents are wanted.
    pub wants: Vec<Slot>,
    /// The segments to run; all if it is none. Places, seeds and stages are those of the whole chain.
    pub segments: Option<Range<usize>>,
}

impl<'s> Pass<'s> {
    /// A pass over the whole chain that gives the gradients of parameters alone.
    pub fn new(schedule: &'s Schedule, seed: Seed) -> Self {
        Self {
            schedule,
            seed,
            wants: Vec::new(),
            segments: None,
        }
    }

    /// The cotangent of this stream of the input is wanted, too.
    pub fn wanting(mut self, slot: impl Into<Slot>) -> Self {
        self.wants.push(slot.into());
        self
    }

    /// Enters and leaves the chain at these cuts.
    pub fn over(mut self, segments: Range<usize>) -> Self {
        self.segments = Some(segments);
        self
    }
}

/// What is held between forward and pullback.
enum Item {
    /// What the pullback of a segment needs.
    Saved {
        place: usize,
        /// In this format.
        keep: Format,
        held: Box<dyn Held>,
    },
    /// The cut before some segments, and how they are computed again.
    Cut {
        segments: Range<usize>,
        schedule: Schedule,
        cut: StoredState,
    },
}

/// A state of which some streams are kept, in a number format.
struct StoredState {
    streams: Vec<(Slot, Stored<3>)>,
    passengers: BTreeMap<Slot, Passenger>,
}

impl StoredState {
    fn store(state: &State, reads: &BTreeSet<Slot>, format: Format) -> Self {
        let streams = state.streams.iter();
        let streams = streams.filter(|(slot, _)| reads.contains(slot));
        Self {
            streams: streams
                .map(|(slot, stream)| (slot, format.store(stream.clone())))
                .collect(),
            passengers: state.passengers.clone(),
        }
    }

    fn load(self) -> State {
        let state = State {
            passengers: self.passengers,
            ..State::default()
        };
        let streams = self.streams.into_iter();
        streams.fold(state, |state, (slot, stream)| {
            state.with_stream(slot, stream.load())
        })
    }

    fn bytes(&self) -> usize {
        self.streams.iter().map(|(_, stream)| stream.bytes()).sum()
    }
}

/// The vector-Jacobian product of a chain at the point where [`forward`] ran. It owns no weights.
pub struct Pullback {
    /// The last segment's on top.
    items: Vec<Item>,
    plan: Plan,
    seed: Seed,
}

/// Runs `chain` on `input` and returns the output and its pullback.
///
/// A segment holds nothing whose pullback nobody reads: no parameter of it or before it trains, and no cotangent of the
/// input is wanted that reaches it.
///
/// # Panics
///
/// Panics if the schedule was made for a chain of another length, or if the segments to run are not of this chain.
pub fn forward(chain: &Chain<'_>, pass: &Pass<'_>, input: State) -> (State, Pullback) {
    chain.knowing(|| {
        let mut pullback = Pullback {
            items: Vec::new(),
            plan: Plan::new(chain, pass),
            seed: pass.seed,
        };
        let range = pullback.plan.range.clone();
        let output = pullback.hold(chain, pass.schedule, range, input);
        (output, pullback)
    })
}

impl Pullback {
    /// Runs some segments, and holds what the schedule says.
    fn hold(
        &mut self,
        chain: &Chain<'_>,
        schedule: &Schedule,
        range: Range<usize>,
        mut state: State,
    ) -> State {
        for stage in schedule.stages() {
            let segments = clip(&stage.segments, &range);
            let start = self.plan.first_recorded(segments.clone());
            state = chain.run(segments.start..start, state, self.seed);
            let segments = start..segments.end;
            match &stage.how {
                _ if segments.is_empty() => {}
                How::Keep(format) => state = self.keep(chain, segments, *format, state),
                How::Recompute { cut, by } => {
                    let reads = chain.reads(segments.clone());
                    self.items.push(Item::Cut {
                        segments: segments.clone(),
                        schedule: by.clone(),
                        cut: StoredState::store(&state, &reads, *cut),
                    });
                    state = chain.run(segments, state, self.seed);
                }
            }
        }
        state
    }

    fn keep(
        &mut self,
        chain: &Chain<'_>,
        segments: Range<usize>,
        keep: Format,
        mut state: State,
    ) -> State {
        for place in segments {
            if !self.plan.records[place] {
                state = chain.run(place..place + 1, state, self.seed);
                continue;
            }
            let call = Call {
                seed: self.seed.child(place as u64),
                wants: &self.plan.wants[place],
                keep,
            };
            let found = &chain.places[place];
            let held;
            (state, held) = found.within(state, |local| found.link.record(local, &call));
            self.items.push(Item::Saved { place, keep, held });
        }
        state
    }

    /// The bytes of the tensors it holds. Passengers are the caller's and not counted.
    pub fn bytes(&self) -> usize {
        let bytes = |item: &Item| match item {
            Item::Saved { held, .. } => held.bytes(),
            Item::Cut { cut, .. } => cut.bytes(),
        };
        self.items.iter().map(bytes).sum()
    }

    /// Begins to pull back the cotangents of the output's streams.
    pub fn start(self, cotangents: Streams) -> Backward {
        Backward {
            next: self.plan.range.end,
            pullback: self,
            cotangents,
        }
    }

    /// Pulls the cotangent of the hidden states back through the whole chain.
    pub fn pull(self, chain: &Chain<'_>, cotangent: Tensor<3>) -> Pulled {
        self.start(Streams::hidden(cotangent)).finish(chain)
    }
}

/// What a pullback gives back.
#[derive(Debug, Default)]
pub struct Pulled {
    /// The cotangents of the input's streams, as far as they were wanted.
    pub cotangents: Streams,
    /// The gradients of the parameters that train.
    pub gradients: Gradients,
}

/// A pullback under way: one segment at a time, the last first. Between two steps the caller owns the model and may change
/// the parameters that are complete.
pub struct Backward {
    pullback: Pullback,
    /// The segment before which nothing is pulled back yet.
    next: usize,
    cotangents: Streams,
}

/// What a step of a pullback gives.
#[derive(Debug)]
pub struct Stepped {
    /// The segment that was pulled back, by its place.
    pub segment: usize,
    /// What it adds to the gradients.
    pub gradients: Gradients,
    /// The parameters whose gradients are complete now, in a fixed order: of a tied weight that of its first place. One that
    /// no cotangent reached has none.
    pub complete: Vec<Parameter>,
}

impl Backward {
    /// Pulls the next segment back; none if it was the last.
    ///
    /// # Panics
    ///
    /// Panics if segments of the chain are of other types than those that were recorded.
    pub fn step(&mut self, chain: &Chain<'_>) -> Option<Stepped> {
        chain.knowing(|| self.take_step(chain))
    }

    fn take_step(&mut self, chain: &Chain<'_>) -> Option<Stepped> {
        loop {
            match self.pullback.items.pop()? {
                Item::Cut {
                    segments,
                    schedule,
                    cut,
                } => drop(self.pullback.hold(chain, &schedule, segments, cut.load())),
                Item::Saved { place, keep, held } => {
                    return Some(self.pull(chain, place, keep, held));
                }
            }
        }
    }

    fn pull(
        &mut self,
        chain: &Chain<'_>,
        index: usize,
        keep: Format,
        held: Box<dyn Held>,
    ) -> Stepped {
        self.pass_by(chain, index + 1);
        self.next = index;
        let (place, plan) = (&chain.places[index], &self.pullback.plan);
        let mut local = Streams::default();
        for (name, slot) in place.link.writes().iter().zip(place.writes()) {
            if let Some(cotangent) = self.cotangents.take(slot) {
                local = local.with(*name, cotangent);
            }
        }
        let mut gradients = Gradients::default();
        if !local.is_empty() {
            let call = Call {
                seed: self.pullback.seed.child(index as u64),
                wants: &plan.wants[index],
                keep,
            };
            let pulled = place.link.pull(held, local, &call, &mut gradients);
            for (slot, cotangent) in pulled {
                if call.wants.has(slot.name) {
                    self.cotangents
                        .add(place.scope.resolve(slot.name), cotangent);
                }
            }
        }
        Stepped {
            segment: index,
            gradients,
            complete: plan.completes(index, place),
        }
    }

    /// Passes by the segments from `start` on that were not recorded: cotangents of what they wrote end there.
    fn pass_by(&mut self, chain: &Chain<'_>, start: usize) {
        let places = &chain.places[start..self.next.max(start)];
        for slot in places.iter().flat_map(|place| place.writes()) {
            self.cotangents.take(slot);
        }
    }

    /// Takes all steps that are left.
    pub fn finish(mut self, chain: &Chain<'_>) -> Pulled {
        let mut gradients = Gradients::default();
        while let Some(stepped) = self.step(chain) {
            gradients.merge(stepped.gradients);
        }
        self.pass_by(chain, self.pullback.plan.range.start);
        let wanted = &self.pullback.plan.input;
        let cotangents = self.cotangents.into_iter();
        let cotangents = cotangents.filter(|(slot, _)| wanted.contains(slot));
        Pulled {
            cotangents: cotangents.collect(),
            gradients,
        }
    }
}
