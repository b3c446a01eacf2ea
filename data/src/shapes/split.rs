//! Which scenes belong to which split.

use super::{Object, Relation, Scene, ShapesConfig, Size};
use crate::seeding::{Purpose, Stream, stream};

/// One scene in so many is kept for `val` and never trained on.
const RESERVED: u64 = 8;

/// The kinds of scenes in the proportions in which splits have them.
const MIX: [Kind; 8] = {
    use Kind::{Alone, Pair};
    use Relation::{Above, Inside, LeftOf};
    [
        Pair(LeftOf),
        Pair(Above),
        Alone,
        Pair(LeftOf),
        Pair(Above),
        Pair(Inside),
        Pair(LeftOf),
        Pair(Above),
    ]
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Alone,
    Pair(Relation),
}

impl Kind {
    fn of(scene: &Scene) -> Self {
        match scene {
            Scene::Alone(_) => Self::Alone,
            Scene::Pair(_, relation, _) => Self::Pair(*relation),
        }
    }
}

/// A part of the generated set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// For training: scenes repeat, pictures do not.
    Train,
    /// New scenes of combinations of colour and shape that training shows.
    Val,
    /// Scenes that each have a combination of colour and shape that training never shows.
    HeldOut,
}

impl Split {
    /// All splits.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::HeldOut];

    /// `train`, `val` or `held-out`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::HeldOut => "held-out",
        }
    }

    /// How many pictures the configuration wants, and the option that says so.
    pub(super) fn wanted(self, config: &ShapesConfig) -> (usize, &'static str) {
        match self {
            Self::Train => (config.train, "train"),
            Self::Val => (config.val, "val"),
            Self::HeldOut => (config.held_out, "held_out"),
        }
    }
}

/// The scene of training picture `index`.
pub(super) fn training_scene(seed: u64, index: usize, alone: bool) -> Scene {
    let mut draws = stream(Purpose::Scene, seed, 0, index as u64);
    let kind = if alone {
        Kind::Alone
    } else {
        MIX[draws.index(MIX.len())]
    };
    loop {
        let scene = match kind {
            Kind::Alone => Scene::Alone(any_object(&mut draws)),
            Kind::Pair(relation) => any_pair(&mut draws, relation),
        };
        let is_kept = !alone && is_reserved(seed, &scene);
        if scene.is_clear() && !scene.has_held_out() && !is_kept {
            return scene;
        }
    }
}

fn any_object(draws: &mut Stream) -> Object {
    Object {
        size: *pick(draws, Size::ALL),
        colour: *pick(draws, super::Colour::ALL),
        shape: *pick(draws, super::Shape::ALL),
    }
}

fn any_pair(draws: &mut Stream, relation: Relation) -> Scene {
    let (mut first, mut second) = (any_object(draws), any_object(draws));
    if relation == Relation::Inside {
        (first.size, second.size) = (Size::Small, Size::Large);
    }
    Scene::Pair(first, relation, second)
}

fn pick<'a, T>(draws: &mut Stream, values: &'a [T]) -> &'a T {
    &values[draws.index(values.len())]
}

/// Whether a scene is kept for `val`: a draw that belongs to the scene, so that no list is needed.
fn is_reserved(seed: u64, scene: &Scene) -> bool {
    stream(Purpose::Reserve, seed, scene.number(), 0).below(RESERVED) == 0
}

/// All scenes of an evaluation split, each once, mixed by kind as far as each kind lasts; none for training.
pub(super) fn evaluation_scenes(seed: u64, split: Split, alone: bool) -> Vec<Scene> {
    let belongs = |scene: &Scene| match split {
        Split::Train => false,
        Split::Val => !scene.has_held_out() && (alone || is_reserved(seed, scene)),
        Split::HeldOut => scene.has_held_out(),
    };
    if split == Split::Train {
        return Vec::new();
    }
    let mut scenes: Vec<Scene> = all_scenes()
        .filter(|s| s.is_clear() && belongs(s) && (!alone || Kind::of(s) == Kind::Alone))
        .collect();
    stream(Purpose::Split, seed, split as u64, 0).shuffle(&mut scenes);
    mix(scenes)
}

fn all_scenes() -> impl Iterator<Item = Scene> {
    let pairs = Object::all().flat_map(|a| Object::all().map(move |b| (a, b)));
    let related = pairs.flat_map(|(a, b)| Relation::ALL.iter().map(move |r| Scene::Pair(a, *r, b)));
    Object::all().map(Scene::Alone).chain(related)
}

/// Deals the scenes out by kind, in the proportions of [`MIX`] until a kind is used up.
fn mix(scenes: Vec<Scene>) -> Vec<Scene> {
    let total = scenes.len();
    let mut queues = MIX.map(|_| Vec::new().into_iter());
    let first_place = |kind| MIX.iter().position(|k| *k == kind).unwrap_or(0);
    let mut piles = MIX.map(|_| Vec::new());
    for scene in scenes {
        piles[first_place(Kind::of(&scene))].push(scene);
    }
    for (queue, pile) in queues.iter_mut().zip(piles) {
        *queue = pile.into_iter();
    }
    let mut mixed = Vec::with_capacity(total);
    while mixed.len() < total {
        mixed.extend(
            MIX.iter()
                .filter_map(|kind| queues[first_place(*kind)].next()),
        );
    }
    mixed
}
