//! The walk over the tiles of `image @ text.T`, and from tiles to gradients of features.

use std::ops::Range;

use burn::tensor::{Bool, Int, Tensor};
use kernels::is_host;
use kernels::product;

use super::tiling::{Tiling, blocks};

/// Where a tile lies in the matrix of all pairs.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The images.
    pub(super) rows: Range<usize>,
    /// The texts.
    pub(super) columns: Range<usize>,
}

impl Place {
    /// The column within the tile at which `row` of the tile meets its own text, if it does.
    pub(super) fn diagonal(&self, row: usize) -> Option<usize> {
        let column = (self.rows.start + row).checked_sub(self.columns.start)?;
        (column < self.columns.len()).then_some(column)
    }

    /// The same for all rows, `[rows, columns]`; `None` if the tile is off the diagonal.
    pub(super) fn diagonal_mask(&self, like: &Tensor<2>) -> Option<Tensor<2, Bool>> {
        let device = like.device();
        let apart = self.rows.end <= self.columns.start || self.columns.end <= self.rows.start;
        (!apart).then(|| {
            let index = |range: &Range<usize>| {
                Tensor::<1, Int>::arange(range.start as i64..range.end as i64, &device)
            };
            let rows: Tensor<2, Int> = index(&self.rows).unsqueeze_dim(1);
            let columns: Tensor<2, Int> = index(&self.columns).unsqueeze_dim(0);
            let shape = [self.rows.len(), self.columns.len()];
            rows.expand(shape).equal(columns.expand(shape))
        })
    }
}

/// Image and text features, `[batch, d_joint]` each, and how their products are tiled.
pub(super) struct Features {
    image: Tensor<2>,
    text: Tensor<2>,
    rows: Vec<Range<usize>>,
    columns: Vec<Range<usize>>,
    kept: Vec<Option<Tensor<2>>>,
    room: usize,
}

impl Features {
    /// # Panics
    ///
    /// If the shapes differ, or the batch is empty.
    pub(super) fn new(image: Tensor<2>, text: Tensor<2>, tiling: Tiling) -> Self {
        let [batch, width] = image.dims();
        assert_eq!(
            [batch, width],
            text.dims(),
            "image and text features must have one shape"
        );
        assert!(batch > 0, "a contrastive loss needs at least one pair");
        // In tensor operations a tile has several temporaries of its size beside it; in host memory it is changed in place.
        let part = if is_host(&image.device()) { 1 } else { 2 };
        let rows = blocks(batch, tiling.rows / part);
        let columns = blocks(batch, tiling.columns / part);
        // A single tile has to exist at some time: keeping it costs nothing.
        let whole = if rows.len() * columns.len() == 1 {
            batch * batch
        } else {
            0
        };
        let room = whole.max(tiling.kept_bytes / size_of::<f32>());
        Self {
            image,
            text,
            rows,
            columns,
            kept: Vec::new(),
            room,
        }
    }

    pub(super) fn batch(&self) -> usize {
        self.image.dims()[0]
    }

    /// Visits all tiles of products, and keeps those that there is room for.
    ///
    /// `visit` takes `[rows, columns]` and gives it back unchanged.
    pub(super) fn visit(&mut self, mut visit: impl FnMut(&Place, Tensor<2>) -> Tensor<2>) {
        for rows in self.rows.clone() {
            for columns in self.columns.clone() {
                let place = Place {
                    rows: rows.clone(),
                    columns,
                };
                let tile = visit(&place, self.products(&place));
                let size = place.rows.len() * place.columns.len();
                let fits = size <= self.room;
                self.room -= if fits { size } else { 0 };
                self.kept.push(fits.then_some(tile));
            }
        }
    }

    /// The gradients of image and text features, given how a tile of products `[rows, columns]`
    /// becomes the derivative of the loss with respect to it.
    pub(super) fn gradients(
        mut self,
        mut derive: impl FnMut(&Place, Tensor<2>) -> Tensor<2>,
    ) -> (Tensor<2>, Tensor<2>) {
        let mut kept = std::mem::take(&mut self.kept).into_iter();
        let mut grad_image = Vec::with_capacity(self.rows.len());
        let mut grad_text: Vec<Option<Tensor<2>>> = vec![None; self.columns.len()];
        for rows in &self.rows {
            let mut grad_rows = None;
            for (columns, grad_columns) in self.columns.iter().zip(&mut grad_text) {
                let place = Place {
                    rows: rows.clone(),
                    columns: columns.clone(),
                };
                let products = kept
                    .next()
                    .flatten()
                    .unwrap_or_else(|| self.products(&place));
                let derivative = derive(&place, products);
                let image = slice_rows(&self.image, rows);
                add_to(grad_columns, product(derivative.clone().transpose(), image));
                add_to(
                    &mut grad_rows,
                    product(derivative, slice_rows(&self.text, columns)),
                );
            }
            grad_image.extend(grad_rows);
        }
        (
            join(grad_image),
            join(grad_text.into_iter().flatten().collect()),
        )
    }

    /// `image . text` of every pair of the same row, `[rows]`.
    pub(super) fn matches(&self, rows: &Range<usize>) -> Tensor<1> {
        (slice_rows(&self.image, rows) * slice_rows(&self.text, rows))
            .sum_dim(1)
            .squeeze_dim(1)
    }

    /// The products of a tile, `[rows, columns]`.
    fn products(&self, place: &Place) -> Tensor<2> {
        product(
            slice_rows(&self.image, &place.rows),
            slice_rows(&self.text, &place.columns).transpose(),
        )
    }
}

fn slice_rows(tensor: &Tensor<2>, rows: &Range<usize>) -> Tensor<2> {
    tensor.clone().slice_dim(0, rows.clone())
}

fn add_to(sum: &mut Option<Tensor<2>>, term: Tensor<2>) {
    *sum = Some(match sum.take() {
        Some(sum) => sum + term,
        None => term,
    });
}

fn join<const D: usize>(mut blocks: Vec<Tensor<D>>) -> Tensor<D> {
    if blocks.len() == 1 {
        blocks.remove(0)
    } else {
        Tensor::cat(blocks, 0)
    }
}

/// Vectors that are read back from their device together: each read waits for all that the device has to do.
pub(super) struct Reads<T> {
    waiting: Vec<(T, Tensor<1>)>,
}

impl<T> Default for Reads<T> {
    fn default() -> Self {
        let waiting = Vec::new();
        Self { waiting }
    }
}

impl<T> Reads<T> {
    /// How many wait at most: each may stand where a tile was, which then needs another place.
    const MOST: usize = 8;

    /// Adds the parts of one vector; gives back what was read, if the time has come.
    pub(super) fn push(&mut self, tag: T, parts: Vec<Tensor<1>>) -> Vec<(T, Vec<f32>)> {
        self.waiting.push((tag, join(parts)));
        if self.waiting.len() < Self::MOST {
            Vec::new()
        } else {
            self.finish()
        }
    }

    /// What is still to be read.
    pub(super) fn finish(&mut self) -> Vec<(T, Vec<f32>)> {
        let (tags, vectors): (Vec<_>, Vec<_>) = self.waiting.drain(..).unzip();
        if vectors.is_empty() {
            return Vec::new();
        }
        let lengths: Vec<_> = vectors.iter().map(|vector| vector.dims()[0]).collect();
        let all = join(vectors).into_data();
        let mut numbers = all.iter::<f32>();
        tags.into_iter()
            .zip(lengths)
            .map(|(tag, length)| (tag, numbers.by_ref().take(length).collect()))
            .collect()
    }
}
