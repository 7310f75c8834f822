//! The directory that a layer is unpacked to, entry by entry.

use std::{
    collections::BTreeMap,
    ffi::{CString, OsStr},
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path, PathBuf},
};

use chain::{Doing, Error, Remedy, Result, mount::open_dir};
use nix::errno::Errno;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, chmodat, linkat, makedev, mkdirat, mknodat, openat,
    openat2, statat, symlinkat, unlinkat,
};
use tar::{Entry, EntryType};

use super::{
    OPAQUE, WHITEOUT,
    attributes::{Attributes, Giver},
    unpack::Bounds,
};
use crate::changes::dir::check_place;

/// The directory that is filled.
pub(super) struct Tree {
    root: OwnedFd,
    bounds: Bounds,
    /// What is left of the bounds.
    size: u64,
    entries: u64,
    /// What directories get when all is in them, which would change their times.
    dirs: BTreeMap<PathBuf, Attributes>,
    giver: Giver,
}

impl Tree {
    pub(super) fn new(dir: &Path, bounds: Bounds) -> Result<Self> {
        let root = open_dir(dir).doing(|| format!("open {}", dir.display()))?;
        let dirs = BTreeMap::new();
        Ok(Self { root, bounds, size: bounds.size.0, entries: bounds.entries, dirs, giver: Giver::here() })
    }

