//! Drawing with smooth edges.
//!
//! Outlines are written down as numbers: sine and cosine differ in the last bit between platforms, and a seed has to
//! give the same bytes everywhere.

use tiny_skia::{FillRule, Paint, Path, PathBuilder, Pixmap, Transform};

use super::Shape;
use super::layout::{Figure, Picture};

/// Corners of outlines with straight sides, in units of the shape's radius; y points down.
const SQUARE: &[[f32; 2]] = &[[-0.76, -0.76], [0.76, -0.76], [0.76, 0.76], [-0.76, 0.76]];
const DIAMOND: &[[f32; 2]] = &[[0.0, -1.0], [0.78, 0.0], [0.0, 1.0], [-0.78, 0.0]];
const TRIANGLE: &[[f32; 2]] = &[[0.0, -0.95], [0.95, 0.75], [-0.95, 0.75]];
const STAR: &[[f32; 2]] = &[
    [0.0, -1.0],
    [0.247, -0.34],
    [0.951, -0.309],
    [0.399, 0.13],
    [0.588, 0.809],
    [0.0, 0.42],
    [-0.588, 0.809],
    [-0.399, 0.13],
    [-0.951, -0.309],
    [-0.247, -0.34],
];
const CROSS: &[[f32; 2]] = &[
    [-0.3, -0.95],
    [0.3, -0.95],
    [0.3, -0.3],
    [0.95, -0.3],
    [0.95, 0.3],
    [0.3, 0.3],
    [0.3, 0.95],
    [-0.3, 0.95],
    [-0.3, 0.3],
    [-0.95, 0.3],
    [-0.95, -0.3],
    [-0.3, -0.3],
];

/// Radius of a disc and of the hole of a ring.
const DISC: f32 = 0.88;
const HOLE: f32 = 0.55;

/// Draws a picture of `size` x `size` pixels; returns three bytes a pixel, row by row.
pub(super) fn draw(picture: &Picture, size: u32) -> Vec<u8> {
    let Some(mut canvas) = Pixmap::new(size, size) else {
        unreachable!("the size was checked when the set was made");
    };
    let [red, green, blue] = picture.ground;
    canvas.fill(tiny_skia::Color::from_rgba8(red, green, blue, 255));
    for figure in &picture.figures {
        fill(&mut canvas, figure, size as f32);
    }
    canvas
        .pixels()
        .iter()
        .flat_map(|p| [p.red(), p.green(), p.blue()])
        .collect()
}

fn fill(canvas: &mut Pixmap, figure: &Figure, size: f32) {
    let mut paint = Paint {
        anti_alias: true,
        ..Paint::default()
    };
    let [red, green, blue] = figure.colour;
    paint.set_color_rgba8(red, green, blue, 255);
    let [x, y] = figure.centre.map(|along| along * size);
    let radius = figure.radius * size;
    let place = Transform::from_row(radius, 0.0, 0.0, radius, x, y);
    if let Some(path) = outline(figure.shape).and_then(|path| path.transform(place)) {
        canvas.fill_path(
            &path,
            &paint,
            FillRule::EvenOdd,
            Transform::identity(),
            None,
        );
    }
}

fn outline(shape: Shape) -> Option<Path> {
    match shape {
        Shape::Circle => PathBuilder::from_circle(0.0, 0.0, DISC),
        Shape::Square => polygon(SQUARE),
        Shape::Triangle => polygon(TRIANGLE),
        Shape::Star => polygon(STAR),
        Shape::Cross => polygon(CROSS),
        Shape::Heart => heart(),
        Shape::Ring => ring(),
        Shape::Diamond => polygon(DIAMOND),
    }
}

fn polygon(corners: &[[f32; 2]]) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (i, &[x, y]) in corners.iter().enumerate() {
        if i == 0 {
            path.move_to(x, y)
        } else {
            path.line_to(x, y)
        }
    }
    path.close();
    path.finish()
}

fn ring() -> Option<Path> {
    let mut path = PathBuilder::new();
    path.push_circle(0.0, 0.0, DISC);
    path.push_circle(0.0, 0.0, HOLE);
    path.finish()
}

fn heart() -> Option<Path> {
    let mut path = PathBuilder::new();
    path.move_to(0.0, 0.9);
    path.cubic_to(-1.3, 0.05, -0.95, -0.85, -0.5, -0.85);
    path.cubic_to(-0.2, -0.85, 0.0, -0.62, 0.0, -0.42);
    path.cubic_to(0.0, -0.62, 0.2, -0.85, 0.5, -0.85);
    path.cubic_to(0.95, -0.85, 1.3, 0.05, 0.0, 0.9);
    path.close();
    path.finish()
}
