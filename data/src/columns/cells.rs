//! The texts of a column, row by row.

use std::collections::VecDeque;

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::RowGroupReader;

/// Rows that are read at a time.
const AT_A_TIME: usize = 1024;

/// The values of a row: none where there is no value, several where the column is of lists. A text is shared with its
/// page, which may hold it once for all rows.
pub(super) type Values = Vec<ByteArray>;

/// A column of a row group while it is read.
pub(super) struct Cells {
    reader: Typed,
    /// The level of a value that is there.
    level: i16,
    is_list: bool,
    rows: VecDeque<Values>,
}

enum Typed {
    Texts(ColumnReaderImpl<ByteArrayType>),
    Small(ColumnReaderImpl<Int32Type>),
    Large(ColumnReaderImpl<Int64Type>),
}

impl Cells {
    /// The column `leaf` of a row group.
    ///
    /// # Errors
    ///
    /// If it is damaged, or of another type than text and whole numbers.
    pub(super) fn of(group: &dyn RowGroupReader, leaf: usize) -> Result<Self> {
        let descriptor = group.metadata().column(leaf).column_descr();
        let (level, is_list) = (descriptor.max_def_level(), descriptor.max_rep_level() > 0);
        let reader = match group.get_column_reader(leaf)? {
            ColumnReader::ByteArrayColumnReader(reader) => Typed::Texts(reader),
            ColumnReader::Int32ColumnReader(reader) => Typed::Small(reader),
            ColumnReader::Int64ColumnReader(reader) => Typed::Large(reader),
            _ => return Err(ParquetError::General("a column has another type".into())),
        };
        Ok(Self {
            reader,
            level,
            is_list,
            rows: VecDeque::new(),
        })
    }

    /// The values of the next row; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Values>> {
        if self.rows.is_empty() {
            self.fill(AT_A_TIME)?;
        }
        Ok(self.rows.pop_front())
    }

    /// The value of one row, from 0. Pages before it are passed over without being unpacked.
    pub(super) fn at(mut self, row: usize) -> Result<Option<ByteArray>> {
        let passed = match &mut self.reader {
            Typed::Texts(reader) => reader.skip_records(row)?,
            Typed::Small(reader) => reader.skip_records(row)?,
            Typed::Large(reader) => reader.skip_records(row)?,
        };
        if passed < row {
            return Ok(None);
        }
        self.fill(1)?;
        Ok(self.rows.pop_front().and_then(|mut values| values.pop()))
    }

    fn fill(&mut self, rows: usize) -> Result<()> {
        let levels = (self.level, self.is_list);
        let into = &mut self.rows;
        match &mut self.reader {
            Typed::Texts(reader) => read(reader, rows, levels, into, ByteArray::clone),
            Typed::Small(reader) => read(reader, rows, levels, into, digits),
            Typed::Large(reader) => read(reader, rows, levels, into, digits),
        }
    }
}

fn digits(number: &impl ToString) -> ByteArray {
    number.to_string().into_bytes().into()
}

/// Reads some rows of a column.
fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    (level, is_list): (i16, bool),
    into: &mut VecDeque<Values>,
    text: impl Fn(&T::T) -> ByteArray,
) -> Result<()> {
    let (mut there, mut repeated, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let (records, ..) =
        reader.read_records(rows, Some(&mut there), Some(&mut repeated), &mut values)?;
    let mut values = values.iter();
    if level == 0 {
        into.extend(values.map(|value| vec![text(value)]));
        return Ok(());
    }
    let first = into.len();
    for (place, defined) in there.iter().enumerate() {
        if !is_list || repeated.get(place) == Some(&0) {
            into.push_back(Vec::new());
        }
        if *defined == level
            && let (Some(row), Some(value)) = (into.back_mut(), values.next())
        {
            row.push(text(value));
        }
    }
    if into.len() - first < records {
        return Err(ParquetError::General(
            "a column ends before its rows".into(),
        ));
    }
    Ok(())
}
