//! Who has an upper layer mounted already.

use std::{
    collections::BTreeSet,
    fs,
    mem::replace,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Result, mountinfo};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, mkdirat, openat};

use crate::overlay::{Made, Parts, mount_watched};

/// How often a message that may be about a mount of somebody else must come.
const TIMES: u32 = 4;

/// Makes a mount, and fails if another has the upper or the work directory, which the kernel allows but says
/// in its log (`ovl_report_in_use()` in fs/overlayfs/super.c). Where that cannot be read nothing is known.
pub(crate) fn unshared(upper: &Path, parts: &mut Parts, place: &OwnedFd) -> Result<OwnedFd> {
    if let Some(probe) = parts.upper.as_ref().map(|upper| Probe::new(&upper.work)).transpose()?.flatten() {
        // Each mount makes WORK/work anew, and one that is using it could write no more. So it is asked with another.
        let work = |parts: &mut Parts, dir| parts.upper.as_mut().map(|upper| replace(&mut upper.work, dir));
        let own = probe.dir.try_clone().doing(|| "ask who uses the upper layer".into())?;
        let real = work(parts, own);
        let asked = free(upper, || mount_watched(parts, place)).map(drop);
        real.and_then(|real| work(parts, real));
        probe.remove();
        asked?;
    }
    free(upper, || mount_watched(parts, place))
}

/// A work directory for a mount that is not used, in one that has been used before.
struct Probe {
    dir: OwnedFd,
    path: PathBuf,
}

/// How its name begins, before a pid.
pub(crate) const PROBE: &str = "probe.";

impl Probe {
    fn new(work: &OwnedFd) -> Result<Option<Self>> {
        let doing = || "ask who uses the upper layer".to_owned();
        if accessat(work, "work", Access::EXISTS, AtFlags::empty()).is_err() {
            return Ok(None);
        }
        let inside = |name: &str| PathBuf::from(format!("/proc/self/fd/{}/{name}", work.as_raw_fd()));
        for left in fs::read_dir(inside(".")).doing(doing)?.flatten().map(|entry| entry.file_name()) {
            if let Some(left) = left.to_str().filter(|name| is_left(name)) {
                // If not, it stays: it is in nobody's way.
                let _ = fs::remove_dir_all(inside(left));
            }
        }
        let name = format!("{PROBE}{}", std::process::id());
        mkdirat(work, &name, Mode::RWXU).doing(doing)?;
        let path = inside(&name);
        let dir = openat(work, &name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        Ok(Some(Self { dir: dir.doing(doing)?, path }))
    }

    fn remove(self) {
        // If not, the next mount finds it as what a mount has left.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Whether it is the directory of a process that was killed before it could remove it.
fn is_left(name: &str) -> bool {
    let pid = name.strip_prefix(PROBE).and_then(|pid| pid.parse().ok());
    pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}

fn free(upper: &Path, mount: impl Fn() -> Result<Made>) -> Result<OwnedFd> {
    for _ in 0..TIMES {
        let made = mount()?;
        if !made.warned_of_use {
            return Ok(made.mount);
        }
    }
    let error = Error::new(
        format!("upper layer {}", upper.display()),
        "another mount uses it, or its work directory",
    );
    let Ok(upper) = fs::canonicalize(upper) else { return Err(error) };
    // A mount namespace that was made for NEXT has all mounts of the caller's.
    if let Some(point) = point(&upper, Path::new("/proc/self")) {
        return Err(error.hint(format!("it is mounted on {}: umount that first", point.display())));
    }
    Err(match user(&upper) {
        Some(User { pid, name, point }) => {
            error.hint(format!("{name} (pid {pid}) has it on {}", point.display()))
        }
        None => error,
    })
}

/// Where a process, whose directory in /proc is given, sees an overlay with this upper layer.
fn point(upper: &Path, process: &Path) -> Option<PathBuf> {
    let mounts = fs::read(process.join("mountinfo")).ok()?;
    let mut mounts = mountinfo::mounts(&mounts);
    let has_it = |mount: &mountinfo::Mount| {
        mount.filesystem == b"overlay" && mount.value("upperdir").as_deref() == Some(upper)
    };
    mounts.find(has_it).map(|mount| mount.point)
}

struct User {
    pid: u32,
    name: String,
    point: PathBuf,
}

/// A process that sees such a mount, the oldest one in its mount namespace that is a program: the kernel's own see
/// some too, and use none.
fn user(upper: &Path) -> Option<User> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids: BTreeSet<u32> =
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut seen = BTreeSet::new();
    pids.into_iter().find_map(|pid| {
        let process = PathBuf::from(format!("/proc/{pid}"));
        fs::read_link(process.join("exe")).ok()?;
        let namespace = fs::metadata(process.join("ns/mnt")).ok()?.ino();
        if !seen.insert(namespace) {
            return None;
        }
        let point = point(upper, &process)?;
        let name = fs::read_to_string(process.join("comm")).ok()?.trim_end().to_owned();
        Some(User { pid, name, point })
    })
}