    pub(super) fn add(&mut self, entry: &mut Entry<impl Read>) -> Result<()> {
        self.entries = self.entries.checked_sub(1).ok_or_else(|| {
            Error::new(format!("more than {} entries", self.bounds.entries), "")
                .hint("--max-entries allows more")
        })?;
        let path = inside(&entry.path_bytes())?;
        let attributes = Attributes::of(entry)?;
        let kind = entry.header().entry_type();
        let Some(name) = path.file_name() else {
            if kind != EntryType::Directory {
                return Err(Error::new("its name", "that of the directory that all is in"));
            }
            self.dirs.insert(path, attributes);
            return Ok(());
        };
        let c_name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL).doing(|| "its name".into())?;
        check_place(path.parent().unwrap_or(Path::new("")), &c_name)?;
        let is_mark = |name: &OsStr| name.as_bytes().starts_with(WHITEOUT.as_bytes());
        if path.iter().rev().skip(1).any(is_mark) {
            return Err(Error::new("its name", "it lies in a whiteout, which is no directory"));
        }
        let above = self.dir(path.parent().unwrap_or(Path::new("")))?;
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT.as_bytes()) {
            let hidden = OsStr::from_bytes(hidden);
            if hidden == OPAQUE && path.iter().count() == 1 {
                return Err(Error::new(
                    "a whiteout",
                    "it hides all layers below, which an overlay cannot say",
                ));
            }
            return self.hide(&above, hidden);
        }
        if kind == EntryType::Directory {
            return self.add_dir(&above, name, path.clone(), attributes);
        }
        make_room(&above, name)?;
        let make =
            |kind, device| mknodat(&above, name, kind, Mode::from(0o600), device).doing(|| "make it".into());
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.add_file(&above, name, entry)?;
            }
            EntryType::Link => return self.link(&above, name, entry),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                symlinkat(OsStr::from_bytes(&target), &above, name).doing(|| "make it".into())?;
            }
            EntryType::Fifo => make(FileType::Fifo, 0)?,
            EntryType::Char | EntryType::Block if self.bounds.devices => {
                let number = |part: io::Result<Option<u32>>| {
                    part.doing(|| "a device".into()).map(Option::unwrap_or_default)
                };
                let header = entry.header();
                let device = makedev(number(header.device_major())?, number(header.device_minor())?);
                make(
                    if kind == EntryType::Char { FileType::CharacterDevice } else { FileType::BlockDevice },
                    device,
                )?;
            }
            EntryType::Char | EntryType::Block => {
                return Err(Error::new("a device node", "not unpacked unless it is asked for")
                    .hint("--devices allows them"));
            }
            other => {
                return Err(Error::new(
                    "an entry",
                    format!("no layer has one of type {:?}", char::from(other.as_byte())),
                ));
            }
        }
        self.giver.give(&above, name, &attributes)
    }

    /// A whiteout hides what the layers below have: that which this one has stays.
    fn hide(&self, above: &OwnedFd, name: &OsStr) -> Result<()> {
        if name == OPAQUE {
            return self.giver.make_opaque(above, Path::new("."));
        }
        // What aufs kept for itself (`.wh..wh.plnk` and others) hides nothing.
        if name.as_bytes().starts_with(WHITEOUT.as_bytes()) {
            return Ok(());
        }
        if name.is_empty() || name == "." || name == ".." {
            return Err(Error::new("a whiteout", "it hides nothing that has a name"));
        }
        match kind_of(above, name)? {
            None => mknodat(above, name, FileType::CharacterDevice, Mode::empty(), 0)
                .doing(|| "make a whiteout".into()),
            Some(Kind::Directory) => self.giver.make_opaque(above, Path::new(name)),
            Some(Kind::Whiteout | Kind::Other) => Ok(()),
        }
    }

    fn add_dir(
        &mut self,
        above: &OwnedFd,
        name: &OsStr,
        path: PathBuf,
        attributes: Attributes,
    ) -> Result<()> {
        let found = kind_of(above, name)?;
        if !matches!(found, Some(Kind::Directory)) {
            if found.is_some() {
                unlinkat(above, name, AtFlags::empty()).doing(|| "replace it".into())?;
            }
            mkdirat(above, name, Mode::RWXU).doing(|| "make it".into())?;
        }
        if matches!(found, Some(Kind::Whiteout)) {
            // What the layers below have of this name is hidden, but not this.
            self.giver.make_opaque(above, Path::new(name))?;
        }
        self.dirs.insert(path, attributes);
        Ok(())
    }

    fn add_file(&mut self, above: &OwnedFd, name: &OsStr, entry: &mut Entry<impl Read>) -> Result<()> {
        self.size = self.size.checked_sub(entry.size()).ok_or_else(|| {
            Error::new(format!("more than {}", self.bounds.size), "").hint("--max-size allows more")
        })?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(above, name, flags, Mode::RUSR | Mode::WUSR).doing(|| "make it".into())?;
        let size = entry.size();
        let copied = io::copy(entry, &mut File::from(file)).doing(|| "write it".into())?;
        if copied == size { Ok(()) } else { Err(Error::new("read it", "the layer ends in the middle of it")) }
    }

    fn link(&self, above: &OwnedFd, name: &OsStr, entry: &Entry<impl Read>) -> Result<()> {
        let target = entry.link_name_bytes().unwrap_or_default();
        let within =
            |error: Error| error.within(&format!("link it to {}", OsStr::from_bytes(&target).display()));
        let target = inside(&target).map_err(within)?;
        let doing = || format!("link it to {}", target.display());
        let Some(base) = target.file_name() else { return Err(Error::new(doing(), "not a file")) };
        let missing = "the other name must come before it in the layer";
        let from = self
            .find(target.parent().unwrap_or(Path::new("")))
            .doing(doing)
            .remedy(Errno::ENOENT, missing)?;
        linkat(from, base, above, name, AtFlags::empty()).doing(doing).remedy(Errno::ENOENT, missing)
    }

    /// The directory at `path`, made with all above it if it is missing.
    fn dir(&self, path: &Path) -> Result<OwnedFd> {
        match self.find(path) {
            Err(rustix::io::Errno::NOENT) => {
                let above = self.dir(path.parent().unwrap_or(Path::new("")))?;
                let name = path.file_name().unwrap_or_default();
                mkdirat(above, name, Mode::from(0o755)).doing(|| format!("make {}", path.display()))?;
                self.find(path).doing(|| format!("open {}", path.display()))
            }
            found => found
                .doing(|| path.display().to_string())
                .remedy(Errno::ELOOP, "it is a symbolic link, or lies behind one")
                .remedy(Errno::ENOTDIR, "it is a file, or lies in one"),
        }
    }

    fn find(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let path = if path == Path::new("") { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    }

    pub(super) fn finish(self) -> Result<()> {
        chmodat(&self.root, ".", Mode::from(0o755), AtFlags::empty())
            .doing(|| "set the mode of the directory".into())?;
        // The innermost first: what is given to one must not change the times of another.
        for (path, attributes) in self.dirs.iter().rev() {
            let dir = self.dir(path)?;
            self.giver
                .give(&dir, OsStr::new("."), attributes)
                .map_err(|error| error.within(&path.display().to_string()))?;
        }
        Ok(())
    }
}

/// Takes away what an entry before this one has put there.
fn make_room(above: &OwnedFd, name: &OsStr) -> Result<()> {
    match kind_of(above, name)? {
        None => Ok(()),
        Some(Kind::Directory) => Err(Error::new("a file", "a directory of this name is in the layer too")),
        Some(_) => unlinkat(above, name, AtFlags::empty()).doing(|| "replace it".into()),
    }
}

enum Kind {
    Directory,
    Whiteout,
    Other,
}

fn kind_of(above: &OwnedFd, name: &OsStr) -> Result<Option<Kind>> {
    let found = match statat(above, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        found => found.doing(|| "look for it".into())?,
    };
    Ok(Some(match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::CharacterDevice if found.st_rdev == 0 => Kind::Whiteout,
        _ => Kind::Other,
    }))
}

/// A name in a layer as a path in the directory.
fn inside(name: &[u8]) -> Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(name));
    if name.contains(&0) {
        return Err(Error::new("its name", "it has a NUL in it"));
    }
    let mut inside = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => {
                return Err(Error::new("its name", "an absolute path"));
            }
            Component::ParentDir => return Err(Error::new("its name", "it has .. in it")),
        }
    }
    Ok(inside)
}
