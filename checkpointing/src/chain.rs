//! A chain of segments, and what is known of it before it runs.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    sync::{Arc, OnceLock},
};

use burn::module::ParamId;
use precision::Format;

use crate::{
    Call, Cost, Outline, Parameter, Pass, Scope, Seed, Segment, Slot, State, Wants,
    schedule::{How, Schedule},
    segment::Link,
    trains::{Trainable, forget_once, knowing},
};

/// A chain of segments, each known by its place and its name in the whole model.
///
/// It borrows the model and is cheap to make: whoever changes the model between two steps of a pullback makes it anew.
#[derive(Default)]
pub struct Chain<'a> {
    pub(crate) places: Vec<Place<'a>>,
    /// Asked once: while the chain borrows the model, nobody can freeze a part of it.
    trainable: OnceLock<Arc<Trainable>>,
}

pub(crate) struct Place<'a> {
    name: String,
    pub(crate) scope: Scope,
    pub(crate) link: Box<dyn Link + 'a>,
}

impl Place<'_> {
    pub(crate) fn run(&self, state: State, seed: Seed) -> State {
        self.within(state, |local| (self.link.forward(local, seed), ()))
            .0
    }

    /// Runs `f` on what the segment sees of the state.
    pub(crate) fn within<T>(
        &self,
        mut state: State,
        f: impl FnOnce(State) -> (State, T),
    ) -> (State, T) {
        let local = state.enter(&self.scope);
        let (local, result) = f(local);
        state.leave(&self.scope, local);
        (state, result)
    }

    pub(crate) fn reads(&self) -> impl Iterator<Item = Slot> {
        let names = self.link.reads().iter();
        names.map(|name| self.scope.resolve(name))
    }

    pub(crate) fn writes(&self) -> impl Iterator<Item = Slot> {
        let names = self.link.writes().iter();
        names.map(|name| self.scope.resolve(name))
    }

    /// Its parameters, by their paths in the whole model.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = self.link.parameters();
        for parameter in &mut parameters {
            parameter.path = format!("{}.{}", self.name, parameter.path);
        }
        parameters
    }
}

impl<'a> Chain<'a> {
    /// A chain without segments.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a segment, whose name is its path in the model.
    pub fn push(&mut self, name: impl Into<String>, segment: impl Segment + 'a) {
        self.push_in(Scope::default(), name, segment);
    }

    /// Adds a segment of a part of the model.
    pub fn push_in(&mut self, scope: Scope, name: impl Into<String>, segment: impl Segment + 'a) {
        self.trainable = OnceLock::new();
        self.places.push(Place {
            name: name.into(),
            scope,
            link: Box::new(segment),
        });
    }

    /// Runs `f`, in which nobody has to ask which parameters train.
    pub(crate) fn knowing<T>(&self, f: impl FnOnce() -> T) -> T {
        let ask = || {
            let mut trainable = Trainable::new();
            forget_once(|| {
                let places = self.places.iter();
                for parameter in places.flat_map(|place| place.link.parameters()) {
                    *trainable.entry(parameter.id).or_default() |= parameter.trains;
                }
            });
            Arc::new(trainable)
        };
        knowing(self.trainable.get_or_init(ask), f)
    }

    /// How many segments it has.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether any parameter of it trains.
    pub fn trains(&self) -> bool {
        self.parameters().iter().any(|parameter| parameter.trains)
    }

    /// The parameters of all segments, in order; a tied weight has an entry for each of its places.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.knowing(|| self.places.iter().flat_map(Place::parameters).collect())
    }

    /// The streams that some of the segments read.
    pub(crate) fn reads(&self, segments: Range<usize>) -> BTreeSet<Slot> {
        let places = self.places[segments].iter();
        places.flat_map(Place::reads).collect()
    }

    /// Runs some of the segments and keeps nothing. Segment `i` is seeded by `seed.child(i)`, wherever the chain is
    /// entered.
    pub fn run(&self, segments: Range<usize>, state: State, seed: Seed) -> State {
        self.knowing(|| {
            segments.fold(state, |state, place| {
                self.places[place].run(state, seed.child(place as u64))
            })
        })
    }

    /// What the pass will cost for an input of these shapes, with nothing run.
    pub fn footprint(&self, pass: &Pass<'_>, input: Outline) -> Footprint {
        self.knowing(|| self.walk(pass, input))
    }

    fn walk(&self, pass: &Pass<'_>, input: Outline) -> Footprint {
        let plan = Plan::new(self, pass);
        let mut walk = Walk {
            chain: self,
            plan: &plan,
            seed: pass.seed,
            outline: input,
            footprint: Footprint::default(),
        };
        for stage in pass.schedule.stages() {
            let clipped = clip(&stage.segments, &plan.range);
            match &stage.how {
                How::Keep(format) => clipped.for_each(|place| walk.keep(place, *format)),
                How::Recompute { cut, by } => walk.recompute(clipped, *cut, by),
            }
        }
        walk.footprint.output = walk.outline;
        walk.footprint
    }
}

pub(crate) fn clip(segments: &Range<usize>, to: &Range<usize>) -> Range<usize> {
    let start = segments.start.max(to.start);
    start..segments.end.min(to.end).max(start)
}

/// What a pass costs, predicted from shapes. Passengers are the caller's and not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// The shapes of the output.
    pub output: Outline,
    /// Floating-point operations of the forward pass.
    pub forward_flops: u64,
    /// Those of the pullback, recomputation included.
    pub backward_flops: u64,
    /// Bytes that the pass holds between forward and pullback.
    pub held_bytes: usize,
}

