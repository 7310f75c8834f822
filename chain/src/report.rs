//! The file of an option such as `--report`, which is opened before anything runs and written when NEXT has ended.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use nix::{errno::Errno, fcntl::OFlag};

use crate::error::{Doing, Remedy, Result};

/// Where a report goes.
#[derive(Debug)]
pub struct ReportFile {
    option: &'static str,
    /// Stderr without one.
    file: Option<(PathBuf, File)>,
}

impl ReportFile {
    /// Opens and empties what the `option` names; `-` is stderr. A pipe must have a reader.
    pub fn open(option: &'static str, path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self { option, file: None });
        }
        let mut open = OpenOptions::new();
        open.write(true).create(true).truncate(true);
        // Where a box may write, it may leave a link to a file that the next caller can overwrite.
        open.custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW).bits());
        let file = open.open(path).doing(|| format!("{option} {}", path.display()));
        let file = file
            .remedy(Errno::ENXIO, "nobody reads it")
            .remedy(Errno::ELOOP, "it is a link, which is not followed; name the file itself")?;
        Ok(Self { option, file: Some((path.to_owned(), file)) })
    }

    /// Writes a line.
    pub fn write(&self, line: &str) -> Result<()> {
        let option = self.option;
        match &self.file {
            None => io::stderr().write_all(line.as_bytes()).doing(|| format!("{option} -")),
            Some((path, file)) => {
                let mut file = file;
                file.write_all(line.as_bytes()).doing(|| format!("{option} {}", path.display()))
            }
        }
    }
}
