//! [`Normalise`]: 8-bit channel planes to the floats a model takes.

/// Rescaling and normalising, tabulated: a channel has only 256 different values.
///
/// As the reference does it, `x * rescale` is computed in double precision and rounded to `f32`; the mean and the
/// standard deviation are applied in `f32`.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalise {
    tables: [Vec<f32>; 3],
}

impl Normalise {
    /// `(x * rescale - mean) / std` for each of the three channels.
    pub fn new(rescale: f64, mean: [f32; 3], std: [f32; 3]) -> Self {
        let table = |c: usize| {
            (0..256)
                .map(|x| ((f64::from(x) * rescale) as f32 - mean[c]) / std[c])
                .collect()
        };
        Self {
            tables: [table(0), table(1), table(2)],
        }
    }

    /// Normalises channel planes into `out`, as far as the shorter of the two reaches.
    ///
    /// # Shapes
    /// - `planes`, `out`: `[3, height, width]`
    pub fn apply_into(&self, planes: &[u8], out: &mut [f32]) {
        let area = (planes.len() / 3).max(1);
        for ((table, plane), out) in self
            .tables
            .iter()
            .zip(planes.chunks(area))
            .zip(out.chunks_mut(area))
        {
            for (value, pixel) in out.iter_mut().zip(plane) {
                *value = table[usize::from(*pixel)];
            }
        }
    }

    /// Normalises channel planes.
    ///
    /// # Shapes
    /// - `planes`: `[3, height, width]`
    /// - output: `[3, height, width]`
    pub fn apply(&self, planes: &[u8]) -> Vec<f32> {
        let mut out = vec![0.0; planes.len()];
        self.apply_into(planes, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_own_mean_and_deviation() {
        let normalise = Normalise::new(1.0 / 255.0, [0.0, 0.5, 1.0], [1.0, 0.5, 0.25]);
        assert_eq!(
            normalise.apply(&[0, 255, 0, 255, 0, 255]),
            [0.0, 1.0, -1.0, 1.0, -4.0, 0.0]
        );
    }

    #[test]
    fn without_rescaling_the_grey_levels_stay() {
        assert_eq!(
            Normalise::new(1.0, [0.0; 3], [1.0; 3]).apply(&[7, 8, 255]),
            [7.0, 8.0, 255.0]
        );
    }
}
