//! The whole tree of the host as NEXT sees it, mount by mount, with the changes of each mount going elsewhere.
//!
//! A layer does not show what is mounted below it, so each mount gets an overlay of its own. What is no data
//! stays as it is.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use chain::{
    Doing, Error, Launch, Link, Result,
    mount::{Filesystem, MountAttrFlags, QUIET, advice, attach, copy_tree, make_read_only, open_dir, pivot},
};
use nix::{errno::Errno, sched::CloneFlags, unistd::chdir};
use rustix::{
    fs::{
        FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags, fstat, fstatvfs, mkdirat, mknodat, openat2,
        symlinkat,
    },
    io,
};

use crate::{
    args::{Changes, options_here},
    check,
    in_use::unshared,
    memory::Memory,
    options::{MountOptions, Pair},
    overlay::{self, Lower, Parts, Upper},
    pieces::{self, Piece, STAYING, What},
    store,
};

/// NEXT in a copy of the host's tree that it can change.
#[derive(Debug)]
pub struct Whole {
    changes: Changes,
    options: MountOptions,
}

impl Whole {
    /// A link whose changes go to memory, or to a directory that is on each mount's behalf given another below
    /// it.
    pub fn new(changes: Changes, options: MountOptions) -> Self {
        Self { changes, options }
    }
}

impl Link for Whole {
    fn name(&self) -> &'static str {
        "ovl-mount"
    }

    fn words(&self) -> Vec<OsString> {
        let mut words = vec!["--whole".into()];
        words.extend(self.changes.words());
        words.extend(self.options.words());
        words
    }

    fn steps(&self) -> Vec<String> {
        vec![
            "make a mount namespace of its own, with all mounts private".into(),
            format!("mount an overlay over / and over each mount below it, {}", self.changes),
            format!("show {} and filesystems of the kernel's own as they are", STAYING.join(", ")),
            "make that the root".into(),
        ]
    }

    fn prepare(&mut self, launch: &mut Launch) -> Result<()> {
        launch.namespaces |= CloneFlags::CLONE_NEWNS;
        match &self.changes {
            Changes::Upper { upper, .. } => {
                check::directory("upper layer", upper)?;
                let doing = || format!("upper layer {}", upper.display());
                if pieces::stays(&fs::canonicalize(upper).doing(doing)?) {
                    let why = format!(
                        "{} are shown as they are, so that the command would change its own changes",
                        STAYING.join(", ")
                    );
                    return Err(Error::new(doing(), why).hint("name a directory elsewhere"));
                }
                Ok(())
            }
            Changes::Tmp { .. } | Changes::ReadOnly => Ok(()),
        }
    }

    fn advice(&self, namespaces: CloneFlags, errno: Errno) -> Option<String> {
        advice(namespaces, errno, "user,mnt")
    }

    fn enter(&mut self) -> Result<()> {
        let options = options_here(&self.options, &self.changes);
        let here = env::current_dir().doing(|| "find the working directory".into())?;
        let mut tree = Tree { changes: &self.changes, options, root: None, skeletons: BTreeMap::new() };
        for piece in pieces::all(chain::in_user_namespace())? {
            tree.add(&piece).map_err(|error| error.within(&piece.path.display().to_string()))?;
        }
        tree.hide_changes()?;
        tree.become_root()?;
        chdir(&here).doing(|| format!("go back to {}", here.display()))
    }
}

/// The tree that is made.
struct Tree<'a> {
    changes: &'a Changes,
    options: Vec<Pair>,
    root: Option<OwnedFd>,
    /// Directories that are put together from their entries, open.
    skeletons: BTreeMap<PathBuf, OwnedFd>,
}

