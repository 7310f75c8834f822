//! The stream of a layer: plain, or compressed by gzip or zstd, and no longer than it may be.

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, ErrorKind, Read},
    rc::Rc,
};

use chain::{Doing, Result};
use flate2::bufread::MultiGzDecoder;

/// The first bytes of what gzip (RFC 1952) and zstd (RFC 8878) make.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A reader that gives an error after so many bytes. What is left can be changed while somebody else reads.
pub(super) struct Metered {
    inner: Box<dyn Read>,
    left: Rc<Cell<u64>>,
}

impl Metered {
    /// The plain bytes of `file`, and what is left for them, nothing at first.
    pub(super) fn new(file: File, name: &str) -> Result<(Self, Rc<Cell<u64>>)> {
        let doing = || format!("read {name}");
        let mut file = BufReader::with_capacity(1 << 16, file);
        let start = file.fill_buf().doing(doing)?;
        let inner: Box<dyn Read> = if start.starts_with(&GZIP) {
            Box::new(MultiGzDecoder::new(file))
        } else if start.starts_with(&ZSTD) {
            Box::new(zstd::Decoder::with_buffer(file).doing(doing)?)
        } else {
            Box::new(file)
        };
        let left = Rc::new(Cell::new(0));
        Ok((Self { inner, left: Rc::clone(&left) }, left))
    }
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            return Err(io::Error::new(ErrorKind::FileTooLarge, "more than it may hold"));
        }
        let length = self.inner.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - length as u64);
        Ok(length)
    }
}
