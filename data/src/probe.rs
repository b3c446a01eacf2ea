//! A look at a source before anything depends on it.

use crate::{Error, Source};

/// Reads up to `rows` samples that are spread over a source, without decoding them, so that a run need not begin with
/// data of which nothing can be read: pictures that are URLs, paths that start from another folder.
///
/// # Errors
///
/// If there are samples and none of those that were tried can be read; the first fault is told.
pub fn probe(source: &dyn Source, rows: usize) -> Result<(), Error> {
    let tried = rows.min(source.len());
    let mut first = None;
    for number in 0..tried {
        let row = (number as u128 * source.len() as u128 / tried as u128) as usize;
        match source.sample(row) {
            Ok(_) => return Ok(()),
            Err(error) => _ = first.get_or_insert(error),
        }
    }
    match first {
        Some(first) => Err(Error::NothingReadable {
            origin: source.name().to_owned(),
            tried,
            first: Box::new(first),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{Reason, Table, TableConfig};

    #[test]
    fn one_readable_sample_is_enough_and_none_is_an_error() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("t.csv");
        let mut rows = String::from("filepath,title\n");
        (0..100).for_each(|i| rows.push_str(&format!("{i}.png,x\n")));
        fs::write(&path, rows).unwrap();
        let table = Table::open(&path, &TableConfig::default()).unwrap();
        let error = probe(&table, 10).unwrap_err();
        let Error::NothingReadable { tried, first, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*tried, 10);
        assert!(
            matches!(
                first.reason,
                Reason::Missing {
                    section: "data.table",
                    ..
                }
            ),
            "{error}"
        );
        fs::write(folder.path().join("90.png"), "x").unwrap();
        assert!(probe(&table, 10).is_ok());
        assert!(probe(&table, 0).is_ok());
    }
}
