//! A Parquet file as its reader wants it: any piece of it, from any thread.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use crate::files::Files;

/// The headers of pages are read in pieces of so many bytes.
const BUFFER: usize = 4 << 10;

/// One of several files, of which few are open at a time.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) files: Arc<Files>,
    pub(super) number: u32,
    /// The size of the file in bytes.
    pub(super) bytes: u64,
}

impl Length for Piece {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for Piece {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let from = From {
            piece: self.clone(),
            at: start,
        };
        Ok(BufReader::with_capacity(BUFFER, from))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.bytes) {
            return Err(ParquetError::EOF("the file ends before its data".into()));
        }
        let read = self.files.read(self.number, start, length as u64)?;
        Ok(read.into())
    }
}

/// A file from one of its bytes on.
#[derive(Debug)]
pub(super) struct From {
    piece: Piece,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.piece.bytes.saturating_sub(self.at);
        let wanted = (buffer.len() as u64).min(left);
        let bytes = self.piece.files.read(self.piece.number, self.at, wanted)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.at += wanted;
        Ok(bytes.len())
    }
}
