//! What the lower layers show at a place, as overlayfs finds it (`ovl_lookup()` in fs/overlayfs/namei.c).

use std::{
    ffi::{CStr, CString, OsStr},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    rc::Rc,
};

use chain::{Doing, Remedy, Result, errno};
use nix::errno::Errno;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::{
    Entry, Marks, Prefix, Redirect,
    dir::{open_dir, root},
    file::{Kind, Stat},
    xattr::{Attribute, plain},
};

/// The lower layers of an overlay, the highest first.
#[derive(Debug)]
pub struct Lowers {
    roots: Vec<Rc<OwnedFd>>,
    /// `None` if they are plain directories, in which nothing is overlayfs's.
    prefix: Option<Prefix>,
    /// What was renamed is at its new place in them already.
    pub(crate) are_moved: bool,
}

/// A directory as the lower layers show it: those that are merged, the highest first.
#[derive(Debug, Clone)]
pub struct Place {
    dirs: Vec<LayerDir>,
    /// Where it is below the root of the layers, as the layer above names it.
    pub path: PathBuf,
}

/// A directory in one layer, with its path there.
#[derive(Debug, Clone)]
struct LayerDir {
    layer: usize,
    fd: Rc<OwnedFd>,
    path: PathBuf,
}

/// A file as the lower layers show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lower {
    /// Its metadata.
    pub stat: Stat,
    /// The layer that has it, and where it is there.
    pub file: (usize, PathBuf),
    /// The same for its content, which a layer further down may have; `None` if no layer has it.
    pub content: Option<(usize, PathBuf)>,
}

impl Place {
    /// Nothing is there.
    pub fn nothing(path: PathBuf) -> Self {
        Self { dirs: Vec::new(), path }
    }

    /// Whether no layer has anything there.
    pub fn is_nothing(&self) -> bool {
        self.dirs.is_empty()
    }
}

impl Lowers {
    /// Opens the layers, of which the highest is the first.
    pub fn open(paths: &[PathBuf], prefix: Prefix) -> Result<Self> {
        let image = "an image is mounted first: ovl-mount -l IMAGE DIR";
        let open = |path: &PathBuf| root(path, "lower layer").remedy(Errno::ENOTDIR, image);
        let roots = paths.iter().map(|path| open(path).map(Rc::new));
        Ok(Self { roots: roots.collect::<Result<_>>()?, prefix: Some(prefix), are_moved: false })
    }

    /// A plain directory as the only layer.
    pub fn plain(dir: OwnedFd) -> Self {
        Self { roots: vec![Rc::new(dir)], prefix: None, are_moved: false }
    }

    /// The same, where what was renamed is at its new place already.
    #[must_use]
    pub(crate) fn moved(self) -> Self {
        Self { are_moved: true, ..self }
    }

    /// The root of the layers.
    pub fn root(&self) -> Place {
        Place { dirs: self.roots_below(0), path: PathBuf::new() }
    }

    fn roots_below(&self, first: usize) -> Vec<LayerDir> {
        let dir =
            |(layer, fd): (usize, &Rc<OwnedFd>)| LayerDir { layer, fd: fd.clone(), path: PathBuf::new() };
        self.roots.iter().enumerate().skip(first).map(dir).collect()
    }

    /// What is at `name` in a directory, or where the `redirect` that the layer above has there leads.
    /// If it is a directory, with the place that it is.
    pub fn find(
        &self,
        parent: &Place,
        name: &CStr,
        redirect: Option<&Redirect>,
    ) -> nix::Result<Option<(Lower, Place)>> {
        let (mut dirs, mut names) = match redirect {
            None => (parent.dirs.clone(), vec![name.to_owned()]),
            Some(Redirect::Name(name)) => (parent.dirs.clone(), vec![name.clone()]),
            Some(Redirect::Absolute(names)) => (self.roots_below(0), names.clone()),
        };
        let path = match redirect {
            None => parent.path.join(OsStr::from_bytes(name.to_bytes())),
            Some(redirect) => redirect.path(&parent.path),
        };
        let mut found: Option<(Lower, Place)> = None;
        let mut at = 0;
        while let Some(dir) = dirs.get(at).cloned() {
            at += 1;
            let Some(step) = self.step(&dir, &names)? else { continue };
            if let Some((entry, parent)) = step.entry {
                let is_regular = entry.stat.kind == Kind::Regular;
                let path = dir.path.join(names_path(&names));
                match &mut found {
                    None => {
                        let content =
                            (is_regular && !entry.marks.metacopy).then(|| (dir.layer, path.clone()));
                        let lower = Lower { stat: entry.stat, file: (dir.layer, path.clone()), content };
                        found = Some((lower, Place::nothing(PathBuf::new())));
                    }
                    // A directory is merged with directories only, and only a regular file has content.
                    Some((lower, _)) if lower.stat.kind != entry.stat.kind => break,
                    Some((lower, _)) if is_regular && !entry.marks.metacopy => {
                        lower.content = Some((dir.layer, path.clone()));
                    }
                    Some(_) => {}
                }
                match (&mut found, entry.stat.kind) {
                    (Some((_, place)), Kind::Directory) => {
                        let fd = Rc::new(open_dir(&*parent, &entry.name)?);
                        place.dirs.push(LayerDir { layer: dir.layer, fd, path });
                    }
                    (_, Kind::Regular) if entry.marks.metacopy => {}
                    _ => break,
                }
            }
            if let Some((from_root, next)) = step.redirect {
                names = next;
                if from_root {
                    (dirs, at) = (self.roots_below(dir.layer + 1), 0);
                }
            }
            if step.stop {
                break;
            }
        }
        if let Some((_, place)) = &mut found {
            place.path = path;
        }
        Ok(found)
    }

