//! Namespaces that are kept on a file: mounts of nsfs, as ip-netns(8) makes them.

use std::{
    fs::File,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::PathBuf,
};

use chain::mountinfo;
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{
        stat::{Mode, fstat},
        statfs::{NSFS_MAGIC, fstatfs},
    },
};

use crate::{kind::Kind, nsfs};

/// A namespace and a file that it is kept on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) kind: Kind,
    pub(super) inode: u64,
    pub(super) file: PathBuf,
}

impl Kept {
    /// Opens the namespace. The file may be anything by now, so it is looked at before it is opened
    /// for more than that: opening a fifo or a device does something.
    pub(super) fn open(&self) -> nix::Result<File> {
        let flags = OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let place = open(&self.file, flags | OFlag::O_PATH, Mode::empty())?;
        if fstatfs(&place)?.filesystem_type() != NSFS_MAGIC || fstat(&place)?.st_ino != self.inode {
            return Err(Errno::ESTALE);
        }
        let again = format!("/proc/self/fd/{}", place.as_raw_fd());
        open(again.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map(File::from)
    }
}

/// The kept namespaces in the text of a mountinfo file.
pub(super) fn all(mountinfo: &[u8]) -> impl Iterator<Item = Kept> {
    let kept = |mount: mountinfo::Mount| {
        let (kind, inode) = nsfs::name(mount.root.as_os_str().as_bytes())?;
        Some(Kept { kind, inode, file: mount.point })
    };
    mountinfo::mounts(mountinfo).filter(|mount| mount.filesystem == b"nsfs").filter_map(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_of_namespaces_count() {
        let text = b"27 1 254:0 / / rw - ext4 /dev/vda rw
60 27 0:4 net:[4026532177] /run/netns/my\\040lab rw shared:9 - nsfs nsfs rw
61 27 0:4 mnt:[4026532178] /run/mnt rw - nsfs nsfs rw
62 27 0:4 net:[4026532179] /fake rw - tmpfs none rw
";
        let kept = |kind, inode, file: &str| Kept { kind, inode, file: file.into() };
        let found: Vec<_> = all(text).collect();
        assert_eq!(
            found,
            [kept(Kind::Net, 4_026_532_177, "/run/netns/my lab"), kept(Kind::Mnt, 4_026_532_178, "/run/mnt")]
        );
    }
}
