//! An entry, from what was looked up for it to what is in the new root.

use std::{
    fs::File,
    io::Read,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use chain::{
    Doing, Launch, Remedy, Result,
    mount::{Attributes, Filesystem, MountAttrFlags, attach, copy_below, is_mount_root},
    take_fd,
};
use nix::errno::Errno;
use rustix::{
    fs::{FileType, fstat, readlinkat, symlinkat},
    io,
};

use crate::{
    bind::Bind,
    cgroup,
    details::Details,
    dev,
    entry::{Content, Dir, Entry, Symlink, Text, Tmpfs},
    net_files,
    place::READ_ONLY,
    proc,
    root::NewRoot,
    source::Source,
    sysfs,
};

/// An entry with what was looked up for it before anything was made.
#[derive(Debug)]
pub(crate) enum Item {
    Bind(Bind, Source),
    File {
        text: Text,
        content: Vec<u8>,
        /// What the content was read from, which stays open: no file of ours is to get its number, for that
        /// may be one that NEXT is to get.
        _given: Option<File>,
    },
    NetFiles(net_files::Copied),
    Cgroup(PathBuf, Vec<cgroup::Tree>),
    Proc(PathBuf),
    ProcFull(PathBuf),
    Sysfs(PathBuf),
    Dev(PathBuf),
    Tmpfs(Tmpfs),
    Symlink(Symlink),
    Dir(Dir),
    Mask(PathBuf),
    RemountRo(PathBuf),
}

impl Item {
    /// Looks up what the entry needs.
    pub(crate) fn prepare(entry: Entry, details: &Details, launch: &Launch) -> Result<Self> {
        Ok(match entry {
            Entry::Bind(bind) => {
                let source = Source::prepare(&bind, details.attributes())?;
                Self::Bind(bind, source)
            }
            Entry::File(text) => {
                let (content, given) = read(&text.content)?;
                Self::File { text, content, _given: given }
            }
            Entry::NetFiles => Self::NetFiles(net_files::read()?),
            Entry::Cgroup(place) => Self::Cgroup(place, cgroup::trees()?),
            Entry::Proc(place) if details.proc_full => Self::ProcFull(place),
            Entry::Proc(place) => Self::Proc(place),
            Entry::Sysfs(place) => {
                sysfs::check(launch)?;
                Self::Sysfs(place)
            }
            Entry::Dev(place) => Self::Dev(place),
            Entry::Tmpfs(tmpfs) => Self::Tmpfs(tmpfs),
            Entry::Symlink(link) => Self::Symlink(link),
            Entry::Dir(dir) => Self::Dir(dir),
            Entry::Mask(path) => Self::Mask(path),
            Entry::RemountRo(path) => Self::RemountRo(path),
        })
    }

    /// Puts it into the new root.
    pub(crate) fn put(&mut self, root: &mut NewRoot) -> Result<()> {
        match self {
            Self::Bind(bind, source) => source.tree().map_or(Ok(()), |tree| bind_on(root, &tree, &bind.to)),
            Self::File { text, content, .. } => {
                let mode = text.mode.unwrap_or(0o644);
                let file = root.memory()?.file(content, mode, text.read_only, &text.to)?;
                bind_on(root, &file, &text.to)
            }
            Self::NetFiles(copied) => net_files::show(copied, root),
            Self::Cgroup(place, trees) => cgroup::mount(trees, root, place),
            Self::Proc(place) => proc::mount_masked(root, place),
            Self::ProcFull(place) => proc::mount_full(root, place).map(drop),
            Self::Sysfs(place) => sysfs::mount(root, place),
            Self::Dev(place) => dev::mount(root, place),
            Self::Tmpfs(tmpfs) => mount_tmpfs(root, tmpfs),
            Self::Symlink(link) => make_link(root, link),
            Self::Dir(dir) => make_dir(root, dir),
            Self::Mask(path) => mask(root, path),
            Self::RemountRo(path) => remount_read_only(root, path),
        }
    }
}

/// What is in a file, from the command line or from what the caller has open.
fn read(content: &Content) -> Result<(Vec<u8>, Option<File>)> {
    match content {
        Content::Literal(text) => Ok((text.as_bytes().to_owned(), None)),
        Content::Fd(number) => {
            let doing = || format!("file @{number}");
            let mut file = File::from(take_fd(*number).doing(doing)?);
            let mut content = Vec::new();
            file.read_to_end(&mut content).doing(doing)?;
            Ok((content, Some(file)))
        }
    }
}

/// Mounts on a file what is a file, and on a directory what is a directory.
fn bind_on(root: &NewRoot, tree: &OwnedFd, to: &Path) -> Result<()> {
    const KINDS: &str = "a directory is bound on a directory, and a file on a file";
    let place = if is_dir(tree).doing(|| format!("bind on {}", to.display()))? {
        root.dir(to)
    } else {
        root.file(to)
    };
    place.and_then(|place| attach(tree, place, to)).remedy(Errno::ENOTDIR, KINDS).remedy(Errno::EISDIR, KINDS)
}

fn is_dir(file: &OwnedFd) -> io::Result<bool> {
    fstat(file).map(|found| FileType::from_raw_mode(found.st_mode).is_dir())
}

fn mount_tmpfs(root: &NewRoot, tmpfs: &Tmpfs) -> Result<()> {
    let mut made = Filesystem::new("tmpfs")?;
    if let Some(size) = tmpfs.size {
        made = made.of_size(size.0)?;
    }
    if let Some(mode) = tmpfs.mode {
        made = made.set("mode", &format!("{mode:o}"))?;
    }
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    attach(made.mount(attributes)?, root.dir(&tmpfs.to)?, &tmpfs.to)
}

/// Makes a link, unless it is there already, from another time in the same directory.
fn make_link(root: &NewRoot, Symlink { target, link }: &Symlink) -> Result<()> {
    let (above, name) = root.above(link)?;
    let mut made = symlinkat(target.as_os_str(), &above, name);
    if made == Err(io::Errno::EXIST)
        && readlinkat(&above, name, Vec::new()).is_ok_and(|found| found.as_bytes() == target.as_bytes())
    {
        made = Ok(());
    }
    made.doing(|| format!("make link {} in the new root", link.display()))
        .remedy(Errno::EROFS, READ_ONLY)
        .remedy(Errno::EEXIST, "something else is there")
}

fn make_dir(root: &NewRoot, dir: &Dir) -> Result<()> {
    root.dir(&dir.to)?;
    dir.mode.map_or(Ok(()), |mode| root.set_mode(&dir.to, mode))
}

fn mask(root: &NewRoot, path: &Path) -> Result<()> {
    let place = root.existing(path)?;
    let memory = root.memory()?;
    let dir = is_dir(&place).doing(|| format!("mask {}", path.display()))?;
    attach(if dir { memory.empty_dir()? } else { memory.empty_file()? }, place, path)
}

/// Makes a mount read-only, or mounts a read-only copy of what is none; with all that is mounted below it.
fn remount_read_only(root: &NewRoot, path: &Path) -> Result<()> {
    let doing = || format!("make {} in the new root read-only", path.display());
    let read_only = Attributes { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    let place = root.existing(path)?;
    if is_mount_root(&place) {
        return read_only.apply(place, true).doing(doing);
    }
    let copy = copy_below(&place, "", true).doing(doing)?;
    read_only.apply(&copy, true).doing(doing)?;
    attach(copy, place, path)
}