    /// Looks for a path in one layer.
    fn step(&self, dir: &LayerDir, names: &[CString]) -> nix::Result<Option<Step>> {
        let mut fd = dir.fd.clone();
        let mut step = Step { entry: None, redirect: None, stop: false };
        for (at, name) in names.iter().enumerate() {
            let Some(entry) = self.entry(&fd, name)? else { return Ok(Some(step)) };
            if entry.marks.whiteout {
                step.stop = true;
                return Ok(Some(step));
            }
            let is_last = at + 1 == names.len();
            let is_dir = entry.stat.kind == Kind::Directory;
            if !is_last && !is_dir {
                step.stop = true;
                return Ok(Some(step));
            }
            step.stop |= entry.marks.opaque;
            if let Some(redirect) = &entry.marks.redirect {
                let rest = &names[at + 1..];
                step.redirect = Some(match redirect {
                    Redirect::Name(name) => {
                        (false, [&names[..at], std::slice::from_ref(name), rest].concat())
                    }
                    // It leads on in the layers below, opaque or not (`ovl_check_redirect()`).
                    Redirect::Absolute(path) => {
                        step.stop = false;
                        (true, [path, rest].concat())
                    }
                });
            }
            if is_last {
                step.entry = Some((entry, fd));
                return Ok(Some(step));
            }
            fd = Rc::new(open_dir(&*fd, name)?);
        }
        Ok(None)
    }

    fn entry(&self, dir: &OwnedFd, name: &CStr) -> nix::Result<Option<Entry>> {
        if let Some(prefix) = self.prefix {
            return Entry::find(dir.as_fd(), prefix, name);
        }
        let entry = |stat| Entry { name: name.to_owned(), stat, marks: Marks::default() };
        Ok(Stat::find(dir, name)?.map(entry))
    }

    /// A file's attributes.
    pub fn attributes(&self, (layer, path): &(usize, PathBuf)) -> Result<Vec<Attribute>> {
        let (dir, name) = self.parent(*layer, path)?;
        let read = match self.prefix {
            Some(prefix) => prefix.attributes(dir.as_fd(), &name),
            None => plain(dir.as_fd(), &name),
        };
        read.doing(|| format!("read the attributes of {}", path.display()))
    }

    /// A layer's own directory, 0 is the highest.
    pub fn layer(&self, layer: usize) -> &OwnedFd {
        &self.roots[layer]
    }

    /// The directory of a file in a layer, and its name there.
    pub fn parent(&self, layer: usize, path: &Path) -> Result<(OwnedFd, CString)> {
        parent(self.roots[layer].as_fd(), path).doing(|| format!("open the directory of {}", path.display()))
    }
}

/// What one layer says of a path.
struct Step {
    /// The file, and the directory that it is in.
    entry: Option<(Entry, Rc<OwnedFd>)>,
    /// The names to look for in the layers below, and whether from their root.
    redirect: Option<(bool, Vec<CString>)>,
    /// Whether the layers below are hidden.
    stop: bool,
}

fn names_path(names: &[CString]) -> PathBuf {
    names.iter().map(|name| OsStr::from_bytes(name.as_bytes())).collect()
}

/// Opens the directory of a file below `root`, by way of no symbolic link, and gives its name there.
pub(crate) fn parent(root: impl AsFd, path: &Path) -> nix::Result<(OwnedFd, CString)> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let name = CString::new(path.file_name().ok_or(Errno::EINVAL)?.as_bytes()).map_err(|_| Errno::EINVAL)?;
    Ok((open_below(root, dir, OFlags::DIRECTORY)?, name))
}

/// Opens a path below `root` to read it, by way of no symbolic link (openat2(2)).
pub(crate) fn open_below(root: impl AsFd, path: &Path, flags: OFlags) -> nix::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(root, path, flags, Mode::empty(), resolve).map_err(errno)
}
