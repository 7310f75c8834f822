//! The kernel's work directory, beside an upper layer on disk.

use std::{
    ffi::OsString,
    fs,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
};

use chain::{Doing, Result, mount::open_dir};

/// The sibling of `upper` that is the work directory if none is named: `UPPER.work`.
pub(crate) fn default_work(upper: &Path) -> PathBuf {
    // `.` and `..` have no name of their own.
    let real = upper.file_name().is_none().then(|| fs::canonicalize(upper).ok()).flatten();
    let upper = real.as_deref().unwrap_or(upper);
    // Through the components, so that `dir/` becomes `dir.work`, not `dir/.work`.
    let mut name: OsString = upper.components().collect::<PathBuf>().into();
    name.push(".work");
    name.into()
}

/// The work directory of an upper layer on disk.
pub(crate) struct WorkDir {
    pub(crate) dir: OwnedFd,
    made: Option<PathBuf>,
}

impl WorkDir {
    pub(crate) fn open(upper: &Path, named: Option<&Path>) -> Result<Self> {
        let path = named.map_or_else(|| default_work(upper), Path::to_path_buf);
        let doing = || format!("work directory {}", path.display());
        let mut made = None;
        if named.is_none() && !path.exists() {
            fs::DirBuilder::new().mode(0o700).create(&path).doing(doing)?;
            made = Some(path.clone());
        }
        Ok(Self { dir: open_dir(&path).doing(doing)?, made })
    }

    /// Removes what was made for a mount that failed.
    pub(crate) fn unmake(self) {
        if let Some(path) = self.made {
            // The kernel's own directories in it (ovl_workdir_create() in fs/overlayfs/super.c).
            for own in ["work", "index"] {
                let _ = fs::remove_dir(path.join(own));
            }
            let _ = fs::remove_dir(path);
        }
    }
}
