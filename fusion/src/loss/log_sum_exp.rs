//! `log(sum(exp(x)))` of many series whose terms arrive in parts.

/// For each series the largest term so far, and the sum of the terms' exponentials relative to it
/// (Milakov & Gimelshein 2018). No term overflows, however large.
#[derive(Clone, Debug)]
pub(super) struct LogSumExp {
    largest: Vec<f32>,
    sum: Vec<f64>,
}

impl LogSumExp {
    /// `count` series without terms.
    pub(super) fn new(count: usize) -> Self {
        Self {
            largest: vec![f32::NEG_INFINITY; count],
            sum: vec![0.0; count],
        }
    }

    /// Adds terms to the series from `first` on: of each their largest, and the sum of their
    /// exponentials relative to it.
    pub(super) fn merge(&mut self, first: usize, largest: &[f32], sums: &[f64]) {
        let totals = self.largest[first..].iter_mut().zip(&mut self.sum[first..]);
        for ((old, total), (new, sum)) in totals.zip(largest.iter().zip(sums)) {
            let top = old.max(*new);
            *total = rescale(*total, *old, top) + rescale(*sum, *new, top);
            *old = top;
        }
    }

    /// The largest term of each series.
    pub(super) fn largest(&self) -> &[f32] {
        &self.largest
    }

    /// `factor / sum` of each series: what turns `exp(x - largest)` into `factor * softmax(x)`.
    pub(super) fn normalizers(&self, factor: f64) -> Vec<f32> {
        self.sum.iter().map(|sum| (factor / sum) as f32).collect()
    }

    /// The sum of the results of all series.
    pub(super) fn total(&self) -> f64 {
        self.largest
            .iter()
            .zip(&self.sum)
            .map(|(top, sum)| f64::from(*top) + sum.ln())
            .sum()
    }
}

fn rescale(sum: f64, from: f32, to: f32) -> f64 {
    if from == to {
        sum
    } else {
        sum * (f64::from(from) - f64::from(to)).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_in_any_order_give_the_whole() {
        let terms = [3.0f32, 120.0, -4.0, 119.5, 0.0];
        let want = 120.0 + (1.0 + (-0.5f64).exp()).ln();
        for turn in 0..terms.len() {
            let mut got = LogSumExp::new(2);
            for k in 0..terms.len() {
                got.merge(1, &[terms[(turn + k) % terms.len()]], &[1.0]);
            }
            got.merge(0, &[0.0], &[1.0]);
            assert!((got.total() - want).abs() < 1e-12);
            assert_eq!(got.largest(), [0.0, 120.0]);
        }
    }
}
