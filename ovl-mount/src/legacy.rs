//! Overlays on kernels that take no layers by descriptor, before Linux 6.13: by mount(2), whose options are one
//! page of text with names in it.
//!
//! The names are those of our descriptors, seen from /proc/self/fd: short enough for 500 layers, and without
//! any byte that the kernel would read as something else. Such kernels also take no layer from a mount that is
//! attached nowhere, so these are attached to a scaffold for a while, in which the overlay is made too.

use std::{
    fmt::Write,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use chain::{
    Doing, Remedy, Result,
    mount::{AS_ROOT, Filesystem, MountAttrFlags, attach, copy_tree, open_dir},
};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount as mount2, umount2},
    unistd::{chdir, fchdir},
};
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};

use crate::overlay::Parts;

const DESCRIPTORS: &str = "/proc/self/fd";

/// Mounts it, with the scaffold of `parts` on `place` as long as they live.
pub(crate) fn mount(parts: &Parts, place: &OwnedFd) -> Result<OwnedFd> {
    let scaffold = scaffold(parts, place)?;
    let overlay = scaffold.dir("overlay")?;
    let made = mount_on(&overlay, parts).and_then(|()| copy_tree(&scaffold.path("overlay"), false));
    // The copy stays; the next one may have the same work directory.
    let _ = umount2(&scaffold.path("overlay"), MntFlags::MNT_DETACH);
    scaffold.remove("overlay");
    made
}

/// That of `parts`, made for the first mount: what has been attached once is attached nowhere else afterwards.
fn scaffold<'parts>(parts: &'parts Parts, place: &OwnedFd) -> Result<&'parts Scaffold> {
    if let Some(scaffold) = parts.scaffold.get() {
        return Ok(scaffold);
    }
    let scaffold = Scaffold::new(place)?;
    for (at, mount) in parts.detached.iter().enumerate() {
        let name = at.to_string();
        attach(mount, scaffold.dir(&name)?, Path::new("a place for the moment"))?;
    }
    Ok(parts.scaffold.get_or_init(|| scaffold))
}

fn mount_on(target: &OwnedFd, parts: &Parts) -> Result<()> {
    let pairs = [
        (MountAttrFlags::MOUNT_ATTR_RDONLY, MsFlags::MS_RDONLY),
        (MountAttrFlags::MOUNT_ATTR_NOSUID, MsFlags::MS_NOSUID),
        (MountAttrFlags::MOUNT_ATTR_NODEV, MsFlags::MS_NODEV),
        (MountAttrFlags::MOUNT_ATTR_NOEXEC, MsFlags::MS_NOEXEC),
        // MS_NOSYMFOLLOW of include/uapi/linux/mount.h (Linux 5.10).
        (MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW, MsFlags::from_bits_retain(0x100)),
    ];
    let set = pairs.into_iter().filter(|(attribute, _)| parts.attributes.contains(*attribute));
    let flags = set.map(|(_, flag)| flag).collect();
    let here = open_dir(Path::new(".")).doing(|| "open the working directory".into())?;
    chdir(DESCRIPTORS)
        .doing(|| format!("go to {DESCRIPTORS}"))
        .remedy(Errno::ENOENT, "before Linux 6.13 this needs /proc")?;
    let name = target.as_raw_fd().to_string();
    let done = mount2(Some("overlay"), name.as_str(), Some("overlay"), flags, Some(data(parts).as_str()));
    fchdir(&here).doing(|| "go back to the working directory".into())?;
    done.doing(|| "mount overlay".into())
        .remedy(Errno::EPERM, AS_ROOT)
        .remedy(Errno::ENODEV, "this kernel has none; is its module loaded?")
}

/// The options, with descriptors for names.
fn data(parts: &Parts) -> String {
    let numbers: Vec<_> = parts.lowers.iter().map(|lower| lower.dir.as_raw_fd().to_string()).collect();
    let mut data = format!("lowerdir={}", numbers.join(":"));
    if let Some(upper) = &parts.upper {
        let _ = write!(data, ",upperdir={},workdir={}", upper.dir.as_raw_fd(), upper.work.as_raw_fd());
    }
    for (name, value) in &parts.options {
        let _ = match value {
            Some(value) => write!(data, ",{name}={value}"),
            None => write!(data, ",{name}"),
        };
    }
    data
}

/// A small tmpfs on a directory, as long as this lives.
pub(crate) struct Scaffold(OwnedFd);

impl Scaffold {
    fn new(place: &OwnedFd) -> Result<Self> {
        let mount = Filesystem::new("tmpfs")?.set("size", "1M")?.mount(MountAttrFlags::empty())?;
        attach(&mount, place, Path::new("the place of the overlay"))?;
        Ok(Self(mount))
    }

    /// A new directory in it.
    fn dir(&self, name: &str) -> Result<OwnedFd> {
        let doing = || format!("make a directory {name} for the moment");
        mkdirat(&self.0, name, Mode::from(0o700)).doing(doing)?;
        openat(&self.0, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).doing(doing)
    }

    fn remove(&self, name: &str) {
        let _ = unlinkat(&self.0, name, AtFlags::REMOVEDIR);
    }

    /// That of `name` in it, or with no name its own.
    fn path(&self, name: &str) -> PathBuf {
        Path::new(DESCRIPTORS).join(self.0.as_raw_fd().to_string()).join(name)
    }
}

impl Drop for Scaffold {
    fn drop(&mut self) {
        let _ = umount2(&self.path(""), MntFlags::MNT_DETACH);
    }
}
