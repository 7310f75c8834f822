//! A directory of a layer, read in order.

use std::{
    ffi::{CStr, CString, OsStr},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use chain::{Doing, Error, Result, errno};
use nix::errno::Errno;
use rustix::{
    fs::{CWD, Mode, OFlags, RawDir, openat},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::{file::Stat, marks::Marks, xattr::Prefix};

/// Opens a layer's own directory, which is the only one that may be a link.
pub fn root(path: &Path, what: &str) -> Result<OwnedFd> {
    // Each directory is open as long as what is below it is looked at.
    let limits = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits });
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).doing(|| format!("{what} {}", path.display()))
}

/// What fuse-overlayfs(1) puts into a directory that it makes opaque: a file, and a whiteout of a name without the
/// second `.wh.`, both of which it does not show.
const FUSE_MARKS: [&CStr; 2] = [c".wh..wh..opq", c".wh..opq"];

/// An open directory of a layer.
#[derive(Debug)]
pub struct Dir<'a> {
    fd: BorrowedFd<'a>,
    prefix: Prefix,
}

/// A file in a directory of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: CString,
    /// Its metadata.
    pub stat: Stat,
    /// What overlayfs wrote on it.
    pub marks: Marks,
}

impl Entry {
    /// The name as a path's.
    pub fn os_name(&self) -> &OsStr {
        OsStr::from_bytes(self.name.as_bytes())
    }

    /// The name for people.
    pub(crate) fn shown(&self) -> String {
        self.os_name().display().to_string()
    }

    /// The file of this name, with what overlayfs wrote on it; `None` if there is none.
    pub fn find(dir: BorrowedFd, prefix: Prefix, name: &CStr) -> nix::Result<Option<Self>> {
        Self::read(dir, prefix, name.to_owned(), &mut Vec::new())
    }

    fn read(
        dir: BorrowedFd,
        prefix: Prefix,
        name: CString,
        names: &mut Vec<u8>,
    ) -> nix::Result<Option<Self>> {
        let Some(stat) = Stat::find(dir, &name)? else { return Ok(None) };
        match Marks::read(prefix, dir, &name, &stat, names) {
            Err(Errno::ENOENT) => Ok(None),
            marks => Ok(Some(Self { stat, marks: marks?, name })),
        }
    }
}

impl<'a> Dir<'a> {
    /// The directory that is open as `fd`.
    pub fn new(fd: BorrowedFd<'a>, prefix: Prefix) -> Self {
        Self { fd, prefix }
    }

    /// What is in it, ordered by the bytes of the names. What is gone meanwhile is left out. `path` is
    /// for errors.
    pub fn entries(&self, path: &Path) -> Result<Vec<Entry>> {
        let mut room = Vec::new();
        let mut entries = Vec::new();
        let names = names(self.fd).doing(|| format!("read {}", shown(path)))?;
        let is_marked = self.is_marked_by_fuse(&names, path)?;
        for name in names {
            if is_marked && FUSE_MARKS.contains(&name.as_c_str()) {
                continue;
            }
            check_place(path, &name)?;
            let doing = || format!("look at {}", path.join(OsStr::from_bytes(name.as_bytes())).display());
            let entry = Entry::read(self.fd, self.prefix, name.clone(), &mut room).doing(doing)?;
            entries.extend(entry);
        }
        Ok(entries)
    }

    /// Whether the marks of fuse-overlayfs are in it. That marks an opaque directory by an attribute as well, as the
    /// kernel does. Without that it may be a file of anybody's, to whom an overlay of the kernel's is open.
    fn is_marked_by_fuse(&self, names: &[CString], path: &Path) -> Result<bool> {
        let [mark, _] = FUSE_MARKS;
        if names.binary_search_by(|name| name.as_c_str().cmp(mark)).is_err() {
            return Ok(false);
        }
        let mark = path.join(OsStr::from_bytes(mark.to_bytes()));
        let found = Self::find_marks(self.fd, self.prefix).doing(|| format!("look at {}", shown(path)))?;
        if found.opaque {
            return Ok(true);
        }
        let why = "fuse-overlayfs makes such a file in an opaque directory, which this is not";
        let error = Error::new(mark.display().to_string(), why);
        let is_other = self.prefix == Prefix::Trusted
            && Self::find_marks(self.fd, Prefix::User).is_ok_and(|found| found.opaque);
        Err(if is_other {
            error.hint("add --userxattr if it is an ordinary user's")
        } else {
            let attribute = format!("{}opaque", self.prefix.text());
            error.hint(format!("set the attribute {attribute} of the directory to y, or remove the file"))
        })
    }

    fn find_marks(dir: BorrowedFd, prefix: Prefix) -> nix::Result<Marks> {
        Marks::read(prefix, dir, c".", &Stat::of(dir, c".")?, &mut Vec::new())
    }
}

/// The most directories in one another: each takes room on the stack while what is in it is looked at.
const DEEPEST: usize = 500;

/// PATH_MAX of include/uapi/linux/limits.h without the zero byte at the end.
const LONGEST: usize = 4095;

/// Fails for what lies too deep. Who writes files in a box can make such, by paths that begin at a working directory.
pub(crate) fn check_place(dir: &Path, name: &CStr) -> Result<()> {
    let top = || Path::new(dir.iter().next().unwrap_or_default()).display().to_string();
    if dir.iter().count() > DEEPEST {
        let why = format!("there are more than {DEEPEST} directories in one another");
        return Err(Error::new(top(), why));
    }
    if dir.as_os_str().len() + 1 + name.count_bytes() > LONGEST {
        return Err(Error::new(top(), format!("a path in it has more than {LONGEST} bytes")));
    }
    Ok(())
}

/// The names in a directory, ordered by their bytes.
pub(crate) fn names(dir: BorrowedFd) -> nix::Result<Vec<CString>> {
    // A reading position of its own: the descriptor may be read again.
    let own = open_dir(dir, c".")?;
    let mut room = vec![MaybeUninit::uninit(); 32 * 1024];
    let mut entries = RawDir::new(own, &mut room);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(errno)?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens a directory in another; a symbolic link is none.
pub(crate) fn open_dir(dir: impl AsFd, name: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).map_err(errno)
}

/// Opens a regular file to be read; whatever else is there is not waited for.
pub(crate) fn open_file(dir: impl AsFd, name: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    openat(dir, name, flags, Mode::empty()).map_err(errno)
}

/// A path below a layer for people; the layer's own directory is a dot.
pub(crate) fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".into() } else { path.display().to_string() }
}
