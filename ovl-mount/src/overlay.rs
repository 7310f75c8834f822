//! The overlay itself, as a mount that is attached nowhere yet.

use std::{
    ffi::OsString,
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
};

use chain::{
    Doing, Error, Remedy, Result,
    kernel_log::KernelLog,
    mount::{Filesystem, MountAttrFlags, copy_tree, make_read_only, open_dir},
};
use nix::errno::Errno;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid, chmodat, chownat, fstat, mkdirat, openat};

use crate::args::{Changes, Layers};

/// The sibling of `upper` that is the work directory if none is named: `UPPER.work`.
pub(crate) fn default_work(upper: &Path) -> PathBuf {
    // `.` and `..` have no name of their own.
    let real = upper.file_name().is_none().then(|| fs::canonicalize(upper).ok()).flatten();
    let upper = real.as_deref().unwrap_or(upper);
    // Through the components, so that `dir/` becomes `dir.work`, not `dir/.work`.
    let mut name: OsString = upper.components().collect::<PathBuf>().into();
    name.push(".work");
    name.into()
}

/// Makes the mount. Descriptors are opened here, in the mount namespace that it will be in: the
/// kernel takes no layer from another one.
pub(crate) fn make(layers: &Layers) -> Result<OwnedFd> {
    match (&layers.changes, layers.lower.as_slice()) {
        // The kernel wants two lower layers where there is no upper; one is a read-only bind.
        (Changes::ReadOnly, [lower]) => {
            let mount = copy_tree(lower, false)?;
            make_read_only(&mount, false)?;
            Ok(mount)
        }
        (Changes::ReadOnly, _) => overlay(layers, MountAttrFlags::MOUNT_ATTR_RDONLY, Ok),
        (Changes::Tmp, lower) => {
            let memory = Memory::like(&lower[0])?;
            overlay(layers, MountAttrFlags::empty(), |overlay| {
                overlay.set_fd("upperdir", &memory.upper)?.set_fd("workdir", &memory.work)
            })
        }
        (Changes::Upper { upper, work }, _) => {
            let work = WorkDir::open(upper, work.as_deref())?;
            let upper_dir = open_dir(upper).doing(|| format!("upper layer {}", upper.display()))?;
            let mount = unshared(upper, || {
                overlay(layers, MountAttrFlags::empty(), |overlay| {
                    overlay.set_fd("upperdir", &upper_dir)?.set_fd("workdir", &work.dir)
                })
            });
            if mount.is_err() {
                work.unmake();
            }
            mount
        }
    }
}

/// Fails if another mount has the upper or the work directory, which the kernel allows but says in its
/// log (`ovl_report_in_use()` in fs/overlayfs/super.c). Where that cannot be read nothing is known. A
/// message may be about a mount of somebody else, so it must come again.
fn unshared(upper: &Path, make: impl Fn() -> Result<OwnedFd>) -> Result<OwnedFd> {
    for _ in 0..4 {
        let log = KernelLog::from_now();
        let mount = make()?;
        if !log.messages().any(|text| text.contains("in-use as upperdir/workdir")) {
            return Ok(mount);
        }
    }
    Err(Error::new(
        format!("upper layer {}", upper.display()),
        "another mount uses it, or its work directory",
    ))
}

fn overlay(
    layers: &Layers,
    attributes: MountAttrFlags,
    add_upper: impl FnOnce(Filesystem) -> Result<Filesystem>,
) -> Result<OwnedFd> {
    // The word in the first column of mount(8)'s list.
    let mut overlay = Filesystem::new("overlay")?.set("source", "overlay")?;
    for lower in &layers.lower {
        let shown = || format!("lower layer {}", lower.display());
        let dir = open_dir(lower).doing(shown)?;
        // One at a time and by descriptor, so that the number and the names do not matter.
        overlay = overlay
            .set_fd("lowerdir+", dir)
            .map_err(|error| error.within(&shown()))
            .remedy(Errno::EINVAL, "layers by descriptor need Linux 6.13")?;
    }
    let overlay = add_upper(overlay)?;
    // Most of what overlayfs refuses it explains in the kernel's log only.
    let log = KernelLog::from_now();
    overlay.mount(attributes).map_err(|error| match log.last_word("overlayfs: ") {
        Some(why) => error.words(why),
        None => error,
    })
}

/// An upper and a work directory in memory.
struct Memory {
    /// A mount that is attached nowhere lives as long as its descriptor.
    _mount: OwnedFd,
    upper: OwnedFd,
    work: OwnedFd,
}

impl Memory {
    /// The root of an overlay has the owner and the mode of its upper directory: those of `lower`.
    fn like(lower: &Path) -> Result<Self> {
        let doing = || "make a place in memory for changes".to_owned();
        let memory = Filesystem::new("tmpfs")?.set("mode", "700")?.mount(MountAttrFlags::empty())?;
        let below = |name| {
            mkdirat(&memory, name, Mode::from(0o700)).doing(doing)?;
            openat(&memory, name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).doing(doing)
        };
        let (upper, work) = (below("upper")?, below("work")?);
        let shown = || format!("lower layer {}", lower.display());
        let stat = fstat(open_dir(lower).doing(shown)?.as_fd()).doing(shown)?;
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(&memory, "upper", Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW).doing(doing)?;
        chmodat(&memory, "upper", Mode::from_raw_mode(stat.st_mode), AtFlags::empty()).doing(doing)?;
        Ok(Self { _mount: memory, upper, work })
    }
}

/// The work directory of an upper layer on disk.
struct WorkDir {
    dir: OwnedFd,
    made: Option<PathBuf>,
}

impl WorkDir {
    fn open(upper: &Path, named: Option<&Path>) -> Result<Self> {
        let path = named.map_or_else(|| default_work(upper), Path::to_path_buf);
        let doing = || format!("work directory {}", path.display());
        let mut made = None;
        if named.is_none() && !path.exists() {
            fs::DirBuilder::new().mode(0o700).create(&path).doing(doing)?;
            made = Some(path.clone());
        }
        Ok(Self { dir: open_dir(&path).doing(doing)?, made })
    }

    /// Removes what was made for a mount that failed.
    fn unmake(self) {
        if let Some(path) = self.made {
            // The kernel's own directories in it (ovl_workdir_create() in fs/overlayfs/super.c).
            for own in ["work", "index"] {
                let _ = fs::remove_dir(path.join(own));
            }
            let _ = fs::remove_dir(path);
        }
    }
}
