//! Room below the caller's own group on cgroup v2: there a group either has processes or shares out
//! controllers to the groups below it (cgroups(7), "no internal processes"). So the processes of the
//! caller's own group move into a group below it, where the same limits hold, and are at home there from
//! then on.

use std::{
    fs::{self, DirBuilder, File},
    io::ErrorKind,
    os::{fd::AsFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chain::{Doing, Error, Remedy, Result};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

use crate::{
    gather::{self, UNSEEN},
    group::processes_in,
    limits::DELEGATE,
};

/// Where the processes of a group go that needs room.
const HOME: &str = "cg-set.home";
/// It is there while somebody in a group who does not see all its processes asks for room.
const ASKED: &str = "cg-set.asked";
/// How long who was asked may need.
const PATIENCE: Duration = Duration::from_secs(3);

/// The group below which the caller's groups are made, from the one that the caller is in.
pub(crate) fn own(group: PathBuf) -> PathBuf {
    match group.parent() {
        Some(above) if group.ends_with(HOME) => above.to_path_buf(),
        _ => group,
    }
}

/// Whether it is a group of ours, by its path from the one that was to have room.
pub(crate) fn is_made_by_us(below: &Path) -> bool {
    below.starts_with(HOME) || below.starts_with(ASKED)
}

/// Whose processes may be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The caller's, and no others must be there.
    Own,
    /// Everybody's.
    All,
}

/// Moves the processes out of a group that is to share out controllers. Those that cannot be seen from the caller's pid
/// namespace are moved by the cg-set whose command the caller is part of, if there is one outside.
pub(crate) fn make(group: &Path, who: Who) -> Result<()> {
    // The group at the root may have both.
    if group.join("cgroup.type").exists() { clear(group, who, ask) } else { Ok(()) }
}

fn clear(group: &Path, who: Who, move_unseen: fn(&Path, &str) -> Result<()>) -> Result<()> {
    let doing = format!("make room in the group {}", group.display());
    let home = group.join(HOME);
    gather::move_all(&doing, || {
        let mut found = processes_in(group);
        // First, so that nothing has moved if that fails.
        while found.contains(&0) {
            move_unseen(group, &doing)?;
            found = processes_in(group);
        }
        if let Some(pid) = found.iter().filter(|_| who == Who::Own).find(|pid| is_anothers(**pid)) {
            return Err(Error::new(&*doing, format!("process {pid} in it is another user's"))
                .hint("--move-self moves it too, to a group below"));
        }
        if !found.is_empty() {
            make_dir(&home, &doing)?;
        }
        Ok(found.into_iter().map(|pid| (home.clone(), pid)).collect())
    })
}

/// Asks whoever listens, and waits until it is done.
fn ask(group: &Path, doing: &str) -> Result<()> {
    let asked = group.join(ASKED);
    // Only that it is made is heard, and one who was killed may have left it.
    let _ = fs::remove_dir(&asked);
    make_dir(&asked, doing)?;
    let is_occupied = || processes_in(group).contains(&0);
    let end = Instant::now() + PATIENCE;
    while is_occupied() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = fs::remove_dir(&asked);
    if is_occupied() { refuse(group, doing) } else { Ok(()) }
}

fn refuse(_group: &Path, doing: &str) -> Result<()> {
    Err(Error::new(doing, format!("{UNSEEN}, and no cg-set outside moves them"))
        .hint("start what is outside with cg-set too"))
}

/// Whoever makes it.
fn make_dir(dir: &Path, doing: &str) -> Result<()> {
    match DirBuilder::new().mode(0o755).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).doing(|| doing.to_owned()).remedy(Errno::EACCES, DELEGATE)
        }
        _ => Ok(()),
    }
}

/// Makes room in the group of a command for those in it who ask for that.
#[derive(Debug)]
pub(crate) struct Helper {
    group: PathBuf,
    who: Who,
    _watched: File,
}

impl Helper {
    /// Listens, by SIGIO; `None` where the kernel does not tell.
    pub(crate) fn new(group: &Path, who: Who) -> Option<Self> {
        let watched = File::open(group).ok()?;
        chain::call_when_something_is_made(watched.as_fd()).ok()?;
        let helper = Self { group: group.to_owned(), who, _watched: watched };
        // The command runs already.
        helper.help();
        Some(helper)
    }

    /// Makes room, if somebody asks.
    pub(crate) fn help(&self) {
        if self.group.join(ASKED).exists() {
            // Who asked says what is still in the way.
            let _ = clear(&self.group, self.who, refuse);
        }
    }
}

/// By the real user id (proc_pid_status(5)), or where /proc has other numbers by whether it may be signalled; one that
/// has ended is nobody's.
fn is_anothers(pid: i32) -> bool {
    if !chain::proc_is_ours() {
        return kill(Pid::from_raw(pid), None) == Err(Errno::EPERM);
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:\t")?.split('\t').next()?.parse().ok());
    uid.is_some_and(|uid: u32| uid != nix::unistd::getuid().as_raw())
}
