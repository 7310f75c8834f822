//! What statx(2) tells of a file.

use std::{ffi::CStr, os::fd::AsFd};

use chain::errno;
use nix::errno::Errno;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, StatxTimestamp, statx};

/// What sort of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A file with content.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Kind {
    /// Its name, in the words of find(1)'s manual.
    pub fn name(self) -> &'static str {
        match self {
            Self::Regular => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::CharDevice => "char device",
            Self::BlockDevice => "block device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, below 10^9.
    pub nsec: u32,
}

impl From<StatxTimestamp> for Time {
    fn from(time: StatxTimestamp) -> Self {
        Self { sec: time.tv_sec, nsec: time.tv_nsec }
    }
}

/// A file's metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What sort of file.
    pub kind: Kind,
    /// The permissions, with set-user-ID, set-group-ID and sticky: 0 to 07777.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// In bytes; of a regular file or a symbolic link.
    pub size: u64,
    /// When it was last read.
    pub atime: Time,
    /// When its content last changed.
    pub mtime: Time,
    /// When anything about it last changed, which nobody can set.
    pub ctime: Time,
    /// When it was made, where the filesystem knows that.
    pub btime: Option<Time>,
    /// How many names it has.
    pub nlink: u32,
    /// Its filesystem: the device's major and minor number.
    pub dev: (u32, u32),
    /// Its number there.
    pub ino: u64,
    /// Which device it stands for.
    pub rdev: (u32, u32),
}

impl Stat {
    /// The file of this name, a symbolic link itself.
    pub fn of(dir: impl AsFd, name: &CStr) -> nix::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        Self::with(dir, name, flags)
    }

    /// An open file.
    pub fn of_open(file: impl AsFd) -> nix::Result<Self> {
        Self::with(file, c"", AtFlags::EMPTY_PATH)
    }

    /// The same, `None` if there is no such file.
    pub fn find(dir: impl AsFd, name: &CStr) -> nix::Result<Option<Self>> {
        match Self::of(dir, name) {
            Err(Errno::ENOENT) => Ok(None),
            stat => stat.map(Some),
        }
    }

    fn with(dir: impl AsFd, name: &CStr, flags: AtFlags) -> nix::Result<Self> {
        let statx = statx(dir, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME).map_err(errno)?;
        Self::try_from(statx).map_err(|()| Errno::EIO)
    }

    /// What tells it from every other file of the machine.
    pub fn identity(&self) -> ((u32, u32), u64) {
        (self.dev, self.ino)
    }
}

impl TryFrom<Statx> for Stat {
    type Error = ();

    fn try_from(statx: Statx) -> Result<Self, ()> {
        let kind = match FileType::from_raw_mode(u32::from(statx.stx_mode)) {
            FileType::RegularFile => Kind::Regular,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::Unknown => return Err(()),
        };
        Ok(Self {
            kind,
            mode: u32::from(statx.stx_mode) & 0o7777,
            uid: statx.stx_uid,
            gid: statx.stx_gid,
            size: statx.stx_size,
            atime: statx.stx_atime.into(),
            mtime: statx.stx_mtime.into(),
            ctime: statx.stx_ctime.into(),
            btime: (statx.stx_mask & StatxFlags::BTIME.bits() != 0).then(|| statx.stx_btime.into()),
            nlink: statx.stx_nlink,
            dev: (statx.stx_dev_major, statx.stx_dev_minor),
            ino: statx.stx_ino,
            rdev: (statx.stx_rdev_major, statx.stx_rdev_minor),
        })
    }
}
