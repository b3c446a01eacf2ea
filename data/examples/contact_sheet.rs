//! Draws the first pictures of a split of the shapes set as one PNG and prints their captions:
//! `cargo run -p data --example contact_sheet -- held-out sheet.png`

use data::{ImageData, Shapes, ShapesConfig, Source, Split};
use tiny_skia::{Pixmap, PixmapPaint, PremultipliedColorU8, Transform};

const COLUMNS: usize = 8;
const ROWS: usize = 6;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [split, file] = arguments.as_slice() else {
        return Err("usage: contact_sheet train|val|held-out FILE.png".into());
    };
    let split = Split::ALL
        .into_iter()
        .find(|s| s.name() == split)
        .ok_or("no such split")?;
    let config = ShapesConfig {
        size: 96,
        ..Default::default()
    };
    let cell = config.size;
    let shapes = Shapes::new(config, split)?;
    let size = (COLUMNS as u32 * (cell + 4), ROWS as u32 * (cell + 4));
    let mut sheet = Pixmap::new(size.0, size.1).ok_or("no room for the sheet")?;
    for index in 0..shapes.len().min(COLUMNS * ROWS) {
        let sample = shapes.sample(index)?;
        println!(
            "row {}, column {}: {}",
            index / COLUMNS + 1,
            index % COLUMNS + 1,
            sample.caption
        );
        let ImageData::Rgb { pixels, .. } = sample.image else {
            continue;
        };
        let at = |i: usize| (i as u32 * (cell + 4)) as i32;
        let tile = tile(&pixels, cell).ok_or("a picture of the wrong size")?;
        let (x, y) = (at(index % COLUMNS), at(index / COLUMNS));
        sheet.draw_pixmap(
            x,
            y,
            tile.as_ref(),
            &PixmapPaint::default(),
            Transform::identity(),
            None,
        );
    }
    sheet.save_png(file)?;
    Ok(())
}

fn tile(pixels: &[u8], size: u32) -> Option<Pixmap> {
    let mut tile = Pixmap::new(size, size)?;
    for (pixel, rgb) in tile.pixels_mut().iter_mut().zip(pixels.chunks_exact(3)) {
        *pixel = PremultipliedColorU8::from_rgba(rgb[0], rgb[1], rgb[2], 255)?;
    }
    Some(tile)
}
