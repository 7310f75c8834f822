//! The stream of a new layer: plain, or compressed by gzip or zstd, always in the same way.

use std::{
    ffi::OsStr,
    fmt,
    io::{self, Write},
    path::Path,
};

use chain::{Error, Result};
use flate2::{Compression, GzBuilder, write::GzEncoder};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Gzip,
    Zstd,
}

/// Names of standard output, of which there is none as a whole or not at all.
const STDOUT: [&str; 3] = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];

impl Form {
    /// As the name of the file says, by its end; `-` is plain.
    pub(super) fn of(name: &Path) -> Result<Self> {
        if name == Path::new("-") {
            return Ok(Self::Plain);
        }
        match name.extension().and_then(OsStr::to_str) {
            Some("tar") => Ok(Self::Plain),
            Some("gz" | "tgz") => Ok(Self::Gzip),
            Some("zst" | "tzst") => Ok(Self::Zstd),
            _ => Err(Error::new(
                format!("-o {}", name.display()),
                "its name does not say how it is compressed",
            )
            .hint(if STDOUT.map(Path::new).contains(&name) {
                "- is standard output"
            } else {
                "end it with .tar, .tar.gz or .tar.zst"
            })),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "not compressed",
            Self::Gzip => "compressed by gzip",
            Self::Zstd => "compressed by zstd",
        })
    }
}

/// Compresses what is written to it, by one thread, at the usual level, and without a time or a name.
pub(super) enum Stream<W: Write> {
    Plain(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Stream<W> {
    pub(super) fn new(form: Form, out: W) -> io::Result<Self> {
        Ok(match form {
            Form::Plain => Self::Plain(out),
            Form::Gzip => Self::Gzip(GzBuilder::new().mtime(0).write(out, Compression::default())),
            Form::Zstd => {
                let mut encoder = zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Writes what is left, and gives back what is behind.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Stream<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}
