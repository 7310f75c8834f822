//! Moving processes until all are where they are to be.

use std::path::PathBuf;

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;

use crate::limits::{DELEGATE, put};

/// How often processes are looked for that were born while others moved: the next look finds each.
const LOOKS: u32 = 1000;
/// Why some of those that are found cannot be moved: they have no number here.
pub(crate) const UNSEEN: &str = "it has processes of another pid namespace";

/// Moves the processes that `lacking` finds, each into the directory beside it, until it finds none.
pub(crate) fn move_all(doing: &str, mut lacking: impl FnMut() -> Result<Vec<(PathBuf, i32)>>) -> Result<()> {
    for _ in 0..LOOKS {
        let found = lacking()?;
        if found.is_empty() {
            return Ok(());
        }
        for (dir, pid) in found {
            if pid == 0 {
                return Err(Error::new(doing, UNSEEN));
            }
            match put(&dir.join("cgroup.procs"), &pid.to_string()) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {}
                moved => moved
                    .doing(|| format!("{doing}: move process {pid} into {}", dir.display()))
                    .remedy(Errno::EACCES, DELEGATE)?,
            }
        }
    }
    Err(Error::new(doing, "it gets new processes all the time"))
}
