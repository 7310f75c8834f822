//! One group: a directory of the same name in each tree that it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;

use crate::{hierarchy::Hierarchies, process::Process};

/// The trees of v1 that a setting can need, and v2's, by name.
pub(crate) const TREES: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];
/// The v2 tree, which on a hybrid machine has no controllers, but can kill a group at once.
pub(crate) const V2: &str = "v2";
/// How long the end of what was killed is waited for.
const KILL_TIME: Duration = Duration::from_secs(5);
/// Other groups of our name that are passed over: of other pid namespaces, of killed cg-sets.
const MOST_NAMESAKES: u32 = 10_000;

/// A group's directories. Trees that are mounted together share one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    dirs: BTreeMap<&'static str, PathBuf>,
    /// The directories that we made, in the order in which they were made.
    made: Vec<PathBuf>,
}

impl Group {
    /// The group `name` below the caller's own, in the trees for which `wanted` says yes.
    pub(crate) fn new(
        hierarchies: &Hierarchies,
        name: &str,
        wanted: impl Fn(&'static str, &Path) -> bool,
    ) -> Self {
        let trees = TREES.iter().filter_map(|tree| Some((*tree, hierarchies.v1(tree)?)));
        let trees = trees.chain(hierarchies.v2().map(|own| (V2, own)));
        let dirs = trees.map(|(tree, own)| (tree, own.join(name))).filter(|(tree, dir)| wanted(tree, dir));
        Self { dirs: dirs.collect(), made: Vec::new() }
    }

    /// The group's directory in a tree, if it is there.
    pub(crate) fn dir(&self, tree: &str) -> Option<&Path> {
        self.dirs.get(tree).map(PathBuf::as_path)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// Each directory once.
    fn places(&self) -> Vec<PathBuf> {
        let mut places: Vec<_> = self.dirs.values().cloned().collect();
        places.sort();
        places.dedup();
        places
    }

    /// Makes the directories that are missing, and those above them.
    pub(crate) fn make(&mut self) -> Result<()> {
        for dir in self.places() {
            let missing: Vec<_> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
            for dir in missing.into_iter().rev() {
                match self.make_one(dir) {
                    // Another cg-set made it just now.
                    Err(error) if error.errno() == Some(Errno::EEXIST) => {}
                    made => made?,
                }
            }
        }
        Ok(())
    }

    /// Makes a new group in the trees that are `wanted`, and where it can be had in v2's: a means to
    /// kill, not a limit. If the name is taken in one of them, it is `name.1` in all, or `name.2`, and so
    /// on. Gives the name. After a failure, what was made is still known.
    pub(crate) fn make_fresh(
        &mut self,
        hierarchies: &Hierarchies,
        name: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let mut count = 0;
        loop {
            let name = if count == 0 { name.to_owned() } else { format!("{name}.{count}") };
            *self = Self::new(hierarchies, &name, |tree, _| wanted(tree));
            let made = self
                .places()
                .iter()
                .try_for_each(|dir| self.make_one(dir))
                .and_then(|()| self.make_brake(hierarchies, &name));
            match made {
                Err(error) if error.errno() == Some(Errno::EEXIST) && count < MOST_NAMESAKES => {
                    self.unmake()?;
                    count += 1;
                }
                made => return made.map(|()| name),
            }
        }
    }

    /// The part of the group that we made, and so may kill and remove.
    pub(crate) fn ours(&self) -> Self {
        let ours = self.dirs.iter().filter(|(_, dir)| self.made.contains(dir));
        Self { dirs: ours.map(|(tree, dir)| (*tree, dir.clone())).collect(), made: self.made.clone() }
    }

    fn make_one(&mut self, dir: &Path) -> Result<()> {
        DirBuilder::new()
            .mode(0o755)
            .create(dir)
            .doing(|| format!("make the group {}", dir.display()))
            .remedy(Errno::EACCES, "run as root, or in a group that is delegated to you")
            .remedy(Errno::EROFS, "the cgroup filesystem is mounted read-only here")
            .remedy(Errno::EAGAIN, "a limit on the number of groups is reached")?;
        self.made.push(dir.into());
        // Whatever the umask.
        fs::set_permissions(dir, Permissions::from_mode(0o755))
            .doing(|| format!("set the mode of the group {}", dir.display()))
    }

    /// Makes the v2 directory, where it can be had; fails only if there is one of this name.
    fn make_brake(&mut self, hierarchies: &Hierarchies, name: &str) -> Result<()> {
        let Some(dir) = hierarchies.v2().map(|own| own.join(name)) else { return Ok(()) };
        match self.make_one(&dir) {
            Err(error) if error.errno() == Some(Errno::EEXIST) => return Err(error),
            Err(_) => {}
            Ok(()) => drop(self.dirs.insert(V2, dir)),
        }
        Ok(())
    }

    /// Opens the files through which a process joins. On v1 and v2 writing 0 moves the writer with
    /// all its threads (cgroups(7)); the right to do so is that of the opener (Linux 5.16).
    pub(crate) fn doors(&self) -> Result<Vec<File>> {
        let open = |dir: PathBuf| {
            let procs = dir.join("cgroup.procs");
            OpenOptions::new().write(true).open(&procs).doing(|| format!("open {}", procs.display()))
        };
        self.places().into_iter().map(open).collect()
    }

    /// Moves a running process in, with all its threads.
    pub(crate) fn move_in(&self, pid: i32) -> Result<()> {
        for mut door in self.doors()? {
            door.write_all(pid.to_string().as_bytes())
                .doing(|| format!("move process {pid} into the group"))
                .remedy(Errno::ESRCH, "it has ended")
                .remedy(Errno::EACCES, "only root may move another user's process")
                .remedy(
                    Errno::EINVAL,
                    "a kernel thread cannot be moved, nor a real-time process without a budget",
                )?;
        }
        Ok(())
    }

    /// The processes in the group, in ascending order. A process of a pid namespace that cannot be
    /// seen from here has the number 0.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut pids: Vec<_> = self.dirs.values().flat_map(|dir| processes_in(dir)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// The same for the group and all below it.
    fn processes_below(&self) -> Vec<i32> {
        let trees = self.dirs.values().flat_map(|dir| tree(dir));
        let mut pids: Vec<_> = trees.flat_map(|dir| processes_in(&dir)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// The first group that has processes, this one or one below it, in any tree: its path from this
    /// one, and how many it has.
    pub(crate) fn occupied(&self) -> Option<(PathBuf, usize)> {
        let mut groups = BTreeMap::<PathBuf, BTreeSet<i32>>::new();
        for place in self.places() {
            for dir in tree(&place) {
                let below = dir.strip_prefix(&place).unwrap_or(&dir).to_path_buf();
                groups.entry(below).or_default().extend(processes_in(&dir));
            }
        }
        groups.into_iter().map(|(below, pids)| (below, pids.len())).find(|(_, count)| *count > 0)
    }

    /// Kills everything in the group and in the groups below it, and waits until it is gone.
    pub(crate) fn kill_all(&self) -> Result<()> {
        // Linux 5.14. At once, so that nothing can fork away from it; what follows only waits.
        let braked = self.dir(V2).is_some_and(|dir| fs::write(dir.join("cgroup.kill"), "1").is_ok());
        if let Some(dir) = self.dir("pids") {
            let _ = fs::write(dir.join("pids.max"), "0");
        }
        let end = Instant::now() + KILL_TIME;
        loop {
            let pids = self.processes_below();
            let Some(&first) = pids.first() else { return Ok(()) };
            let failed = |why: String| {
                Error::new("kill what is left in the group", why).hint(format!("the group {self} stays"))
            };
            if first == 0 {
                return Err(failed("it has processes of another pid namespace".into()));
            }
            if Instant::now() >= end {
                return Err(failed(format!("process {first} does not end")));
            }
            let mut opened = Vec::new();
            for pid in pids {
                opened.extend(Process::open(pid)?);
            }
            // A pid that was given again before it was opened is not in the group now.
            let still = self.processes_below();
            opened.retain(|process| still.contains(&process.pid));
            let mut others = None;
            for process in &opened {
                if !process.kill()? {
                    others = Some(process.pid);
                }
            }
            // What the brake has killed only needs its time.
            if let Some(pid) = others.filter(|_| !braked) {
                return Err(failed(format!("process {pid} is another user's")));
            }
            for process in &opened {
                process.wait(end)?;
            }
            if opened.is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Removes the group's directories and the groups below them. It must have no processes.
    pub(crate) fn remove(&self) -> Result<()> {
        for dir in self.places() {
            for dir in tree(&dir).iter().rev() {
                remove_dir(dir)?;
            }
        }
        Ok(())
    }

    /// Removes only what [`Group::make`] made.
    pub(crate) fn unmake(&self) -> Result<()> {
        self.made.iter().rev().try_for_each(|dir| remove_dir(dir))
    }
}

impl fmt::Display for Group {
    /// By its first directory.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.places().first().map_or(Ok(()), |dir| dir.display().fmt(f))
    }
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error)
            .doing(|| format!("remove the group {}", dir.display()))
            .remedy(Errno::EBUSY, "it has processes or groups in it"),
        _ => Ok(()),
    }
}

fn processes_in(dir: &Path) -> Vec<i32> {
    let list = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).collect()
}

/// A group's directory and all below it, each after the one that holds it.
fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_path_buf()];
    let mut at = 0;
    while let Some(dir) = found.get(at) {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let below: Vec<_> = below.map(|entry| entry.path()).collect();
        found.extend(below);
        at += 1;
    }
    found
}
