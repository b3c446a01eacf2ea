//! Where the objects of a scene stand, and their exact sizes and colours.
//!
//! Lengths are fractions of the picture's width; the origin is the upper left corner.

use super::{Colour, Object, Relation, Scene, Shape, Size};
use crate::seeding::Stream;

/// A picture before it is drawn.
pub(super) struct Picture {
    pub(super) ground: [u8; 3],
    /// In drawing order.
    pub(super) figures: Vec<Figure>,
}

/// A shape at its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) shape: Shape,
    pub(super) colour: [u8; 3],
    pub(super) centre: [f32; 2],
    /// Radius of the circle around the shape.
    pub(super) radius: f32,
}

/// Room between objects and between an object and the edge.
const MARGIN: f32 = 0.03;

/// How far a pair side by side may be out of line.
const SLACK: f32 = 0.08;

/// Chooses places, sizes and tints.
pub(super) fn arrange(scene: &Scene, draws: &mut Stream) -> Picture {
    let ground = tint([236, 236, 236], 14, draws);
    let figures = match *scene {
        Scene::Alone(object) => {
            let radius = radius(object.size, draws);
            let centre = [anywhere(radius, draws), anywhere(radius, draws)];
            vec![figure(object, centre, radius, draws)]
        }
        Scene::Pair(a, Relation::LeftOf, b) => beside(a, b, 0, draws),
        Scene::Pair(a, Relation::Above, b) => beside(a, b, 1, draws),
        Scene::Pair(a, Relation::Inside, b) => inside(a, b, draws),
    };
    Picture { ground, figures }
}

/// `a` before `b` along `axis`: 0 for left of, 1 for above.
fn beside(a: Object, b: Object, axis: usize, draws: &mut Stream) -> Vec<Figure> {
    let (radius_a, radius_b) = (radius(a.size, draws), radius(b.size, draws));
    let room = 1.0 - 2.0 * (radius_a + radius_b) - 3.0 * MARGIN;
    let before = MARGIN + draws.between(0.0, room / 2.0);
    let after = MARGIN + draws.between(0.0, room / 2.0);
    let larger = radius_a.max(radius_b);
    let middle = draws.between(larger + MARGIN + SLACK, 1.0 - larger - MARGIN - SLACK);
    let mut place = |along: f32| {
        let across = middle + draws.between(-SLACK, SLACK);
        if axis == 0 {
            [along, across]
        } else {
            [across, along]
        }
    };
    let places = [place(before + radius_a), place(1.0 - after - radius_b)];
    vec![
        figure(a, places[0], radius_a, draws),
        figure(b, places[1], radius_b, draws),
    ]
}

/// `a` within `b`, which is drawn first and as large as it may be.
fn inside(a: Object, b: Object, draws: &mut Stream) -> Vec<Figure> {
    let outer = draws.between(0.36, 0.42);
    let inner = draws.between(0.105, 0.125);
    let centre = [anywhere(outer, draws), anywhere(outer, draws)];
    let [x, y] = centre;
    // The middle of the room in a triangle is below its centre, and that of a heart above.
    let within = match b.shape {
        Shape::Triangle => [x, y + 0.2 * outer],
        Shape::Heart => [x, y - 0.1 * outer],
        _ => [x, y],
    };
    vec![
        figure(b, centre, outer, draws),
        figure(a, within, inner, draws),
    ]
}

fn figure(object: Object, centre: [f32; 2], radius: f32, draws: &mut Stream) -> Figure {
    Figure {
        shape: object.shape,
        colour: tint(pure(object.colour), 10, draws),
        centre,
        radius,
    }
}

fn radius(size: Size, draws: &mut Stream) -> f32 {
    match size {
        Size::Small => draws.between(0.10, 0.125),
        Size::Large => draws.between(0.20, 0.23),
    }
}

/// A centre at which a shape stays within the picture.
fn anywhere(radius: f32, draws: &mut Stream) -> f32 {
    draws.between(radius + MARGIN, 1.0 - radius - MARGIN)
}

/// A colour near `colour`: each channel moves by at most `reach`.
fn tint(colour: [u8; 3], reach: u8, draws: &mut Stream) -> [u8; 3] {
    let mut shift = || draws.index(2 * usize::from(reach) + 1) as i16 - i16::from(reach);
    colour.map(|channel| (i16::from(channel) + shift()).clamp(0, 255) as u8)
}

/// Red, green and blue of a colour before its tint.
pub(super) fn pure(colour: Colour) -> [u8; 3] {
    match colour {
        Colour::Red => [220, 30, 35],
        Colour::Orange => [250, 135, 15],
        Colour::Yellow => [245, 220, 25],
        Colour::Green => [35, 155, 60],
        Colour::Cyan => [40, 205, 215],
        Colour::Blue => [35, 75, 215],
        Colour::Purple => [145, 50, 170],
        Colour::Black => [20, 20, 20],
    }
}
