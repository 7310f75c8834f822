//! The overlay itself, as a mount that is attached nowhere yet.

use std::{
    cell::OnceCell,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use chain::{
    Doing, Error, Result,
    kernel_log::KernelLog,
    mount::{Filesystem, MountAttrFlags, copy_tree, make_read_only, open_dir},
};
use nix::errno::Errno;
use rustix::fs::fstatfs;

use crate::{
    args::{Changes, Layers, options_here},
    image::{self, Image},
    in_use::unshared,
    legacy::{self, Scaffold},
    mapped::{Owners, check_upper},
    memory::Memory,
    options::Pair,
    work::WorkDir,
};

/// Options that mount(8) gives to the mount, not to the filesystem.
const MOUNTS: [&str; 14] = [
    "atime",
    "bind",
    "defaults",
    "dev",
    "exec",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "nosuid",
    "relatime",
    "remount",
    "strictatime",
    "suid",
];

/// OVERLAYFS_SUPER_MAGIC in <linux/magic.h>.
const OVERLAY_MAGIC: i64 = 0x794c_7630;

/// What an overlay is made of, all of it open.
pub(crate) struct Parts {
    /// The highest first.
    pub(crate) lowers: Vec<Lower>,
    pub(crate) upper: Option<Upper>,
    pub(crate) options: Vec<Pair>,
    /// The mounts that layers are on and that are attached nowhere.
    pub(crate) detached: Vec<OwnedFd>,
    /// Of the mount.
    pub(crate) attributes: MountAttrFlags,
    /// Where an old kernel has those mounts attached.
    pub(crate) scaffold: OnceCell<Scaffold>,
}

/// A lower layer, and what it is called in errors.
pub(crate) struct Lower {
    pub(crate) dir: OwnedFd,
    pub(crate) shown: String,
}

pub(crate) struct Upper {
    pub(crate) dir: OwnedFd,
    pub(crate) work: OwnedFd,
}

/// A new overlay.
pub(crate) struct Made {
    pub(crate) mount: OwnedFd,
    /// The kernel has said, about this mount or another that was made just now, that its upper is in use.
    pub(crate) warned_of_use: bool,
}

impl Parts {
    /// Opens what `layers` names, in the mount namespace that the overlay will be in: the kernel takes no layer
    /// from another one. The lower layer may be open already. Gives the work directory too, if there is one on disk.
    pub(crate) fn open(
        layers: &Layers,
        lower: Option<&OwnedFd>,
        owners: Option<Owners>,
    ) -> Result<(Self, Option<WorkDir>)> {
        let mut detached = Vec::new();
        let open = |path: &PathBuf| match lower {
            Some(dir) => {
                let shown = shown(path);
                Ok(Lower { dir: dir.try_clone().doing(|| shown.clone())?, shown })
            }
            None => open_lower(path, owners, &mut detached),
        };
        let lowers: Vec<_> = layers.lower.iter().map(open).collect::<Result<_>>()?;
        let mut attributes = MountAttrFlags::empty();
        let mut work_dir = None;
        let upper = match &layers.changes {
            Changes::ReadOnly => {
                attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
                None
            }
            Changes::Tmp { size } => {
                let memory = Memory::like(&lowers[0].dir, *size)?;
                detached.push(memory.mount);
                Some(Upper { dir: memory.upper, work: memory.work })
            }
            Changes::Upper { upper, work } => {
                let shown = || format!("upper layer {}", upper.display());
                let dir = open_dir(upper).doing(shown)?;
                let made = WorkDir::open(upper, work.as_deref())?;
                let work = made.dir.try_clone().doing(shown)?;
                work_dir = Some(made);
                Some(Upper { dir, work })
            }
        };
        let options = options_here(&layers.options, &layers.changes);
        let scaffold = OnceCell::new();
        Ok((Self { lowers, upper, options, detached, attributes, scaffold }, work_dir))
    }

    /// The layers' and the work directory.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        let upper = self.upper.iter().flat_map(|upper| [&upper.dir, &upper.work]);
        self.lowers.iter().map(|lower| &lower.dir).chain(upper)
    }
}

