//! A file that is there as a whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, linkat, openat},
    io::Errno,
};

/// It has no name until all is in it, so that nothing is left of it whatever ends this process; where the filesystem
/// cannot do that (O_TMPFILE of open(2)), it has another one.
pub(super) struct NewFile {
    pub(super) file: File,
    name: PathBuf,
    /// The name that it is given first.
    other: PathBuf,
    /// That it has that already.
    is_named: bool,
    is_put: bool,
}

impl NewFile {
    /// A new file, later of this name.
    pub(super) fn beside(name: &Path) -> io::Result<Self> {
        let mut other = OsString::from(name);
        other.push(format!(".{}", process::id()));
        let other = PathBuf::from(other);
        let dir = name.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mode = Mode::from(0o666);
        let (file, is_named) =
            match openat(CWD, dir, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, mode) {
                Ok(file) => (file.into(), false),
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => (File::create_new(&other)?, true),
                Err(errno) => return Err(errno.into()),
            };
        Ok(Self { file, name: name.to_owned(), other, is_named, is_put: false })
    }

    /// Gives it its name, which another file may have had until then.
    pub(super) fn put(mut self) -> io::Result<()> {
        if !self.is_named {
            let file = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            match linkat(CWD, &file, CWD, &self.name, AtFlags::SYMLINK_FOLLOW) {
                Err(Errno::EXIST) => linkat(CWD, &file, CWD, &self.other, AtFlags::SYMLINK_FOLLOW)?,
                done => return Ok(done?),
            }
            self.is_named = true;
        }
        fs::rename(&self.other, &self.name)?;
        self.is_put = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if self.is_named && !self.is_put {
            let _ = fs::remove_file(&self.other);
        }
    }
}
