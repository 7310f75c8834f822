//! Block devices as a user names them, and the disk that the kernel then limits.

use std::{
    fmt, fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Result, mountinfo};
use nix::sys::stat::{major, minor};

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Device {
    /// By its number, as in /sys/dev/block.
    Number {
        /// Which driver's.
        major: u64,
        /// Which of those.
        minor: u64,
    },
    /// By its own path, or by that of any file on it.
    Path(PathBuf),
}

/// What to write for a value of devices.
pub(crate) const BY_DEVICE: &str =
    "write such as /dev/sda:100, and a device by its number if its path has a comma: 8:0:100";

impl Device {
    /// `8:0` is a number, and everything else is a path.
    pub(crate) fn parse(text: &str) -> Self {
        Self::number(text).unwrap_or_else(|| Self::Path(text.into()))
    }

    /// `8:0`, as the kernel writes it.
    pub(crate) fn number(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once(':')?;
        let number =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        Some(Self::Number { major: number(major)?, minor: number(minor)? })
    }

    /// The whole disk by its number: the kernel limits no partitions (blkg_conf_prep() in
    /// block/blk-cgroup.c).
    pub(crate) fn disk(&self) -> Result<Self> {
        let number = match self {
            Self::Number { .. } => self.clone(),
            Self::Path(path) => below(path)?,
        };
        let dir = format!("/sys/dev/block/{number}");
        if !Path::new(&dir).exists() {
            return Err(Error::new(self.to_string(), "there is no such block device")
                .hint("lsblk shows those that there are"));
        }
        if !Path::new(&dir).join("partition").exists() {
            return Ok(number);
        }
        let file = format!("{dir}/../dev");
        let disk = fs::read_to_string(&file).doing(|| format!("{self}: find its disk in {file}"))?;
        Self::number(disk.trim()).ok_or_else(|| Error::new(file, "not a device number"))
    }

    /// The schedulers that a disk can have, with brackets around the one that it has.
    pub(crate) fn schedulers(&self) -> String {
        fs::read_to_string(format!("/sys/dev/block/{self}/queue/scheduler")).unwrap_or_default()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Number { major, minor } => write!(f, "{major}:{minor}"),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// The device that a path is of, or that the filesystem there is on.
fn below(path: &Path) -> Result<Device> {
    let name = || path.display().to_string();
    let file = fs::metadata(path).doing(name)?;
    let number = if file.file_type().is_block_device() { file.rdev() } else { file.dev() };
    if file.file_type().is_char_device() {
        return Err(Error::new(name(), "a character device; only block devices have these limits"));
    }
    match (major(number), minor(number)) {
        // Filesystems without one disk of their own have numbers that stand for nothing else.
        (0, _) => Err(Error::new(
            name(),
            format!("it is on a filesystem that is not on one block device{}", kind(path)),
        )
        .hint("name the device itself, such as /dev/sda or 8:0")),
        (major, minor) => Ok(Device::Number { major, minor }),
    }
}

/// ` (overlay)`, if it can be found.
fn kind(path: &Path) -> String {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let path = path.canonicalize().unwrap_or_default();
    let holds = |mount: &mountinfo::Mount| path.starts_with(&mount.point);
    // The last one of the longest covers the others.
    let mount = mountinfo::mounts(&mounts).filter(holds).max_by_key(|mount| mount.point.as_os_str().len());
    mount.map_or(String::new(), |mount| format!(" ({})", String::from_utf8_lossy(mount.filesystem)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_numbers_are_a_number() {
        for text in ["8:0", "254:16"] {
            assert!(matches!(Device::parse(text), Device::Number { .. }), "{text}");
        }
        for text in ["8", "8:", ":0", "8:0:1", "./8:0", "a:0", "-1:0", "18446744073709551616:0"] {
            assert_eq!(Device::parse(text), Device::Path(text.into()));
        }
    }
}
