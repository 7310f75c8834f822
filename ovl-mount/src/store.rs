//! A directory that holds the changes of several directories of the host, each in a directory of its own that has
//! the name of the host's, with @ for /: `@` is that of the root, `@home@data` that of /home/data, and in each
//! are `upper` and `work`.

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::DirBuilderExt,
        },
    },
    path::{Path, PathBuf},
};

use chain::{Doing, Remedy, Result, mount::open_dir};
use nix::errno::Errno;

use crate::{check::not_volatile, memory::dress, overlay::Upper};

/// What a slash becomes.
const SLASH: u8 = b'@';

/// The upper and the work directory of `path`, made if they are missing, like `lower`, which is open there.
pub(crate) fn upper(store: &Path, path: &Path, lower: impl AsFd) -> Result<Upper> {
    let own = directory(store, path);
    let doing = || format!("make {}", own.display());
    let make = |dir: &Path| match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        done => done.map(|()| true),
    };
    make(&own).doing(doing).remedy(Errno::ENAMETOOLONG, "its mount point has too long a name for this")?;
    let open = |name: &str| -> Result<(OwnedFd, bool)> {
        let is_new = make(&own.join(name)).doing(doing)?;
        Ok((open_dir(&own.join(name)).doing(doing)?, is_new))
    };
    let ((dir, is_new), (work, _)) = (open("upper")?, open("work")?);
    not_volatile(&format!("upper layer {}", own.join("upper").display()), &own.join("work"))?;
    if is_new {
        dress(&dir, lower)?;
    }
    Ok(Upper { dir, work })
}

/// The directory in `store` for the changes below `path`, which is absolute and has no `..`.
pub(crate) fn directory(store: &Path, path: &Path) -> PathBuf {
    store.join(name(path))
}

fn name(path: &Path) -> OsString {
    let bytes = path.as_os_str().as_bytes();
    let name: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| match byte {
            b'/' => vec![SLASH],
            b'@' | b'%' => format!("%{byte:02x}").into_bytes(),
            byte => vec![*byte],
        })
        .collect();
    OsString::from_vec(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_tells_whose_changes_they_are() {
        for (path, expected) in [("/", "@"), ("/home/data", "@home@data"), ("/a@b/c%d", "@a%40b@c%25d")] {
            assert_eq!(name(Path::new(path)), expected);
        }
    }

    proptest! {
        #[test]
        fn two_paths_never_have_one_name(one in "/[a@%/]{0,6}", other in "/[a@%/]{0,6}") {
            prop_assert_eq!(one == other, name(Path::new(&one)) == name(Path::new(&other)));
        }
    }
}
