//! The generated set keeps its promises: it never changes, captions are true and unique, combinations stay held out.

use std::collections::{HashMap, HashSet};

use super::caption::parse;
use super::layout::pure;
use super::*;

fn split(split: Split) -> Shapes {
    Shapes::new(ShapesConfig::default(), split).unwrap()
}

fn pixels(sample: &Sample) -> &[u8] {
    match &sample.image {
        ImageData::Rgb { pixels, .. } => pixels,
        ImageData::Encoded { .. } => panic!("shapes are pixels"),
    }
}

/// FNV-1a over caption and pixels.
fn hash(sample: &Sample) -> u64 {
    let bytes = sample.caption.bytes().chain(pixels(sample).iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Box around the pixels near a colour: left, top, right, bottom; `None` without any.
fn bounds(pixels: &[u8], size: usize, colour: Colour) -> Option<[usize; 4]> {
    let wanted = pure(colour);
    let near = |p: &[u8]| p.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 10);
    let hits = pixels.chunks_exact(3).enumerate().filter(|(_, p)| near(p));
    hits.map(|(i, _)| (i % size, i / size))
        .fold(None, |found, (x, y)| {
            let [l, t, r, b] = found.unwrap_or([x, y, x, y]);
            Some([l.min(x), t.min(y), r.max(x), b.max(y)])
        })
}

#[test]
fn a_seed_gives_the_same_bytes_for_ever() {
    let hashes = Split::ALL.map(|name| {
        let split = split(name);
        [0, 1, 100].map(|i| hash(&split.sample(i).unwrap()))
    });
    assert_eq!(hashes, HASHES, "{hashes:#x?}");
    assert_eq!(split(Split::Train).caption(0), FIRST_CAPTION);
}

/// Of samples 0, 1 and 100 of each split, caption and pixels.
const HASHES: [[u64; 3]; 3] = [
    [
        0xf40c_06c5_d542_bac9,
        0x10c3_9a7e_c4ce_287f,
        0xb881_0630_a00c_fd92,
    ],
    [
        0x2219_51f6_b1f0_c5e7,
        0xd00c_1a29_d4b9_e68a,
        0xe915_d702_897d_83a7,
    ],
    [
        0xf14f_18d8_c15e_e12e,
        0x16a0_f8d3_f444_3a9b,
        0x9920_9397_2a3a_7af5,
    ],
];
const FIRST_CAPTION: &str = "a small orange cross inside a large black ring";

#[test]
fn a_sample_does_not_depend_on_the_length_of_its_split() {
    for name in Split::ALL {
        let short = ShapesConfig {
            train: 9,
            val: 9,
            held_out: 9,
            ..ShapesConfig::default()
        };
        let short = Shapes::new(short, name).unwrap();
        assert_eq!(short.sample(8), split(name).sample(8));
    }
}

#[test]
fn seeds_and_indices_give_other_pictures() {
    let other = Shapes::new(
        ShapesConfig {
            seed: 1,
            ..Default::default()
        },
        Split::Train,
    )
    .unwrap();
    let train = split(Split::Train);
    let hashes: HashSet<_> = (0..500)
        .flat_map(|i| {
            [
                hash(&train.sample(i).unwrap()),
                hash(&other.sample(i).unwrap()),
            ]
        })
        .collect();
    assert_eq!(hashes.len(), 1000);
}

#[test]
fn a_caption_says_exactly_what_the_scene_is() {
    for name in Split::ALL {
        let split = split(name);
        for i in 0..split.len() {
            assert_eq!(
                parse(&split.caption(i)),
                split.scene(i),
                "{} {i}",
                split.name()
            );
            if i % 16 == 0 {
                assert_eq!(split.sample(i).unwrap().caption, split.caption(i));
            }
        }
    }
}

#[test]
fn the_pixels_show_what_the_caption_says() {
    for size in [64, 128] {
        let config = ShapesConfig {
            size,
            train: 2000,
            ..Default::default()
        };
        for name in Split::ALL {
            let split = Shapes::new(config.clone(), name).unwrap();
            for i in 0..split.len() {
                let sample = split.sample(i).unwrap();
                let context = format!("{} {i}, {size} pixels: {}", split.name(), sample.caption);
                check_pixels(&split.scene(i), pixels(&sample), size as usize, &context);
            }
        }
    }
}

/// From 64 pixels on: below, the smallest shapes are all edge and no area.
fn check_pixels(scene: &Scene, pixels: &[u8], size: usize, context: &str) {
    assert_eq!(pixels.len(), size * size * 3);
    let shown: HashSet<_> = scene.objects().map(|object| object.colour).collect();
    for &colour in Colour::ALL {
        let found = bounds(pixels, size, colour).is_some();
        // Smooth edges can hit another colour by chance, so only its own colours are asked for.
        assert!(
            found || !shown.contains(&colour),
            "no {} in {context}",
            colour.word()
        );
    }
    let measurable = shown.len() == scene.objects().count();
    for object in scene.objects().filter(|_| measurable) {
        let [left, top, right, bottom] = bounds(pixels, size, object.colour).unwrap();
        let extent = (right - left).max(bottom - top) as f32 + 1.0;
        let extent = extent / size as f32;
        match object.size {
            Size::Small => assert!(extent <= 0.25, "{extent} in {context}"),
            Size::Large => assert!(extent > 0.25, "{extent} in {context}"),
        }
    }
    let Scene::Pair(a, relation, b) = *scene else {
        return;
    };
    if a.colour == b.colour {
        return;
    }
    let a = bounds(pixels, size, a.colour).unwrap();
    let b = bounds(pixels, size, b.colour).unwrap();
    match relation {
        Relation::LeftOf => assert!(a[2] < b[0], "{a:?} {b:?} {context}"),
        Relation::Above => assert!(a[3] < b[1], "{a:?} {b:?} {context}"),
        Relation::Inside => {
            assert!(
                b[0] < a[0] && b[1] < a[1] && a[2] < b[2] && a[3] < b[3],
                "{context}"
            );
        }
    }
}

#[test]
fn training_never_shows_a_held_out_combination() {
    let config = ShapesConfig {
        train: 20_000,
        ..Default::default()
    };
    let train = Shapes::new(config, Split::Train).unwrap();
    let mut seen: HashMap<(Colour, Shape), usize> = HashMap::new();
    for i in 0..train.len() {
        for object in train.scene(i).objects() {
            *seen.entry((object.colour, object.shape)).or_default() += 1;
        }
    }
    assert!(
        seen.keys()
            .all(|(colour, shape)| !is_held_out(*colour, *shape))
    );
    assert_eq!(seen.len(), 56, "every other combination is shown");
    assert!(seen.values().all(|n| *n > 300), "{seen:?}");
}

#[test]
fn evaluation_scenes_are_new_and_every_held_out_one_has_a_held_out_object() {
    let config = ShapesConfig {
        train: 20_000,
        val: 2000,
        held_out: 2000,
        ..Default::default()
    };
    let [train, val, held_out] = Split::ALL.map(|s| Shapes::new(config.clone(), s).unwrap());
    let trained: HashSet<_> = (0..train.len()).map(|i| train.scene(i)).collect();
    assert!((0..val.len()).all(|i| !trained.contains(&val.scene(i))));
    assert!((0..val.len()).all(|i| !val.scene(i).has_held_out()));
    assert!((0..held_out.len()).all(|i| held_out.scene(i).has_held_out()));
}

#[test]
fn no_two_evaluation_captions_are_equal_or_mean_the_same() {
    let config = ShapesConfig {
        val: 2000,
        held_out: 2000,
        ..Default::default()
    };
    for name in [Split::Val, Split::HeldOut] {
        let split = Shapes::new(config.clone(), name).unwrap();
        let captions: HashSet<_> = (0..split.len()).map(|i| split.caption(i)).collect();
        let meanings: HashSet<_> = captions.iter().map(|caption| parse(caption)).collect();
        assert_eq!((captions.len(), meanings.len()), (2000, 2000));
        assert_eq!(split.groups().caption_rows().len(), 2000);
    }
}

#[test]
fn splits_mix_all_kinds_of_scenes() {
    for name in Split::ALL {
        let split = split(name);
        let kind = |i| match split.scene(i) {
            Scene::Alone(_) => 0,
            Scene::Pair(_, relation, _) => 1 + relation as usize,
        };
        let mut counts = [0; 4];
        (0..128).for_each(|i| counts[kind(i)] += 1);
        assert!(
            counts.iter().all(|n| *n >= 5),
            "{} {counts:?}",
            split.name()
        );
    }
}

#[test]
fn impossible_settings_are_refused_with_the_limit() {
    let size = ShapesConfig {
        size: 8,
        ..Default::default()
    };
    assert!(matches!(
        Shapes::new(size, Split::Train),
        Err(Error::PictureSize { found: 8, .. })
    ));
    let many = ShapesConfig {
        val: 1_000_000,
        ..Default::default()
    };
    let error = Shapes::new(many, Split::Val).unwrap_err().to_string();
    assert!(
        error.contains("1000000 pictures in split `val`, which has "),
        "{error}"
    );
}

#[test]
fn the_class_of_a_picture_is_its_first_object() {
    let config = ShapesConfig::default();
    let labelled = Shapes::labelled(config.clone(), Split::Val).unwrap();
    let captioned = Shapes::new(config, Split::Val).unwrap();
    for index in 0..50 {
        let label = labelled.caption(index).into_owned();
        let sample = labelled.sample(index).unwrap();
        assert_eq!(sample.caption, label);
        let (Scene::Alone(first) | Scene::Pair(first, ..)) = captioned.scene(index);
        assert_eq!(
            label,
            format!("{} {}", first.colour.word(), first.shape.word())
        );
        let same = captioned.sample(index).unwrap().image;
        assert!(matches!(
            (sample.image, same),
            (ImageData::Rgb { pixels: a, .. }, ImageData::Rgb { pixels: b, .. }) if a == b
        ));
    }
}

#[test]
fn shapes_alone_repeat_their_scenes_and_no_picture() {
    let config = ShapesConfig {
        alone: true,
        ..ShapesConfig::default()
    };
    for split in Split::ALL {
        let shapes = Shapes::new(config.clone(), split).unwrap();
        let scenes: Vec<Scene> = (0..200).map(|index| shapes.scene(index)).collect();
        assert!(scenes.iter().all(|scene| matches!(scene, Scene::Alone(_))));
        let first = scenes
            .iter()
            .rposition(|scene| *scene == scenes[0])
            .unwrap();
        assert!(first > 0, "no scene comes again");
        let picture = |index| shapes.sample(index).unwrap().image;
        assert_ne!(picture(0), picture(first));
    }
}
