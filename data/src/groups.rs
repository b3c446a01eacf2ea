//! Which pairs share a picture, and which a caption.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

/// The distinct pictures and captions of a source, and the pairs that join them.
///
/// Retrieval with several right answers needs both sides: a photograph has five captions, and an emoji's name has a
/// picture by each vendor. Distinct pictures and captions are numbered in order of first appearance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    images: Side,
    captions: Side,
}

/// One side of the pairs: the distinct things and which of them each row has.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Side {
    owner: Vec<usize>,
    first_row: Vec<usize>,
}

impl Groups {
    /// Groups `len` rows by what `image` and `caption` say of each.
    pub fn new<'a>(
        len: usize,
        image: impl Fn(usize) -> Cow<'a, str>,
        caption: impl Fn(usize) -> Cow<'a, str>,
    ) -> Self {
        Self {
            images: Side::new(len, image),
            captions: Side::new(len, caption),
        }
    }

    /// For each distinct picture, the first row that has it.
    pub fn image_rows(&self) -> &[usize] {
        &self.images.first_row
    }

    /// For each row, the number of its picture.
    pub fn image_of_row(&self) -> &[usize] {
        &self.images.owner
    }

    /// For each distinct caption, the first row that has it.
    pub fn caption_rows(&self) -> &[usize] {
        &self.captions.first_row
    }

    /// For each row, the number of its caption.
    pub fn caption_of_row(&self) -> &[usize] {
        &self.captions.owner
    }
}

impl Side {
    fn new<'a>(len: usize, key: impl Fn(usize) -> Cow<'a, str>) -> Self {
        let hasher = RandomState::new();
        // The table holds numbers only: the keys stay where they are, and millions of them are not copied.
        let mut known: HashTable<u32> = HashTable::new();
        let mut first_row: Vec<usize> = Vec::new();
        let mut owner = Vec::with_capacity(len);
        for row in 0..len {
            let wanted = key(row);
            let hash = hasher.hash_one(&*wanted);
            let same = |number: &u32| key(first_row[*number as usize]) == wanted;
            let number = known.find(hash, same).copied().unwrap_or_else(|| {
                let number = first_row.len() as u32;
                let rehash = |number: &u32| match first_row.get(*number as usize) {
                    Some(row) => hasher.hash_one(&*key(*row)),
                    None => hash,
                };
                known.insert_unique(hash, number, rehash);
                number
            });
            if number as usize == first_row.len() {
                first_row.push(row);
            }
            owner.push(number as usize);
        }
        Self { owner, first_row }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_grouped_by_picture_and_by_caption() {
        let rows = [
            ("b", "cat"),
            ("b", "tom"),
            ("a", "cat"),
            ("c", "dog"),
            ("b", "pet"),
        ];
        let groups = Groups::new(rows.len(), |i| rows[i].0.into(), |i| rows[i].1.into());
        assert_eq!(groups.image_rows(), [0, 2, 3]);
        assert_eq!(groups.image_of_row(), [0, 0, 1, 2, 0]);
        assert_eq!(groups.caption_rows(), [0, 1, 3, 4]);
        assert_eq!(groups.caption_of_row(), [0, 1, 0, 2, 3]);
    }
}