/// Makes the mount, which will be on `place`.
pub(crate) fn make(
    layers: &Layers,
    lower: Option<&OwnedFd>,
    owners: Option<Owners>,
    place: &OwnedFd,
) -> Result<OwnedFd> {
    match (&layers.changes, layers.lower.as_slice()) {
        // The kernel wants two lower layers where there is no upper; one is a read-only bind.
        (Changes::ReadOnly, [path]) => {
            let (mut parts, _) = Parts::open(layers, lower, owners)?;
            let mount = match parts.detached.pop() {
                Some(detached) => detached,
                None => copy_tree(path, false)?,
            };
            make_read_only(&mount, false)?;
            Ok(mount)
        }
        (Changes::Upper { upper, .. }, _) => {
            let (mut parts, work) = Parts::open(layers, lower, owners)?;
            let checked = match (owners, &parts.upper) {
                (Some(owners), Some(opened)) => check_upper(owners.map, &opened.dir, upper),
                _ => Ok(()),
            };
            let made = checked.and_then(|()| unshared(upper, &mut parts, place));
            made.inspect_err(|_| work.into_iter().for_each(WorkDir::unmake))
        }
        _ => mount(|| Parts::open(layers, lower, owners).map(|(parts, _)| parts), place),
    }
}

fn shown(lower: &Path) -> String {
    format!("lower layer {}", lower.display())
}

fn open_lower(lower: &Path, owners: Option<Owners>, detached: &mut Vec<OwnedFd>) -> Result<Lower> {
    let shown = shown(lower);
    let doing = || shown.clone();
    let dir = match open_dir(lower) {
        Err(error @ rustix::io::Errno::NOTDIR) => {
            let image = Image::open(lower)?.ok_or(error).doing(doing)?;
            let mount = image::mount(&image).map_err(|error| error.within(&shown))?;
            if let Some(owners) = owners {
                owners.map(&mount, &shown)?;
            }
            detached.push(mount.try_clone().doing(doing)?);
            mount
        }
        opened => {
            let dir = opened.doing(doing)?;
            match owners {
                Some(owners) => {
                    let copy = owners.copy(&dir, &shown)?;
                    detached.push(copy.try_clone().doing(doing)?);
                    copy
                }
                None => dir,
            }
        }
    };
    Ok(Lower { dir, shown })
}

/// Whether the kernel takes layers by descriptor, and so those on mounts that are attached nowhere (Linux 6.13), if there
/// is to be an overlay.
pub(crate) fn takes_descriptors(layers: &Layers) -> Result<bool> {
    if layers.changes == Changes::ReadOnly && layers.lower.len() == 1 {
        return Ok(true);
    }
    let root = open_dir(Path::new("/")).doing(|| "open /".into())?;
    Ok(Filesystem::new("overlay")?.set_fd("lowerdir+", root).is_ok())
}

/// Mounts what `open` opens. The kernel's log, which takes longer to open than most else, is listened to only if that
/// fails, when it is tried again with what was opened anew: overlayfs leaves its marks in a work directory.
pub(crate) fn mount(open: impl Fn() -> Result<Parts>, place: &OwnedFd) -> Result<OwnedFd> {
    by_descriptors(&open()?).or_else(|_| mount_watched(&open()?, place).map(|made| made.mount))
}

