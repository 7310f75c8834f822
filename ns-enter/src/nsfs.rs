//! How the kernel names a namespace, and what it tells about one whose file is open (ioctl_ns(2)).
//!
//! An answer is `None` where the kernel refuses it (EPERM): what lies outside of the caller's own
//! user or pid namespace is out of sight.

use std::{
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
};

use nix::{
    fcntl::{OFlag, open},
    libc,
    sys::{
        stat::Mode,
        statfs::{NSFS_MAGIC, fstatfs, statfs},
    },
};

use crate::kind::Kind;

nix::ioctl_none_bad!(ns_get_nstype, libc::NS_GET_NSTYPE);
nix::ioctl_none_bad!(ns_get_userns, libc::NS_GET_USERNS);
nix::ioctl_none_bad!(ns_get_parent, libc::NS_GET_PARENT);
nix::ioctl_read_bad!(ns_get_owner_uid, libc::NS_GET_OWNER_UID, libc::uid_t);

/// Kind and inode from a name such as `net:[4026532177]` (namespaces(7)).
pub(crate) fn name(text: &[u8]) -> Option<(Kind, u64)> {
    let (kind, inode) = str::from_utf8(text).ok()?.split_once(":[")?;
    Some((kind.parse().ok()?, inode.strip_suffix(']')?.parse().ok()?))
}

/// Whether a namespace is on this file.
pub(crate) fn is_on(file: &Path) -> bool {
    statfs(file).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

/// Whether an open file is a namespace.
pub(crate) fn is_one(file: impl AsFd) -> bool {
    fstatfs(file).is_ok_and(|found| found.filesystem_type() == NSFS_MAGIC)
}

/// Opens the namespace that is on a file, whose kind it tells; `None` if the file is no namespace.
pub(crate) fn open_kind(file: &Path) -> nix::Result<(OwnedFd, Option<Kind>)> {
    // The file may be anything: opening a fifo waits, and opening a terminal can take it.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let namespace = open(file, flags, Mode::empty())?;
    if !is_one(&namespace) {
        return Ok((namespace, None));
    }
    // SAFETY: the request has no argument; the descriptor is borrowed for the call.
    let flag = unsafe { ns_get_nstype(namespace.as_raw_fd()) }?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.flag().bits() == flag);
    Ok((namespace, kind))
}

/// The user namespace whose capabilities count in this namespace; for a user namespace, its parent.
pub(crate) fn owner(namespace: impl AsFd) -> Option<OwnedFd> {
    // SAFETY: the request has no argument; the descriptor is borrowed for the call.
    let answer = unsafe { ns_get_userns(namespace.as_fd().as_raw_fd()) };
    answer.ok().map(own)
}

/// The namespace in which a user or pid namespace was made. Other kinds have none.
pub(crate) fn parent(namespace: impl AsFd) -> Option<OwnedFd> {
    // SAFETY: as above.
    let answer = unsafe { ns_get_parent(namespace.as_fd().as_raw_fd()) };
    answer.ok().map(own)
}

/// The user who made a user namespace, as the caller's own user namespace numbers users.
pub(crate) fn owner_uid(namespace: impl AsFd) -> Option<u32> {
    let mut uid = 0;
    // SAFETY: the request writes one uid_t, which lives through the call.
    let answer = unsafe { ns_get_owner_uid(namespace.as_fd().as_raw_fd(), &raw mut uid) };
    answer.ok().map(|_| uid)
}

fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made the descriptor, close-on-exec, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_a_name_is_none() {
        for text in ["", "/", "net", "net:[]", "net:[1", "net:1]", "net:[-1]", "new:[1]", "net:[1]x"] {
            assert_eq!(name(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn each_name_is_read_as_it_is_written(at in 0..Kind::ALL.len(), inode: u64) {
            let kind = Kind::ALL[at];
            prop_assert_eq!(name(format!("{kind}:[{inode}]").as_bytes()), Some((kind, inode)));
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in "[a-z:\\[\\]0-9]*") {
            let _ = name(&bytes);
            let _ = name(text.as_bytes());
        }
    }
}
