//! A reader of shards that knows where it is, and that damaged sizes cannot make read without end.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

/// The header of a caption, the caption and the next header are usually read at once.
const BUFFER: usize = 4 << 10;

/// What a [`Metered`] reader may still do and has met; the archive owns the reader, so this is apart.
#[derive(Debug, Default)]
pub(super) struct Meter {
    left: Cell<u64>,
    ended: Cell<bool>,
}

impl Meter {
    /// Allows so many bytes to be read from here on.
    pub(super) fn allow(&self, bytes: u64) {
        self.left.set(bytes);
    }

    /// Whether a read has met the end of the file.
    pub(super) fn ended(&self) -> bool {
        self.ended.get()
    }
}

/// A file that is read forwards in small pieces with gaps between them.
#[derive(Debug)]
pub(super) struct Metered<'a> {
    file: BufReader<File>,
    at: u64,
    meter: &'a Meter,
}

impl<'a> Metered<'a> {
    pub(super) fn new(file: File, meter: &'a Meter) -> Self {
        Self {
            file: BufReader::with_capacity(BUFFER, file),
            at: 0,
            meter,
        }
    }
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.meter.left.get();
        if left == 0 && !buffer.is_empty() {
            return Err(io::Error::other("the name of an entry is too long"));
        }
        let room = (buffer.len() as u64).min(left) as usize;
        let read = self.file.read(&mut buffer[..room])?;
        if read == 0 && room > 0 {
            self.meter.ended.set(true);
        }
        self.meter.left.set(left - read as u64);
        self.at += read as u64;
        Ok(read)
    }
}

impl Seek for Metered<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match to {
            // The buffer is kept if the place is in it.
            SeekFrom::Current(gap) => {
                self.file.seek_relative(gap)?;
                self.at = self.at.saturating_add_signed(gap);
            }
            _ => self.at = self.file.seek(to)?,
        }
        Ok(self.at)
    }
}
