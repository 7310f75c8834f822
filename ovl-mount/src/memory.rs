//! A place in memory for the changes: a tmpfs that nobody else sees.

use std::{
    fmt,
    os::fd::{AsFd, OwnedFd},
    str::FromStr,
};

use chain::{
    Doing, Result, Size,
    mount::{Filesystem, MountAttrFlags},
};
use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid, chmodat, chownat, fstat, mkdirat, openat},
    io,
};

/// The most that the changes may take: a number of bytes, or a part of the machine's memory in percent, 1 to
/// 100 (tmpfs(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySize {
    /// Bytes; the kernel rounds up to whole pages.
    Bytes(Size),
    /// Percent.
    Part(u8),
}

impl MemorySize {
    /// What a tmpfs has if nothing is said.
    pub const USUAL: &str = "50%";

    pub(crate) fn is_usual(self) -> bool {
        self == Self::Part(50)
    }
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(part) = text.strip_suffix('%') else {
            return match text.parse()? {
                // For tmpfs that is no limit.
                Size(0) => Err("nothing could be written; the least is one page, 4K".into()),
                size => Ok(Self::Bytes(size)),
            };
        };
        let part = part.parse().ok().filter(|part| (1..=100).contains(part) && text.as_bytes()[0] != b'+');
        part.map(Self::Part).ok_or_else(|| "not a part of the memory; write 1% to 100%".into())
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Bytes(size) => size.fmt(f),
            Self::Part(part) => write!(f, "{part}%"),
        }
    }
}

/// An upper and a work directory in memory.
pub(crate) struct Memory {
    /// A mount that is attached nowhere lives as long as its descriptor.
    pub(crate) mount: OwnedFd,
    pub(crate) upper: OwnedFd,
    pub(crate) work: OwnedFd,
}

impl Memory {
    pub(crate) fn like(lower: impl AsFd, size: MemorySize) -> Result<Self> {
        let memory = Filesystem::new("tmpfs")?.set("mode", "700")?;
        let memory = match size {
            size if size.is_usual() => memory,
            MemorySize::Bytes(Size(bytes)) => memory.of_size(bytes)?,
            MemorySize::Part(part) => memory.set("size", &format!("{part}%"))?,
        };
        let mount = memory.mount(MountAttrFlags::empty())?;
        let below = |name| {
            let doing = || "make a place in memory for changes".to_owned();
            mkdirat(&mount, name, Mode::from(0o700)).doing(doing)?;
            openat(&mount, name, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).doing(doing)
        };
        let (upper, work) = (below("upper")?, below("work")?);
        dress(&upper, lower)?;
        Ok(Self { mount, upper, work })
    }
}

/// Gives a new upper directory the owner and the mode of `lower`, which the root of the overlay has from it.
pub(crate) fn dress(upper: impl AsFd, lower: impl AsFd) -> Result<()> {
    let doing = || "give the upper layer the owner and the mode of the lower".to_owned();
    let stat = fstat(lower.as_fd()).doing(doing)?;
    let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match chownat(&upper, "", Some(owner.0), Some(owner.1), AtFlags::EMPTY_PATH) {
        // In a user namespace that owner may be nobody there; the directory is its maker's then.
        Err(io::Errno::INVAL | io::Errno::OVERFLOW | io::Errno::PERM) if chain::in_user_namespace() => {}
        done => done.doing(doing)?,
    }
    chmodat(&upper, ".", Mode::from_raw_mode(stat.st_mode), AtFlags::empty()).doing(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_bytes_or_a_part() {
        for (text, size) in [
            ("64M", MemorySize::Bytes(Size(64 << 20))),
            ("1", MemorySize::Bytes(Size(1))),
            ("1%", MemorySize::Part(1)),
            ("100%", MemorySize::Part(100)),
        ] {
            assert_eq!(text.parse(), Ok(size));
            assert_eq!(size.to_string(), text);
        }
        for text in ["", "%", "0", "0%", "101%", "+5%", "-5%", "1.5%", "M", "4Q"] {
            assert!(text.parse::<MemorySize>().is_err(), "{text}");
        }
    }
}
