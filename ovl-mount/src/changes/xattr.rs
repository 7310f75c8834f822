//! Which extended attributes are overlayfs's own, and which are the file's (fs/overlayfs/xattrs.c).

use std::{
    ffi::{CStr, CString},
    os::fd::BorrowedFd,
    path::Path,
};

use chain::{Doing, Error, Result};
use nix::{errno::Errno, unistd::geteuid};

/// The beginning of overlayfs's own attributes in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// `trusted.overlay.`, which only the host's root can read or write.
    Trusted,
    /// `user.overlay.`, of a mount with `userxattr`, as in a user namespace.
    User,
}

/// The beginning of those that fuse-overlayfs(1) has of its own, where it is not root's: where a file was copied up
/// from, which means nothing any more, and that a directory is opaque. In an overlay of the kernel's they can be
/// set by everybody, so the latter is believed only where `user.overlay.` is.
pub(crate) const FUSE: &str = "user.fuseoverlayfs.";

/// Whose an extended attribute of a file in a layer is.
#[derive(Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// overlayfs's, with what stands after the prefix.
    Overlayfs(&'a [u8]),
    /// The file's, which merged shows. Its name there is not that in the layer if the file itself is of
    /// the layer of an overlay inside: `trusted.overlay.overlay.opaque` is shown as
    /// `trusted.overlay.opaque` ("Nesting overlayfs mounts" in overlayfs.rst, Linux 6.7).
    File(CString),
}

/// An extended attribute, as merged shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attribute {
    /// Its whole name.
    pub name: CString,
    /// Its value.
    pub value: Vec<u8>,
}

impl Prefix {
    /// The prefix that the marks in an upper directory have: with `userxattr`, or of an ordinary user, who
    /// cannot see the others, `user.overlay.`. Root is not left to guess by what is in the directory: who may
    /// write files in a box could put marks of that kind on them, with which a copy of any file is had.
    pub fn of(upper: BorrowedFd, path: &Path, userxattr: bool) -> Result<Self> {
        if userxattr || !geteuid().is_root() {
            return Ok(Self::User);
        }
        let shown = || format!("upper directory {}", path.display());
        let mut names = Vec::new();
        chain::xattr::list(upper, c".", &mut names).doing(shown)?;
        let has =
            |prefix: Self| split(&names).any(|name| name.to_bytes().starts_with(prefix.text().as_bytes()));
        if has(Self::User) && !has(Self::Trusted) {
            let why = "its marks are user.overlay.*, as a mount with userxattr writes them";
            return Err(Error::new(shown(), why).hint("add --userxattr"));
        }
        Ok(Self::Trusted)
    }

    /// The prefix.
    pub fn text(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.",
            Self::User => "user.overlay.",
        }
    }

    /// Whose the attribute of this name is.
    pub fn whose(self, name: &CStr) -> Whose<'_> {
        match (name.to_bytes().strip_prefix(FUSE.as_bytes()), self) {
            (Some(own @ b"origin"), _) | (Some(own @ b"opaque"), Self::User) => return Whose::Overlayfs(own),
            _ => {}
        }
        let Some(own) = name.to_bytes().strip_prefix(self.text().as_bytes()) else {
            return Whose::File(name.to_owned());
        };
        match own.strip_prefix(b"overlay.") {
            // It came from a C string, so it has no zero byte.
            Some(inner) => {
                Whose::File(CString::new([self.text().as_bytes(), inner].concat()).unwrap_or_default())
            }
            None => Whose::Overlayfs(own),
        }
    }

    /// The file's attributes as merged shows them, ordered by name. One that is gone meanwhile is left out.
    pub fn attributes(self, dir: BorrowedFd, name: &CStr) -> nix::Result<Vec<Attribute>> {
        let mut names = Vec::new();
        chain::xattr::list(dir, name, &mut names)?;
        let mut attributes = Vec::new();
        for stored in split(&names) {
            if let Whose::File(shown) = self.whose(stored)
                && let Some(value) = chain::xattr::get(dir, name, stored)?
            {
                attributes.push(Attribute { name: shown, value });
            }
        }
        attributes.sort();
        Ok(attributes)
    }
}

/// The names in a list of them, each of which has a zero byte after it.
pub(crate) fn split(names: &[u8]) -> impl Iterator<Item = &CStr> {
    names.split_inclusive(|byte| *byte == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok())
}

/// A file's attributes in a plain directory, which no overlay has written.
pub(crate) fn plain(dir: BorrowedFd, name: &CStr) -> nix::Result<Vec<Attribute>> {
    let mut names = Vec::new();
    chain::xattr::list(dir, name, &mut names)?;
    let value = |stored: &CStr| match chain::xattr::get(dir, name, stored) {
        Ok(value) => value.map(|value| Ok(Attribute { name: stored.to_owned(), value })),
        Err(errno) => Some(Err::<_, Errno>(errno)),
    };
    let mut attributes = split(&names).filter_map(value).collect::<nix::Result<Vec<_>>>()?;
    attributes.sort();
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_an_overlay_inside_are_the_files() {
        let own = Prefix::Trusted.whose(c"trusted.overlay.opaque");
        assert_eq!(own, Whose::Overlayfs(b"opaque"));
        let inner = Prefix::Trusted.whose(c"trusted.overlay.overlay.opaque");
        assert_eq!(inner, Whose::File(c"trusted.overlay.opaque".to_owned()));
        let deeper = Prefix::User.whose(c"user.overlay.overlay.overlay.opaque");
        assert_eq!(deeper, Whose::File(c"user.overlay.overlay.opaque".to_owned()));
    }

    #[test]
    fn those_with_the_other_prefix_are_the_files() {
        // Who may write a file in the box may write user.overlay.* on it: they mean nothing there.
        let other = Prefix::Trusted.whose(c"user.overlay.redirect");
        assert_eq!(other, Whose::File(c"user.overlay.redirect".to_owned()));
        let other = Prefix::User.whose(c"trusted.overlay.redirect");
        assert_eq!(other, Whose::File(c"trusted.overlay.redirect".to_owned()));
        let other = Prefix::Trusted.whose(c"user.fuseoverlayfs.opaque");
        assert_eq!(other, Whose::File(c"user.fuseoverlayfs.opaque".to_owned()));
    }

    #[test]
    fn those_of_fuse_overlayfs_are_its_own() {
        assert_eq!(Prefix::User.whose(c"user.fuseoverlayfs.opaque"), Whose::Overlayfs(b"opaque"));
        assert_eq!(Prefix::Trusted.whose(c"user.fuseoverlayfs.origin"), Whose::Overlayfs(b"origin"));
        assert_eq!(
            Prefix::User.whose(c"user.fuseoverlayfs.x"),
            Whose::File(c"user.fuseoverlayfs.x".to_owned())
        );
    }
}
