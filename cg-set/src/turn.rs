//! One cg-set at a time changes a named group: a setting can take several writes, which those of another
//! must not come between.

use std::{
    fs::File,
    path::PathBuf,
    time::{Duration, Instant},
};

use chain::{Error, Result};

use crate::lock::{self, Tried};

/// A change takes some milliseconds, but one that lowers a memory limit waits for memory to be freed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries: who waits in the kernel could not be interrupted by a signal that is held back.
const PAUSE: Duration = Duration::from_millis(1);

/// The turn to change a group, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _locks: Vec<File>,
}

/// Waits for the turn. The directories come in the same order in all processes. Where one may change the
/// group's limits but not what runs in it, there is nothing to wait for.
pub(crate) fn take(dirs: &[PathBuf]) -> Result<Turn> {
    let end = Instant::now() + PATIENCE;
    let open = |dir: &PathBuf| {
        let file = lock::open(dir).ok()?;
        Some((dir.clone(), file))
    };
    let locks = dirs.iter().filter_map(open).map(|(dir, file)| {
        while lock::lock(&file, &dir)? != Tried::Ours {
            if Instant::now() >= end {
                let why = "another process has been changing it for 10 seconds";
                return Err(Error::new(format!("change the group {}", dir.display()), why));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(file)
    });
    Ok(Turn { _locks: locks.collect::<Result<_>>()? })
}