struct Walk<'c> {
    chain: &'c Chain<'c>,
    plan: &'c Plan,
    seed: Seed,
    outline: Outline,
    footprint: Footprint,
}

impl Walk<'_> {
    fn cost(&mut self, place: usize, keep: Format) -> Cost {
        let found = &self.chain.places[place];
        let call = Call {
            seed: self.seed.child(place as u64),
            wants: &self.plan.wants[place],
            keep,
        };
        let local = self.outline.enter(&found.scope);
        let mut cost = found.link.cost(&local, &call);
        let output = std::mem::take(&mut cost.output);
        self.outline.leave(&found.scope, output);
        self.footprint.forward_flops += cost.forward_flops;
        if self.plan.records[place] {
            self.footprint.backward_flops += cost.backward_flops;
        }
        cost
    }

    fn keep(&mut self, place: usize, format: Format) {
        let cost = self.cost(place, format);
        if self.plan.records[place] {
            self.footprint.held_bytes += cost.saved_bytes;
        }
    }

    fn recompute(&mut self, segments: Range<usize>, cut: Format, inner: &Schedule) {
        let start = self.plan.first_recorded(segments.clone());
        (segments.start..start).for_each(|place| drop(self.cost(place, Format::F32)));
        if start == segments.end {
            return;
        }
        let reads = self.chain.reads(start..segments.end);
        let streams = self.outline.streams.iter();
        let held = streams.filter(|(slot, _)| reads.contains(slot));
        let elements = held.map(|(_, shape)| shape.iter().product::<usize>());
        self.footprint.held_bytes += cut.bytes(elements.sum());
        let flops: Vec<u64> = (start..segments.end)
            .map(|place| self.cost(place, Format::F32).forward_flops)
            .collect();
        let again = |place: usize| flops[place - start];
        self.footprint.backward_flops += recomputed(inner, start..segments.end, self.plan, &again);
    }
}

/// The operations of all forward passes that computing `range` again by a schedule takes.
fn recomputed(
    schedule: &Schedule,
    range: Range<usize>,
    plan: &Plan,
    flops: &impl Fn(usize) -> u64,
) -> u64 {
    let stages = schedule.stages().iter();
    let all: u64 = range.clone().map(flops).sum();
    let deeper = stages.map(|stage| match &stage.how {
        How::Keep(_) => 0,
        How::Recompute { by, .. } => {
            let clipped = clip(&stage.segments, &range);
            let start = plan.first_recorded(clipped.clone());
            recomputed(by, start..clipped.end, plan, flops)
        }
    });
    all + deeper.sum::<u64>()
}

/// What is decided about a pass before it runs.
pub(crate) struct Plan {
    pub(crate) range: Range<usize>,
    /// The input's streams whose cotangents are wanted.
    pub(crate) input: BTreeSet<Slot>,
    /// For each segment, the cotangents it is to give.
    pub(crate) wants: Vec<Wants>,
    /// For each segment, whether anything reads its pullback.
    pub(crate) records: Vec<bool>,
    /// For each parameter that trains, the segment after whose pullback its gradient is complete.
    complete_at: HashMap<ParamId, usize>,
}

impl Plan {
    pub(crate) fn new(chain: &Chain<'_>, pass: &Pass<'_>) -> Self {
        let range = pass.segments.clone().unwrap_or(0..chain.len());
        assert!(
            range.end <= chain.len() && pass.schedule.range() == (0..chain.len()),
            "the schedule is for another chain"
        );
        let mut wanted: BTreeSet<Slot> = pass.wants.iter().copied().collect();
        let mut plan = Self {
            range,
            input: wanted.clone(),
            wants: Vec::with_capacity(chain.len()),
            records: Vec::with_capacity(chain.len()),
            complete_at: HashMap::new(),
        };
        for (index, place) in chain.places.iter().enumerate() {
            let parameters = place.link.parameters();
            let trained = parameters.iter().filter(|parameter| parameter.trains);
            let mut trains = false;
            for parameter in trained {
                trains = true;
                plan.complete_at.entry(parameter.id).or_insert(index);
            }
            if !plan.range.contains(&index) {
                plan.wants.push(Wants::nothing());
                plan.records.push(false);
                continue;
            }
            let names = place.link.reads().iter().copied();
            let wants: Wants = names
                .filter(|name| wanted.contains(&place.scope.resolve(name)))
                .collect();
            let records = trains || wants != Wants::nothing();
            for slot in place.writes() {
                if records {
                    wanted.insert(slot);
                } else {
                    wanted.remove(&slot);
                }
            }
            plan.wants.push(wants);
            plan.records.push(records);
        }
        plan
    }

    /// The first of some segments that is recorded, or their end.
    pub(crate) fn first_recorded(&self, mut segments: Range<usize>) -> usize {
        let end = segments.end;
        segments.find(|place| self.records[*place]).unwrap_or(end)
    }

    /// Which of a segment's parameters are complete after its pullback.
    pub(crate) fn completes(&self, index: usize, place: &Place<'_>) -> Vec<Parameter> {
        let mut complete: Vec<Parameter> = Vec::new();
        for parameter in place.parameters() {
            let is_known = complete.iter().any(|known| known.id == parameter.id);
            if parameter.trains && !is_known && self.complete_at.get(&parameter.id) == Some(&index)
            {
                complete.push(parameter);
            }
        }
        complete
    }
}
