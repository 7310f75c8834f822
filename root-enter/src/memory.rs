//! Files that are in memory only, for what has no source on the host: empty ones over what is masked, those
//! whose text is given, and those of /dev.
//!
//! They are in one filesystem, which is mounted where nobody looks until the old root goes with it: on the old
//! /proc, or on `/`. It must be mounted, because until Linux 6.15 only what is in a mount namespace can be copied.

use std::{
    cell::Cell,
    fs::{File, Permissions},
    io::Write,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
};

use chain::{
    Doing, Remedy, Result,
    mount::{Filesystem, MountAttrFlags, attach, copy_below, make_read_only, open_dir},
    with_exact_modes,
};
use nix::errno::Errno;
use rustix::fs::{FileType, Mode, OFlags, mkdirat, mknodat, openat};

/// The filesystem.
#[derive(Debug)]
pub(crate) struct Memory {
    top: OwnedFd,
    /// It is on `/`, and so will be on top of the old root.
    pub(crate) covers_root: bool,
    /// How many there are besides the empty ones: they are named by their number, and stay, because a file
    /// without a name cannot be mounted.
    count: Cell<u32>,
}

/// What all of it may take, as /dev and the files that may be written are the box's to fill.
const MOST: u64 = 64 << 20;

const EMPTY_FILE: &str = "file";
const EMPTY_DIR: &str = "dir";

impl Memory {
    /// Mounts it. This must be done before anything else is mounted on `/`.
    pub(crate) fn hidden() -> Result<Self> {
        let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let files = Filesystem::new("tmpfs")?.of_size(MOST)?.set("mode", "755")?.mount(quiet)?;
        with_exact_modes(|| {
            mknodat(&files, EMPTY_FILE, FileType::RegularFile, Mode::from(0o444), 0)?;
            mkdirat(&files, EMPTY_DIR, Mode::from(0o555))
        })
        .doing(|| "make an empty file".into())?;
        let proc = open_dir(Path::new("/proc"));
        let covers_root = proc.is_err();
        let place = proc.or_else(|_| open_dir(Path::new("/"))).doing(|| "open /".into())?;
        attach(&files, place, Path::new("the old root"))?;
        Ok(Self { top: files, covers_root, count: Cell::new(0) })
    }

    /// A file without anything in it, read-only.
    pub(crate) fn empty_file(&self) -> Result<OwnedFd> {
        self.read_only(EMPTY_FILE)
    }

    /// A directory without anything in it, read-only.
    pub(crate) fn empty_dir(&self) -> Result<OwnedFd> {
        self.read_only(EMPTY_DIR)
    }

    /// A file with this content, `shown` in an error.
    pub(crate) fn file(&self, content: &[u8], mode: u32, read_only: bool, shown: &Path) -> Result<OwnedFd> {
        let doing = || format!("make the file for {}", shown.display());
        let name = self.next_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&self.top, &name, flags, Mode::from(0o600)).doing(doing)?;
        let mut file = File::from(file);
        file.write_all(content)
            .doing(doing)
            .remedy(Errno::ENOSPC, "such files have 64 MiB together; bind a larger one")?;
        file.set_permissions(Permissions::from_mode(mode)).doing(doing)?;
        if read_only { self.read_only(&name) } else { self.copy(&name) }
    }

    /// A new directory, and its name, by which what is made in it can be copied.
    pub(crate) fn dir(&self) -> Result<(OwnedFd, String)> {
        let name = self.next_name();
        let doing = || "make a directory in memory".to_owned();
        with_exact_modes(|| mkdirat(&self.top, &name, Mode::from(0o755))).doing(doing)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok((openat(&self.top, &name, flags, Mode::empty()).doing(doing)?, name))
    }

    /// A mount of what has this name.
    pub(crate) fn copy(&self, name: &str) -> Result<OwnedFd> {
        copy_below(&self.top, name, false).doing(|| "copy what is in memory".into())
    }

    fn read_only(&self, name: &str) -> Result<OwnedFd> {
        let copy = self.copy(name)?;
        make_read_only(&copy, false)?;
        Ok(copy)
    }

    fn next_name(&self) -> String {
        self.count.replace(self.count.get() + 1).to_string()
    }
}
