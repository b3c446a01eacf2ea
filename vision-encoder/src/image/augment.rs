//! [`RandomResizedCrop`]: torchvision's training crop, with its randomness from a seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::axis::{Axis, Filter};
use super::picture::Picture;
use super::resample::resample;

/// What decides a sample's crop: the same three numbers give the same crop on every machine, in any order of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Draw {
    /// The seed of the run.
    pub seed: u64,
    /// The epoch, so that a sample is seen differently each time.
    pub epoch: u64,
    /// The sample's index in its table.
    pub sample: u64,
}

impl Draw {
    fn rng(self) -> ChaCha8Rng {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        key[16..24].copy_from_slice(&self.sample.to_le_bytes());
        ChaCha8Rng::from_seed(key)
    }
}

/// A rectangle of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region {
    /// Pixels to the left of it.
    pub left: u32,
    /// Pixels above it.
    pub top: u32,
    /// Its width.
    pub width: u32,
    /// Its height.
    pub height: u32,
}

/// A random part of the picture, resized to a square.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomResizedCrop {
    /// Side of the result, in pixels.
    pub size: u32,
    /// Share of the picture's area that is kept: smallest and largest, within (0, 1].
    pub scale: (f64, f64),
    /// Width over height of the part: smallest and largest, above 0.
    pub ratio: (f64, f64),
    /// The kernel of the resize.
    pub filter: Filter,
}

impl RandomResizedCrop {
    /// open_clip's training crop: 0.9 to 1 of the area, three quarters to four thirds, bicubic.
    pub fn new(size: u32) -> Self {
        Self {
            size,
            scale: (0.9, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            filter: Filter::Bicubic,
        }
    }

    /// The same with another share of the area.
    pub fn with_scale(self, smallest: f64, largest: f64) -> Self {
        Self {
            scale: (smallest, largest),
            ..self
        }
    }

    /// The part of a picture of `width` x `height` pixels that a draw selects: ten tries at a random area and shape
    /// (uniform in its logarithm), then the largest centred part of an allowed shape.
    pub fn region(&self, width: u32, height: u32, draw: Draw) -> Region {
        let mut rng = draw.rng();
        let area = f64::from(width) * f64::from(height);
        for _ in 0..10 {
            let target = area * between(self.scale.0, self.scale.1, &mut rng);
            let ratio = between(self.ratio.0.ln(), self.ratio.1.ln(), &mut rng).exp();
            let w = (target * ratio).sqrt().round_ties_even();
            let h = (target / ratio).sqrt().round_ties_even();
            if (1.0..=f64::from(width)).contains(&w) && (1.0..=f64::from(height)).contains(&h) {
                let (w, h) = (w as u32, h as u32);
                let top = rng.random_range(0..=height - h);
                let left = rng.random_range(0..=width - w);
                return Region {
                    left,
                    top,
                    width: w,
                    height: h,
                };
            }
        }
        self.fallback(width, height)
    }

    fn fallback(&self, width: u32, height: u32) -> Region {
        let shape = f64::from(width) / f64::from(height);
        let side = |length: f64, most: u32| (length.round_ties_even() as u32).clamp(1, most);
        let (w, h) = if shape < self.ratio.0 {
            (width, side(f64::from(width) / self.ratio.0, height))
        } else if shape > self.ratio.1 {
            (side(f64::from(height) * self.ratio.1, width), height)
        } else {
            (width, height)
        };
        Region {
            left: (width - w) / 2,
            top: (height - h) / 2,
            width: w,
            height: h,
        }
    }

    /// Converts to RGB, cuts out the part that the draw selects and resizes it.
    ///
    /// # Shapes
    /// - output: `[3, size, size]`
    pub fn apply(&self, picture: &Picture, draw: Draw) -> Vec<u8> {
        let region = self.region(picture.width(), picture.height(), draw);
        let [left, top, width, height] =
            [region.left, region.top, region.width, region.height].map(|pixels| pixels as usize);
        let part = picture.cut(left, top, width, height).into_rgb();
        let (across, down) = (
            Axis::whole(region.width, self.size),
            Axis::whole(region.height, self.size),
        );
        resample(&part, across, down, self.filter).into_planes()
    }
}

/// Uniform in `low..high`; `low` itself where both are the same.
fn between(low: f64, high: f64, rng: &mut impl Rng) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

#[cfg(test)]
mod tests {
    use super::super::PixelKind;
    use super::*;