impl Tree<'_> {
    fn add(&mut self, piece: &Piece) -> Result<()> {
        let path = piece.path.as_path();
        let is_dir = !matches!(piece.what, What::File | What::Link(_));
        if let (Some(above), Some(name)) =
            (path.parent().and_then(|above| self.skeletons.get(above)), path.file_name())
        {
            let made = match &piece.what {
                What::Link(target) => symlinkat(target, above, name),
                What::File => mknodat(above, name, FileType::RegularFile, Mode::from(0o400), 0),
                _ => mkdirat(above, name, Mode::from(0o700)),
            };
            made.doing(|| "make its place".into())?;
        }
        let mount = match &piece.what {
            What::Link(_) => return Ok(()),
            What::Overlay => self.overlay(path)?,
            What::Skeleton => {
                let mount = skeleton(path)?;
                self.skeletons.insert(path.into(), mount.try_clone().doing(|| "copy a descriptor".into())?);
                mount
            }
            What::Staying => copy_tree(path, true)?,
            What::Closed => {
                let mount = copy_tree(path, true)?;
                make_read_only(&mount, true)?;
                mount
            }
            What::File => read_only(path)?,
        };
        let Some(root) = &self.root else {
            // On what is the root by now, which goes when this becomes it.
            attach(&mount, open_dir(path).doing(|| "open it".into())?, path)?;
            self.root = Some(mount);
            return Ok(());
        };
        match place(root, path, is_dir) {
            // A command of an earlier time has removed it.
            Err(io::Errno::NOENT | io::Errno::NOTDIR) => Ok(()),
            place => attach(mount, place.doing(|| "find its place".into())?, path),
        }
    }

    /// What shows a directory of the host, and takes its changes.
    fn overlay(&self, path: &Path) -> Result<OwnedFd> {
        let open = || open_dir(path).doing(|| "open it".into());
        let attributes = attributes(&open()?)?;
        let root = open_dir(Path::new("/")).doing(|| "open /".into())?;
        let parts = |dir, upper, detached| Parts {
            lowers: vec![Lower { dir, shown: format!("lower layer {}", path.display()) }],
            upper: Some(upper),
            options: self.options.clone(),
            detached,
            attributes,
            scaffold: OnceCell::new(),
        };
        match self.changes {
            Changes::ReadOnly => read_only(path),
            Changes::Tmp { size } => {
                let in_memory = || {
                    let lower = open()?;
                    let memory = Memory::like(&lower, *size)?;
                    let upper = Upper { dir: memory.upper, work: memory.work };
                    Ok(parts(lower, upper, vec![memory.mount]))
                };
                overlay::mount(in_memory, &root)
            }
            // The upper may lie in the lower, as it must on a machine with one filesystem, if nobody changes it
            // through the overlay.
            Changes::Upper { upper: store, .. } => {
                let lower = open()?;
                let upper = store::upper(store, path, &lower)?;
                let mut parts = parts(lower, upper, Vec::new());
                let shown = store::directory(store, path).join("upper");
                unshared(&shown, &mut parts, &root)
            }
        }
    }

    /// What changes go to is not for NEXT to see: behind its own back it would change the changes.
    fn hide_changes(&self) -> Result<()> {
        let (Changes::Upper { upper, .. }, Some(root)) = (self.changes, &self.root) else { return Ok(()) };
        let path = fs::canonicalize(upper).doing(|| format!("upper layer {}", upper.display()))?;
        if pieces::stays(&path) {
            return Ok(());
        }
        let place = match place(root, &path, true) {
            Err(io::Errno::NOENT | io::Errno::NOTDIR) => return Ok(()),
            place => place.doing(|| format!("find {}", path.display()))?,
        };
        let empty = Filesystem::new("tmpfs")?.set("mode", "755")?.set("size", "4k")?;
        attach(empty.mount(QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY)?, place, &path)
    }

    fn become_root(self) -> Result<()> {
        for mount in self.skeletons.into_values() {
            make_read_only(&mount, false)?;
        }
        self.root.map_or(Ok(()), |root| pivot(root, 0))
    }
}

fn read_only(path: &Path) -> Result<OwnedFd> {
    let mount = copy_tree(path, false)?;
    make_read_only(&mount, false)?;
    Ok(mount)
}

/// An empty directory with the mode of `path`.
fn skeleton(path: &Path) -> Result<OwnedFd> {
    let dir = open_dir(path).doing(|| "open it".into())?;
    let mode = fstat(&dir).doing(|| "look at it".into())?.st_mode & 0o7777;
    Filesystem::new("tmpfs")?.set("mode", &format!("{mode:o}"))?.mount(attributes(&dir)?)
}

/// What the host's mount does not allow, the one over it does not allow either.
fn attributes(dir: &OwnedFd) -> Result<MountAttrFlags> {
    let found = fstatvfs(dir).doing(|| "ask for its mount's attributes".into())?.f_flag;
    let pairs = [
        (StatVfsMountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (StatVfsMountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (StatVfsMountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        // ST_NOSYMFOLLOW of include/linux/statfs.h.
        (StatVfsMountFlags::from_bits_retain(0x2000), MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
    ];
    let set = pairs.into_iter().filter(|(flag, _)| found.contains(*flag)).map(|(_, attribute)| attribute);
    Ok(set.collect())
}

fn place(root: &OwnedFd, path: &Path, is_dir: bool) -> io::Result<OwnedFd> {
    let mut flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    flags.set(OFlags::DIRECTORY, is_dir);
    openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
}
