//! What can be known to fail before anything is made, said in words better than EINVAL.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    io::ErrorKind,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Component, Path, PathBuf},
};

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, makedev, openat, openat2, statx};

use crate::{
    args::{Changes, Layers},
    image::Image,
    in_use::PROBE,
    memory::MemorySize,
    work::default_work,
};

/// The most lower layers (OVL_MAX_STACK in fs/overlayfs/params.h).
const MOST_LOWER: usize = 500;

const MKDIR: &str = "make it with mkdir";

/// Checks the layers and the place.
pub(crate) fn all(layers: &Layers, target: &Path) -> Result<()> {
    if layers.lower.len() > MOST_LOWER {
        return Err(Error::new(
            format!("{} lower layers", layers.lower.len()),
            format!("the kernel takes at most {MOST_LOWER}"),
        ));
    }
    let mut lowers = Vec::new();
    for path in &layers.lower {
        match Layer::find("lower layer", path) {
            // An image is a filesystem of its own.
            Err(error) if error.errno() == Some(Errno::ENOTDIR) => {
                Image::open(path)?.ok_or(error)?;
            }
            found => lowers.push(found.map_err(|error| several(path, error))?),
        }
    }
    if layers.lower.len() > 1 || layers.changes != Changes::ReadOnly {
        lowers_apart(&lowers)?;
    }
    directory("target", target).map_err(|error| size(layers, target, error))?;
    match &layers.changes {
        Changes::ReadOnly | Changes::Tmp { .. } => Ok(()),
        Changes::Upper { upper, work } => upper_and_work(&lowers, upper, work.as_deref()),
    }
}

/// Fails for an option that fuse-overlayfs(1) would leave out without a word.
pub(crate) fn options_of_fuse(layers: &Layers) -> Result<()> {
    layers.options.first_of_kernel().map_or(Ok(()), |option| {
        let why = "fuse-overlayfs has no such option";
        Err(Error::new(option, why).hint("leave it out, or leave out --fuse"))
    })
}

/// Fails for an option where there is no overlay: one layer without changes is bound.
pub(crate) fn options_of_bind(layers: &Layers) -> Result<()> {
    let is_bind = layers.changes == Changes::ReadOnly && layers.lower.len() == 1;
    layers.options.first().filter(|_| is_bind).map_or(Ok(()), |option| {
        let why = "one layer without changes is shown as it is, without an overlay";
        Err(Error::new(option, why).hint("leave it out, or add -u or --tmp"))
    })
}

/// Names with colons between them, as mount(8) has them.
fn several(path: &Path, error: Error) -> Error {
    let names: Vec<_> = path.as_os_str().as_bytes().split(|byte| *byte == b':').collect();
    let is_there = |name: &&[u8]| Path::new(OsStr::from_bytes(name)).exists();
    if error.errno() != Some(Errno::ENOENT) || names.len() < 2 || !names.iter().all(is_there) {
        return error;
    }
    let words: Vec<_> =
        names.iter().map(|name| format!("-l {}", OsStr::from_bytes(name).display())).collect();
    error.hint(format!("each layer has its own -l: {}", words.join(" ")))
}

/// A size that was taken for the target, which it would be for an option that always has a value.
fn size(layers: &Layers, target: &Path, error: Error) -> Error {
    let is_size = |text: &str| text.parse::<MemorySize>().is_ok();
    let usual = matches!(layers.changes, Changes::Tmp { size } if size.is_usual());
    match target.to_str().filter(|text| usual && is_size(text)) {
        Some(size) if error.errno() == Some(Errno::ENOENT) => error.hint(format!("a size is --tmp={size}")),
        _ => error,
    }
}

/// Checks that a directory is there.
pub(crate) fn directory(role: &'static str, path: &Path) -> Result<()> {
    Layer::find(role, path).remedy(Errno::ENOENT, MKDIR).map(drop)
}

fn upper_and_work(lowers: &[Layer], upper: &Path, work: Option<&Path>) -> Result<()> {
    let upper = Layer::find("upper layer", upper).remedy(Errno::ENOENT, MKDIR)?;
    for lower in lowers {
        apart(&upper, lower)?;
    }
    // Its default is made later, beside UPPER.
    let default = default_work(upper.path);
    let beside = default.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let work = match work {
        Some(work) => Layer::find("work directory", work).remedy(Errno::ENOENT, MKDIR)?,
        None if default.exists() => Layer::find("work directory", &default)?,
        None => Layer::find("work directory", beside)?.named(&default),
    };
    if work.device != upper.device {
        return Err(Error::new(work.shown(), format!("on another filesystem than {}", upper.shown()))
            .hint("name an empty directory on the same one with -w"));
    }
    apart(&work, &upper)?;
    lowers.iter().try_for_each(|lower| apart(&work, lower))?;
    not_volatile(&upper.shown(), work.path)?;
    if work.path.exists() && !only_leftovers(work.path) {
        return Err(Error::new(work.shown(), "not empty").hint("name an empty directory with -w"));
    }
    Ok(())
}