/// Mounts what is open, by descriptors, or where the kernel has no such way by the old one, and listens to what the
/// kernel says.
pub(crate) fn mount_watched(parts: &Parts, place: &OwnedFd) -> Result<Made> {
    // Most of what overlayfs says it says in the kernel's log only.
    let log = KernelLog::from_now();
    let made = match by_descriptors(parts) {
        // Linux 6.12 and older.
        Err(Failure::OldKernel) => legacy::mount(parts, place),
        Err(Failure::Is(error)) => Err(error),
        Ok(mount) => Ok(mount),
    };
    let explain = |error: Error, log: KernelLog| match log.last_word("overlayfs: ") {
        Some(why) => error.words(why),
        None => error,
    };
    match made {
        Err(error) => Err(advise(explain(error, log), parts)),
        Ok(mount) => {
            let warns = |text: String| text.contains("in-use as upperdir/workdir");
            let warned_of_use = parts.upper.is_some() && log.messages().any(warns);
            Ok(Made { mount, warned_of_use })
        }
    }
}

enum Failure {
    /// It takes no layers by descriptor.
    OldKernel,
    Is(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Is(error)
    }
}

fn by_descriptors(parts: &Parts) -> Result<OwnedFd, Failure> {
    // The word in the first column of mount(8)'s list.
    let mut overlay = Filesystem::new("overlay")?.set("source", "overlay")?;
    for (at, lower) in parts.lowers.iter().enumerate() {
        // One at a time and by descriptor, so that the number and the names do not matter.
        overlay = match overlay.set_fd("lowerdir+", &lower.dir) {
            // EINVAL from Linux 6.5 on, where options are parsed one by one.
            Err(error) if at == 0 && matches!(error.errno(), Some(Errno::EOPNOTSUPP | Errno::EINVAL)) => {
                return Err(Failure::OldKernel);
            }
            done => done.map_err(|error| error.within(&lower.shown))?,
        };
    }
    if let Some(upper) = &parts.upper {
        overlay = overlay.set_fd("upperdir", &upper.dir)?.set_fd("workdir", &upper.work)?;
    }
    for (name, value) in &parts.options {
        overlay = match value {
            Some(value) => overlay.set(name, value)?,
            None => overlay.flag(name)?,
        };
    }
    Ok(overlay.mount(parts.attributes)?)
}

/// What to do about a rule of overlayfs that was broken, as far as it can be seen.
fn advise(error: Error, parts: &Parts) -> Error {
    if error.errno() == Some(Errno::EPERM) && chain::in_user_namespace() {
        return error.hint("before Linux 5.11 only root makes overlays; --fuse makes one by fuse-overlayfs");
    }
    if error.errno() != Some(Errno::EINVAL) {
        return error;
    }
    if parts.options.iter().any(|(name, _)| MOUNTS.contains(&name.as_str())) {
        return error.hint("-o takes options of overlays, not those of mount(8)");
    }
    if parts.upper.as_ref().is_some_and(|upper| is_on_overlay(&upper.dir)) {
        return error.hint("changes cannot go to an overlay; use --tmp, or a directory of a disk");
    }
    if parts.lowers.iter().any(|lower| is_on_overlay(&lower.dir)) {
        return error.hint("overlays lie on each other two deep at most");
    }
    if parts.options.iter().any(|(name, _)| name == "userxattr") && parts.options.iter().any(needs_trusted) {
        return error.hint(
            "--redirect-dir and --metacopy are not to be had with --userxattr, which a user namespace needs",
        );
    }
    if chain::in_user_namespace() {
        return error
            .hint("in a user namespace no layer may be a directory in which something else is mounted");
    }
    error
}

/// Whether the kernel wants trusted.overlay.* for an option: in marks that a command in the overlay can write on its
/// lower layers, a rename would lead to any file (`ovl_fs_params_verify()` in fs/overlayfs/params.c).
fn needs_trusted((name, value): &Pair) -> bool {
    let value = value.as_deref().unwrap_or_default();
    name == "redirect_dir" && value != "nofollow" || name == "metacopy" && value == "on"
}

fn is_on_overlay(dir: impl AsFd) -> bool {
    fstatfs(dir).is_ok_and(|found| found.f_type == OVERLAY_MAGIC)
}
