//! One cg-set at a time changes a named group: a setting can take several writes, which those of another
//! must not come between.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chain::{Error, Result};

use crate::lock::{self, Tried};

/// A change takes some milliseconds, but one that lowers a memory limit waits for memory to be freed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one waits who is kept from the lock by those who may only read the group. None of them is a cg-set, and they
/// could keep it for ever.
const HINDERED: Duration = Duration::from_millis(100);
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
    let open = |dir: &PathBuf| {
        let file = lock::open(dir).ok()?;
        Some((dir.clone(), file))
    };
    let locks = dirs.iter().filter_map(open).map(|(dir, file)| {
        wait_for(&file, &dir)?;
        Ok(file)
    });
    Ok(Turn { _locks: locks.collect::<Result<_>>()? })
}

fn wait_for(file: &File, dir: &Path) -> Result<()> {
    let doing = || format!("change the group {}", dir.display());
    let begin = Instant::now();
    let mut hindered = None;
    loop {
        match lock::lock(file, dir)? {
            Tried::Ours => return Ok(()),
            Tried::Held => hindered = None,
            Tried::Hindered if hindered.get_or_insert_with(Instant::now).elapsed() >= HINDERED => {
                let why = "a process that may only read it has locked it, so another cg-set could change it at the same time";
                chain::note("cg-set", &format!("{}: {why}", doing()));
                return Ok(());
            }
            Tried::Hindered => {}
        }
        if begin.elapsed() >= PATIENCE {
            return Err(Error::new(doing(), "another process has been changing it for 10 seconds"));
        }
        std::thread::sleep(PAUSE);
    }
}