/// Fails for an upper layer that the kernel does not take again without a word from the user.
pub(crate) fn not_volatile(upper: &str, work: &Path) -> Result<()> {
    let mark = work.join("work/incompat/volatile");
    if mark.exists() {
        let why = "it was mounted with --volatile, and may be incomplete since a crash";
        return Err(Error::new(upper.to_owned(), why)
            .hint(format!("if there was none: rm -r {}", mark.with_file_name("").display())));
    }
    Ok(())
}

/// Whether a work directory holds nothing but what the kernel leaves there: it removes all that is
/// in `work` (`ovl_workdir_create()` in fs/overlayfs/super.c). One that may not be read is not ours to judge.
fn only_leftovers(dir: &Path) -> bool {
    let all = |dir: &Path, is_left: &dyn Fn(&OsStr) -> bool| {
        fs::read_dir(dir).is_ok_and(|entries| entries.flatten().all(|entry| is_left(&entry.file_name())))
            || fs::read_dir(dir).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    let temporary = |name: &OsStr| name.as_bytes().starts_with(b"#") || name == "incompat";
    let probe = |name: &OsStr| name.as_bytes().starts_with(PROBE.as_bytes());
    all(dir, &|name| name == "index" || probe(name) || name == "work" && all(&dir.join(name), &temporary))
}

/// Fails for those that the kernel refuses with ELOOP: the same directory, by any name, or one inside
/// another. A mount inside a layer is none of that layer.
fn lowers_apart(lowers: &[Layer]) -> Result<()> {
    let mut by_inode = HashMap::new();
    // By bytes: a path is compared part by part, which for hundreds of layers takes longer than their mount.
    let mut by_path = HashMap::new();
    for one in lowers {
        if let Some(other) = by_inode.insert((one.device, one.inode), one) {
            return problem(one, other, "the same as");
        }
        by_path.insert((one.mount, one.real.as_os_str().as_bytes()), one);
    }
    for inner in lowers {
        let above = inner.real.ancestors().skip(1);
        let mut outer = above.filter_map(|dir| by_path.get(&(inner.mount, dir.as_os_str().as_bytes())));
        if let Some(outer) = outer.next() {
            return problem(inner, outer, "inside");
        }
    }
    Ok(())
}

fn problem(inner: &Layer, outer: &Layer, how: &str) -> Result<()> {
    Err(Error::new(inner.shown(), format!("it is {how} {}", outer.shown()))
        .hint("layers must lie beside each other"))
}

/// Fails if one lies in the other, where changes to one would change the other behind the
/// overlay's back ("Changes to underlying filesystems" in overlayfs.rst).
fn apart(one: &Layer, other: &Layer) -> Result<()> {
    if one.real == other.real {
        problem(one, other, "the same as")
    } else if one.real.starts_with(&other.real) {
        problem(one, other, "inside")
    } else if other.real.starts_with(&one.real) {
        problem(other, one, "inside")
    } else {
        Ok(())
    }
}

/// The directory at a path without links and without `..`, which is real as it is: one call in place of one
/// for each part of it.
fn plain(path: &Path) -> Option<(OwnedFd, PathBuf)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let path = std::path::absolute(path).ok()?;
    let dir = openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).ok()?;
    Some((dir, path))
}

struct Layer<'a> {
    role: &'static str,
    path: &'a Path,
    real: PathBuf,
    device: u64,
    inode: u64,
    /// The mount that it is on, if the kernel tells (Linux 5.8).
    mount: u64,
}

impl<'a> Layer<'a> {
    fn find(role: &'static str, path: &'a Path) -> Result<Self> {
        let doing = || format!("{role} {}", path.display());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let (dir, real) = match plain(path) {
            Some((dir, real)) => (dir, real),
            None => {
                (openat(CWD, path, flags, Mode::empty()).doing(doing)?, fs::canonicalize(path).doing(doing)?)
            }
        };
        let found = statx(&dir, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID);
        let found = found.doing(doing)?;
        let device = makedev(found.stx_dev_major, found.stx_dev_minor);
        Ok(Self { role, path, real, device, inode: found.stx_ino, mount: found.stx_mnt_id })
    }

    /// A directory that will be made in this one.
    fn named(self, path: &'a Path) -> Self {
        let name = path.file_name().unwrap_or_default();
        Self { path, real: self.real.join(name), ..self }
    }

    fn shown(&self) -> String {
        format!("{} {}", self.role, self.path.display())
    }
}
