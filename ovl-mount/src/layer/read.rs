//! The stream of a layer: plain, or compressed by gzip or zstd, and no longer than it may be. And that of a file
//! which goes into one.

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
    /// Nothing is compressed.
    pub(super) is_plain: bool,
    /// Its end was met.
    pub(super) has_ended: bool,
}

impl Metered {
    /// The plain bytes of `file`, and what is left for them, nothing at first.
    pub(super) fn new(file: File, name: &str) -> Result<(Self, Rc<Cell<u64>>)> {
        let doing = || format!("read {name}");
        let mut file = BufReader::with_capacity(1 << 16, file);
        let start = file.fill_buf().doing(doing)?;
        let is_plain = !start.starts_with(&GZIP) && !start.starts_with(&ZSTD);
        let inner: Box<dyn Read> = if start.starts_with(&GZIP) {
            Box::new(MultiGzDecoder::new(file))
        } else if start.starts_with(&ZSTD) {
            Box::new(zstd::Decoder::with_buffer(file).doing(doing)?)
        } else {
            Box::new(file)
        };
        let left = Rc::new(Cell::new(0));
        Ok((Self { inner, left: Rc::clone(&left), is_plain, has_ended: false }, left))
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
        self.has_ended |= length == 0 && !buffer.is_empty();
        Ok(length)
    }
}

/// A reader that gives as many bytes as were told of the file before, also if it grows meanwhile, and an error if
/// there are fewer.
pub(super) struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Exactly<R> {
    pub(super) fn new(inner: R, length: u64) -> Self {
        Self { inner, left: length }
    }
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let length = self.inner.read(&mut buffer[..most])?;
        if length == 0 {
            return Err(io::Error::other("the file became shorter meanwhile"));
        }
        self.left -= length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_file_that_changes_its_length_no_more_is_read_than_was_said() {
        let read = |length| {
            let mut bytes = Vec::new();
            Exactly::new(&b"content"[..], length)
                .read_to_end(&mut bytes)
                .map(|_| bytes)
                .map_err(|error| error.to_string())
        };
        assert_eq!(read(7).as_deref(), Ok(&b"content"[..]));
        assert_eq!(read(4).as_deref(), Ok(&b"cont"[..]));
        assert_eq!(read(0).as_deref(), Ok(&b""[..]));
        assert_eq!(read(8), Err("the file became shorter meanwhile".into()));
    }
}
