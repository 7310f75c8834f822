//! What overlayfs wrote on a file of a layer (fs/overlayfs/overlayfs.h lists the attributes).

use std::{ffi::CStr, os::fd::BorrowedFd};

use nix::errno::Errno;

use super::{
    Redirect,
    file::{Kind, Stat},
    xattr::{Prefix, Whose, split},
};

/// What overlayfs wrote on a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an attribute that is there or not")]
pub struct Marks {
    /// What the layers below have under this name is gone.
    pub whiteout: bool,
    /// Of a directory: nothing of the layers below is shown in it.
    pub opaque: bool,
    /// Where it was in the layers below.
    pub redirect: Option<Redirect>,
    /// Of a regular file: the content is in a layer below, only the metadata is here.
    pub metacopy: bool,
    /// It was copied up from a layer below.
    pub origin: bool,
    /// How many names it has in the overlay, if that is not how many it has in this layer (index=on).
    pub names: Option<NamesInOverlay>,
    /// It has attributes of its own.
    pub attributes: bool,
}

/// The value of overlay.nlink: how many names there are in the overlay
/// (`ovl_get_nlink()` in fs/overlayfs/util.c).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamesInOverlay {
    /// So many more than in this layer, where the index has one.
    MoreThanUpper(i64),
    /// So many more than in the layer below.
    MoreThanLower(i64),
}

impl NamesInOverlay {
    fn parse(value: &[u8]) -> Option<Self> {
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
        match value.split_first()? {
            (b'U', text) => number(text).map(Self::MoreThanUpper),
            (b'L', text) => number(text).map(Self::MoreThanLower),
            _ => None,
        }
    }
}

impl Marks {
    /// Reads what is on a file. `names` is room for the list of its attributes.
    pub(crate) fn read(
        prefix: Prefix,
        dir: BorrowedFd,
        name: &CStr,
        stat: &Stat,
        names: &mut Vec<u8>,
    ) -> nix::Result<Self> {
        let mut marks = Self::default();
        // WHITEOUT_DEV of include/linux/fs.h.
        if stat.kind == Kind::CharDevice && stat.rdev == (0, 0) {
            marks.whiteout = true;
            return Ok(marks);
        }
        match chain::xattr::list(dir, name, names) {
            // A link's target or a socket's peer may not be reached, but neither has overlayfs's marks then.
            Err(Errno::EACCES) if !matches!(stat.kind, Kind::Regular | Kind::Directory) => names.clear(),
            listed => listed?,
        }
        for stored in split(names) {
            let Whose::Overlayfs(own) = prefix.whose(stored) else {
                marks.attributes = true;
                continue;
            };
            let value = || chain::xattr::get(dir, name, stored).map(Option::unwrap_or_default);
            match own {
                // Only in a directory that is marked opaque=x does readdir(3) look for these, but the
                // lookup of a name does everywhere (`ovl_path_check_xwhiteout_xattr()`). Linux 6.7.
                b"whiteout" => marks.whiteout = stat.kind == Kind::Regular && stat.size == 0,
                b"opaque" => marks.opaque = stat.kind == Kind::Directory && value()? == b"y",
                b"redirect" => marks.redirect = Some(Redirect::parse(&value()?).ok_or(Errno::EINVAL)?),
                b"metacopy" => marks.metacopy = stat.kind == Kind::Regular,
                b"origin" => marks.origin = true,
                b"nlink" => marks.names = NamesInOverlay::parse(&value()?),
                _ => {}
            }
        }
        // The kernel looks at a redirect of these only.
        if stat.kind != Kind::Directory && !marks.metacopy {
            marks.redirect = None;
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_names_is_more_than_above_or_below() {
        assert_eq!(NamesInOverlay::parse(b"U+1"), Some(NamesInOverlay::MoreThanUpper(1)));
        assert_eq!(NamesInOverlay::parse(b"L-2"), Some(NamesInOverlay::MoreThanLower(-2)));
        assert_eq!(NamesInOverlay::parse(b"2"), None);
        assert_eq!(NamesInOverlay::parse(b""), None);
    }
}