    fn draws(n: u64) -> impl Iterator<Item = Draw> {
        (0..n).map(|sample| Draw {
            seed: 1,
            epoch: 0,
            sample,
        })
    }

    #[test]
    fn a_draw_repeats_and_each_of_its_numbers_matters() {
        let crop = RandomResizedCrop::new(32).with_scale(0.1, 1.0);
        let at = |seed, epoch, sample| {
            crop.region(
                640,
                480,
                Draw {
                    seed,
                    epoch,
                    sample,
                },
            )
        };
        assert_eq!(at(1, 2, 3), at(1, 2, 3));
        assert_ne!(at(1, 2, 3), at(2, 2, 3));
        assert_ne!(at(1, 2, 3), at(1, 3, 3));
        assert_ne!(at(1, 2, 3), at(1, 2, 4));
    }

    #[test]
    fn area_shape_and_position_have_the_promised_distribution() {
        let crop = RandomResizedCrop::new(32).with_scale(0.1, 0.5);
        let (n, width, height) = (4000, 400, 400);
        let (mut area, mut log_ratio, mut left) = (0.0, 0.0, 0.0);
        for draw in draws(n) {
            let r = crop.region(width, height, draw);
            assert!(
                r.left + r.width <= width && r.top + r.height <= height,
                "{r:?}"
            );
            let share = f64::from(r.width * r.height) / f64::from(width * height);
            assert!((0.095..=0.505).contains(&share), "{share}");
            let ratio = f64::from(r.width) / f64::from(r.height);
            assert!((0.74..=1.35).contains(&ratio), "{ratio}");
            area += share / n as f64;
            log_ratio += ratio.ln() / n as f64;
            left += f64::from(r.left) / f64::from(width - r.width) / n as f64;
        }
        assert!(
            (area - 0.3).abs() < 0.01,
            "mean share {area}, uniform in 0.1..0.5 has 0.3"
        );
        assert!(
            log_ratio.abs() < 0.015,
            "mean log ratio {log_ratio}, symmetric around 0"
        );
        assert!((left - 0.5).abs() < 0.02, "mean relative position {left}");
    }

    #[test]
    fn a_strip_falls_back_to_its_centre() {
        let crop = RandomResizedCrop::new(8);
        for draw in draws(20) {
            let expected = Region {
                left: 998,
                top: 0,
                width: 3,
                height: 2,
            };
            assert_eq!(crop.region(2000, 2, draw), expected);
            assert_eq!(crop.region(2, 2000, draw).height, 3);
            assert_eq!(
                crop.region(1, 1, draw),
                Region {
                    left: 0,
                    top: 0,
                    width: 1,
                    height: 1
                }
            );
        }
    }

    #[test]
    fn the_whole_picture_is_resized_like_any_other() {
        let bytes = (0..20 * 20 * 3).map(|i| (i * 7 % 256) as u8).collect();
        let picture = Picture::new(20, 20, PixelKind::Rgb, bytes).unwrap();
        let crop = RandomResizedCrop {
            scale: (1.0, 1.0),
            ratio: (1.0, 1.0),
            ..RandomResizedCrop::new(8)
        };
        let planes = crop.apply(
            &picture,
            Draw {
                seed: 0,
                epoch: 0,
                sample: 0,
            },
        );
        assert_eq!(planes, super::super::Preprocessor::blip(8).apply(&picture));
    }
}
