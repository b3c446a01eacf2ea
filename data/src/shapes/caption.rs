//! Captions: a small, regular language, so that a small model learns it in minutes.

use super::{Object, Relation, Scene};
use crate::seeding::Stream;
#[cfg(test)]
pub(super) use reading::parse;

/// Sentences around a description, each written with `{}` for it.
const FRAMES: [&str; 3] = ["{}", "a picture of {}", "there is {}"];

/// Ways to say that there is nothing else. Without one, "a red circle" would be true of every picture with a red
/// circle in it.
const ALONE: [&str; 2] = ["only {}", "{} alone"];

/// A caption that is true of the scene and of no other.
pub(super) fn describe(scene: &Scene, draws: &mut Stream) -> String {
    let description = match *scene {
        Scene::Alone(object) => ALONE[draws.index(ALONE.len())].replace("{}", &phrase(object)),
        Scene::Pair(first, relation, second) => {
            let (first, second) = (phrase(first), phrase(second));
            if draws.index(2) == 0 {
                format!("{first} {} {second}", relation.word())
            } else {
                format!("{second} {} {first}", reverse(relation))
            }
        }
    };
    FRAMES[draws.index(FRAMES.len())].replace("{}", &description)
}

/// `a small red circle`
fn phrase(
    Object {
        size,
        colour,
        shape,
    }: Object,
) -> String {
    format!("a {} {} {}", size.word(), colour.word(), shape.word())
}

/// How the second object stands to the first.
fn reverse(relation: Relation) -> &'static str {
    match relation {
        Relation::LeftOf => "right of",
        Relation::Above => "below",
        Relation::Inside => "around",
    }
}

#[cfg(test)]
mod reading {
    use super::super::{Colour, Shape, Size};
    use super::*;

    /// Reads a caption back into the scene it describes.
    pub(in crate::shapes) fn parse(caption: &str) -> Scene {
        let text = caption
            .strip_prefix("a picture of ")
            .or(caption.strip_prefix("there is "));
        let text = text.unwrap_or(caption);
        let alone = text.strip_prefix("only ").or(text.strip_suffix(" alone"));
        if let Some(object) = alone {
            return Scene::Alone(object_of(object));
        }
        for (words, relation, swap) in [
            (" left of ", Relation::LeftOf, false),
            (" right of ", Relation::LeftOf, true),
            (" above ", Relation::Above, false),
            (" below ", Relation::Above, true),
            (" inside ", Relation::Inside, false),
            (" around ", Relation::Inside, true),
        ] {
            if let Some((a, b)) = text.split_once(words) {
                let (a, b) = (object_of(a), object_of(b));
                return if swap {
                    Scene::Pair(b, relation, a)
                } else {
                    Scene::Pair(a, relation, b)
                };
            }
        }
        panic!("no relation in `{caption}`");
    }

    fn object_of(phrase: &str) -> Object {
        let words: Vec<_> = phrase.split(' ').collect();
        assert_eq!((words.len(), words[0]), (4, "a"), "`{phrase}`");
        Object {
            size: *Size::ALL.iter().find(|s| s.word() == words[1]).unwrap(),
            colour: *Colour::ALL.iter().find(|c| c.word() == words[2]).unwrap(),
            shape: *Shape::ALL.iter().find(|s| s.word() == words[3]).unwrap(),
        }
    }
}
