//! Where a moved directory, or a moved file without content of its own, was in the layers below
//! (`ovl_get_redirect_xattr()` in fs/overlayfs/namei.c).

use std::{
    ffi::{CString, OsStr},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// A place in the layers below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// Another name in the same directory.
    Name(CString),
    /// The names from the root of the layers on; at least one.
    Absolute(Vec<CString>),
}

impl Redirect {
    /// Parses the value of the attribute; the kernel refuses what this refuses.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let name = |name: &[u8]| {
            let usual = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/');
            usual.then(|| CString::new(name).ok()).flatten()
        };
        match value.strip_prefix(b"/") {
            Some(path) => {
                path.split(|byte| *byte == b'/').map(name).collect::<Option<_>>().map(Self::Absolute)
            }
            None => name(value).map(Self::Name),
        }
    }

    /// The place that a path is.
    pub(crate) fn to(path: &Path) -> Self {
        let name = |part: &OsStr| CString::new(part.as_bytes()).unwrap_or_default();
        Self::Absolute(path.iter().map(name).collect())
    }

    /// The path of a file that has this on it, whose directory is at `parent` in the layers below.
    pub fn path(&self, parent: &Path) -> PathBuf {
        match self {
            Self::Name(name) => parent.join(OsStr::from_bytes(name.as_bytes())),
            Self::Absolute(names) => names.iter().map(|name| OsStr::from_bytes(name.as_bytes())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_a_name_or_a_path_from_the_root() {
        let path = |value: &[u8]| Redirect::parse(value).map(|redirect| redirect.path("at/in".as_ref()));
        assert_eq!(path(b"old"), Some("at/in/old".into()));
        assert_eq!(path(b"/old/\xff"), Some(OsStr::from_bytes(b"old/\xff").into()));
    }

    #[test]
    fn one_that_the_kernel_would_not_write_is_refused() {
        for value in [&b""[..], b"/", b"//a", b"/a/", b"a/b", b"..", b"/a/../b", b"/.", b"a\0b"] {
            assert_eq!(Redirect::parse(value), None, "{value:?}");
        }
    }
}
