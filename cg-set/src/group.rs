//! One group: a directory of the same name in each tree that it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chain::{Doing, Error, Remedy, Result, with_exact_modes};
use nix::errno::Errno;

use crate::{
    dead::{self, Claim},
    gather,
    hierarchy::{self, CORE, Hierarchies, Version},
    limits::{self, DELEGATE, put, read_text},
    room::{self, Who},
    turn::{self, Turn},
    usage::MEASURED,
    v1,
};

/// The v2 tree, which on a hybrid machine has no controllers, but can kill a group at once.
const V2: &str = "cgroup";
/// The v1 tree that can stop a group, and its file.
pub(crate) const FREEZER: &str = "freezer";
pub(crate) const FREEZER_STATE: &str = "freezer.state";
/// What a group of v2 shares out to those below it.
const SHARED: &str = "cgroup.subtree_control";
/// How long the kernel is waited for to let go of a group whose last process has ended.
const LET_GO_TIME: Duration = Duration::from_secs(1);
/// Other groups of our name that are passed over: of other pid namespaces, of killed cg-sets.
const MOST_NAMESAKES: u32 = 10_000;

/// A group's directories. Trees that are mounted together share one.
#[derive(Debug, Default)]
pub(crate) struct Group {
    dirs: BTreeMap<String, (Version, PathBuf)>,
    /// The directories that we made, in the order in which they were made.
    made: Vec<PathBuf>,
    /// Those of them that others could take for a dead process's.
    claims: Vec<Claim>,
    /// The caller's own group on v2, where room can be made.
    room: Option<(PathBuf, Who)>,
}

impl Group {
    /// The group `name` below the caller's own, in the trees for whose controllers `wanted` says yes.
    pub(crate) fn new(
        hierarchies: &Hierarchies,
        name: impl AsRef<Path>,
        wanted: impl Fn(&str, Version, &Path) -> bool,
    ) -> Self {
        let name = name.as_ref();
        let core = CORE
            .iter()
            .filter_map(|tree| hierarchies.place(tree).map(|(version, own)| (*tree, version, own)));
        let dirs =
            hierarchies.all().chain(core).map(|(tree, version, own)| (tree, (version, own.join(name))));
        let dirs = dirs.filter(|(tree, (version, dir))| wanted(tree, *version, dir));
        Self {
            dirs: dirs.map(|(tree, place)| (tree.to_owned(), place)).collect(),
            room: hierarchies.room(),
            ..Self::default()
        }
    }

    /// The same, where it is there.
    pub(crate) fn existing(hierarchies: &Hierarchies, name: impl AsRef<Path>) -> Self {
        Self::new(hierarchies, name, |_, _, dir| dir.is_dir())
    }

    /// Leaves out the trees in which it is the group at the root, unless it is that in all: there it stands for the
    /// whole machine.
    pub(crate) fn leave_out_roots(&mut self) {
        let is_root = |(version, dir): &(Version, PathBuf)| match version {
            Version::V1 => dir.join("release_agent").exists(),
            Version::V2 => !dir.join("cgroup.type").exists(),
        };
        if !self.dirs.values().all(is_root) {
            self.dirs.retain(|_, place| !is_root(place));
        }
    }

    /// A group that another process has made in one tree.
    pub(crate) fn of_dead(version: Version, dir: PathBuf) -> Self {
        let tree = match version {
            Version::V2 => V2,
            Version::V1 if dir.join(FREEZER_STATE).exists() => FREEZER,
            Version::V1 => "",
        };
        let tree = tree.to_owned();
        Self { dirs: BTreeMap::from([(tree, (version, dir.clone()))]), made: vec![dir], ..Self::default() }
    }

    /// The group's directory in the tree of a controller, if it has one, and whose files are in it.
    pub(crate) fn place(&self, controller: &str) -> Option<(Version, &Path)> {
        self.dirs.get(controller).map(|(version, dir)| (*version, dir.as_path()))
    }

    /// The group that holds it, where that is seen; `None` at the root of all trees.
    pub(crate) fn above(&self) -> Option<Self> {
        let above = |(tree, (version, dir)): (&String, &(Version, PathBuf))| {
            let above = dir.parent().filter(|above| above.join("cgroup.procs").exists())?;
            Some((tree.clone(), (*version, above.to_path_buf())))
        };
        let dirs: BTreeMap<_, _> = self.dirs.iter().filter_map(above).collect();
        (!dirs.is_empty()).then(|| Self { dirs, ..Self::default() })
    }

    /// The directories whose files tell what the group uses.
    pub(crate) fn measured(&self) -> impl Iterator<Item = (Version, &'static str, &Path)> {
        MEASURED.into_iter().filter_map(|name| self.place(name).map(|(version, dir)| (version, name, dir)))
    }

    /// The directory in the v2 tree.
    pub(crate) fn v2(&self) -> Option<&Path> {
        self.dirs.values().find(|(version, _)| *version == Version::V2).map(|(_, dir)| dir.as_path())
    }

    /// The name of its directory that lies in this one.
    pub(crate) fn name_below(&self, own: &Path) -> Option<String> {
        let dir = self.dirs.values().map(|(_, dir)| dir).find(|dir| dir.parent() == Some(own))?;
        dir.file_name()?.to_str().map(str::to_owned)
    }

    /// Whether we made this directory of it.
    pub(crate) fn is_new(&self, dir: &Path) -> bool {
        self.made.iter().any(|made| made == dir)
    }

    /// Fails if the group can have no processes because it shares out controllers to groups below it (cgroups(7),
    /// "Cgroups v2 \"no internal processes\" rule").
    pub(crate) fn check_for_processes(&self) -> Result<()> {
        match self.v2().filter(|dir| is_domain(dir) && !shared_by(dir).is_empty()) {
            None => Ok(()),
            // A command in it has used cg-set, whose groups are gone.
            Some(dir) if has_only_home(dir) && share_no_more(dir).is_ok() => Ok(()),
            Some(dir) => Err(Error::new(
                format!("the group {}", dir.display()),
                "it has groups with limits below it, and so no processes of its own on cgroup v2",
            )
            .hint("name one of those below it, or another, such as GROUP/NAME")),
        }
    }

    pub(crate) fn has_the_dirs_of(&self, other: &Self) -> bool {
        self.dirs == other.dirs
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// Each directory once.
    fn places(&self) -> Vec<PathBuf> {
        let mut places: Vec<_> = self.dirs.values().map(|(_, dir)| dir.clone()).collect();
        places.sort();
        places.dedup();
        places
    }

    /// Makes the directories that are missing, and those above them.
    fn make(&mut self) -> Result<()> {
        with_exact_modes(|| {
            self.places().iter().try_for_each(|dir| {
                self.make_above(dir)?;
                self.make_one(dir)
            })
        })
    }

    /// Makes the directories that are missing, and waits for the turn to change the group.
    pub(crate) fn make_and_take(&mut self) -> Result<Turn> {
        loop {
            self.make()?;
            let turn = self.take()?;
            // Who had it before may have failed, and removed what it had made.
            if self.places().iter().all(|dir| dir.exists()) {
                // Another was faster to take what we had made, and has set it: it is the other's by now.
                if !self.made.is_empty() && limits::has_limits(self) {
                    self.made.clear();
                }
                return Ok(turn);
            }
            self.made.retain(|dir| dir.exists());
        }
    }

    /// Waits for the turn to change the group.
    pub(crate) fn take(&self) -> Result<Turn> {
        turn::take(&self.places())
    }

    /// Makes the groups that are missing above one.
    fn make_above(&mut self, dir: &Path) -> Result<()> {
        let missing: Vec<_> = dir.ancestors().skip(1).take_while(|dir| !dir.exists()).collect();
        missing.into_iter().rev().try_for_each(|dir| self.make_one(dir))
    }

    /// Makes a new group in the trees that are `wanted`, and with a `brake` in another, by which what is in
    /// the group can be ended at once, and which counts a few things without a controller. If the name is
    /// taken in one of them, it is `name.1` in all, or `name.2`, and so on. Gives the name. After a failure,
    /// what was made is still known.
    pub(crate) fn make_fresh(
        &mut self,
        hierarchies: &Hierarchies,
        name: &str,
        wanted: impl Fn(&str, Version) -> bool,
        brake: bool,
    ) -> Result<String> {
        let mut count = 0;
        loop {
            let name = if count == 0 { name.to_owned() } else { format!("{name}.{count}") };
            *self = Self::new(hierarchies, &name, |tree, version, _| wanted(tree, version));
            let made = with_exact_modes(|| {
                self.places().iter().try_for_each(|dir| self.make_own(dir))?;
                if brake { self.make_brake(hierarchies, &name) } else { Ok(()) }
            });
            match made {
                Ok(()) => return Ok(name),
                Err(error) if error.errno() == Some(Errno::EEXIST) && count < MOST_NAMESAKES => {}
                Err(error) => return Err(error),
            }
            self.unmake()?;
            count += 1;
        }
    }

    /// The part of the group that we made, and so may kill and remove.
    pub(crate) fn ours(&self) -> Self {
        let ours = self.dirs.iter().filter(|(_, (_, dir))| self.made.contains(dir));
        let ours = ours.map(|(tree, place)| (tree.clone(), place.clone()));
        Self { dirs: ours.collect(), made: self.made.clone(), ..Self::default() }
    }

    /// Makes a directory that is held against those who look for groups of dead processes. One that was
    /// taken for such before it was held counts as taken by another.
    fn make_own(&mut self, dir: &Path) -> Result<()> {
        match self.create(dir) {
            // Below a named group that has no directory in this tree.
            Err(error) if error.errno() == Some(Errno::ENOENT) => {
                self.make_above(dir)?;
                self.create(dir)?;
            }
            created => created?,
        }
        match dead::claim(dir)? {
            Some(claim) => self.claims.push(claim),
            None => return Err(Errno::EEXIST).doing(|| format!("make the group {}", dir.display())),
        }
        self.furnish(dir)
    }

    /// Makes a directory, if there is none.
    fn make_one(&mut self, dir: &Path) -> Result<()> {
        if dir.exists() {
            return Ok(());
        }
        match self.create(dir) {
            // Another cg-set made it just now.
            Err(error) if error.errno() == Some(Errno::EEXIST) => Ok(()),
            created => created.and_then(|()| self.furnish(dir)),
        }
    }

    /// The mode is meant as it is, so there is to be no umask.
    fn create(&mut self, dir: &Path) -> Result<()> {
        self.share_out(dir)?;
        DirBuilder::new()
            .mode(0o755)
            .create(dir)
            .doing(|| format!("make the group {}", dir.display()))
            .remedy(Errno::EACCES, DELEGATE)
            .remedy(Errno::EROFS, "the cgroup filesystem is mounted read-only here")
            .remedy(Errno::EAGAIN, "a limit on the number of groups is reached")?;
        self.made.push(dir.into());
        Ok(())
    }

    /// What a new group lacks.
    fn furnish(&self, dir: &Path) -> Result<()> {
        if self.has_controller_in("cpuset", Version::V1, dir) { v1::fill_cpuset(dir) } else { Ok(()) }
    }

    fn has_controller_in(&self, controller: &str, version: Version, dir: &Path) -> bool {
        self.place(controller).is_some_and(|place| place.0 == version && place.1.starts_with(dir))
    }

    /// Lets the groups below the one above `dir` have the controllers that this group needs: a group of
    /// v2 has those only that the one above it shares out (cgroups(7), "Cgroups v2 subtree control"). If
    /// one is missing all are shared out that there are, for groups that are made in this one.
    fn share_out(&self, dir: &Path) -> Result<()> {
        let needed = self.dirs.keys().map(String::as_str).filter(|controller| {
            !CORE.contains(controller) && self.has_controller_in(controller, Version::V2, dir)
        });
        let needed: Vec<_> = needed.collect();
        let Some(above) = dir.parent().filter(|_| !needed.is_empty()) else { return Ok(()) };
        let shared = shared_by(above);
        let is_missing = |controller: &&str| !shared.split_whitespace().any(|name| name == *controller);
        let missing: Vec<_> = needed.into_iter().filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if let Some((_, who)) = self.room.as_ref().filter(|(own, _)| own == above) {
            room::make(above, *who)?;
        }
        // Of some controllers the kernel would make threads of the group's processes, which no group below can hold.
        let is_occupied = is_domain(above) && !processes_in(above).is_empty();
        let share = |controller: &str| {
            let free = if is_occupied { Err(Errno::EBUSY) } else { Ok(()) };
            free.map_err(io::Error::from).and_then(|()| put(&above.join(SHARED), &format!("+{controller}")))
        };
        for controller in missing {
            share(controller)
                .doing(|| format!("share out the {controller} controller of the group {}", above.display()))
                .remedy(Errno::EACCES, DELEGATE)
                .remedy(Errno::ENOENT, "the group above it does not share it out")
                .remedy(
                    Errno::EBUSY,
                    "on cgroup v2 a group with processes has no groups with limits below it",
                )?;
        }
        let all = fs::read_to_string(above.join("cgroup.controllers")).unwrap_or_default();
        for controller in all.split_whitespace().filter(is_missing) {
            // What this group can do without.
            let _ = share(controller);
        }
        Ok(())
    }

    /// Makes the directory by which the group can be ended at once, where it can be had: in the v2 tree, else
    /// in the freezer's. Fails only if there is one of this name.
    fn make_brake(&mut self, hierarchies: &Hierarchies, name: &str) -> Result<()> {
        let v2 = hierarchies.v2().map(|own| (V2, Version::V2, own));
        let freezer = hierarchies.place(FREEZER).map(|(version, own)| (FREEZER, version, own));
        for (tree, version, own) in v2.into_iter().chain(freezer) {
            let dir = own.join(name);
            if self.dirs.values().any(|(_, other)| *other == dir) {
                return Ok(());
            }
            match self.make_own(&dir) {
                Err(error) if error.errno() == Some(Errno::EEXIST) => return Err(error),
                Err(_) => {}
                Ok(()) => {
                    self.dirs.insert(tree.into(), (version, dir));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Opens the v2 directory, for a process to be born in (CLONE_INTO_CGROUP).
    pub(crate) fn cradle(&self) -> Result<Option<OwnedFd>> {
        let open = |dir: &Path| File::open(dir).doing(|| format!("open the group {}", dir.display()));
        self.v2().map(open).transpose().map(|dir| dir.map(OwnedFd::from))
    }

    /// Opens the files of v1 through which a process that has one thread joins: writing 0 to one moves the
    /// writer (cgroups(7)); the right to do so is that of the opener (Linux 5.16). A thread that moves itself
    /// need not keep all others on the machine from forking and ending meanwhile (Linux 5.5), which takes up
    /// to some milliseconds, but who has been given a group may have been given the other file alone.
    pub(crate) fn doors(&self) -> Result<Vec<File>> {
        let is_v1 = |dir: &&PathBuf| {
            self.dirs.values().any(|(version, place)| *version == Version::V1 && place == *dir)
        };
        self.places().iter().filter(is_v1).map(|dir| open_door(dir)).collect()
    }

    /// Moves the processes that are in one of the group's directories, or below it, into the others too, so that what is
    /// set there holds for them: a directory may have been made later than they came.
    pub(crate) fn gather(&self) -> Result<()> {
        let places = self.places();
        if places.len() < 2 {
            return Ok(());
        }
        gather::move_all(&format!("move the processes of the group {self}"), || {
            let found: Vec<BTreeSet<_>> =
                places.iter().map(|dir| processes_in_all(tree(dir)).into_iter().collect()).collect();
            let all: BTreeSet<i32> = found.iter().flatten().copied().collect();
            let lacking = places
                .iter()
                .zip(&found)
                .flat_map(|(dir, has)| all.difference(has).map(|pid| (dir.clone(), *pid)));
            Ok(lacking.collect())
        })
    }

    /// Moves running processes in, with all their threads: each, or none.
    pub(crate) fn move_in(&self, pids: &[i32]) -> Result<()> {
        let mut moved = Vec::new();
        for pid in pids {
            moved.push((*pid, hierarchy::of(&pid.to_string()).unwrap_or_default()));
            self.move_one(*pid).inspect_err(|_| {
                // As far as that can be done: why it failed matters more.
                for (pid, dirs) in &moved {
                    for (_, dir) in dirs {
                        let _ = put(&dir.join("cgroup.procs"), &pid.to_string());
                    }
                }
            })?;
        }
        Ok(())
    }

    fn move_one(&self, pid: i32) -> Result<()> {
        let doors: Vec<_> = self.places().iter().map(|dir| open_procs(dir)).collect::<Result<_>>()?;
        for mut door in doors {
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
        processes_in_all(self.places())
    }

    /// The same for the group and all below it.
    pub(crate) fn processes_below(&self) -> Vec<i32> {
        processes_in_all(self.places().iter().flat_map(|dir| tree(dir)))
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

    /// Claims the groups below for one command whose cg-set is dead, so that none that is made now is taken for such;
    /// or gives the path from this one of one whose cg-set lives.
    pub(crate) fn claim_below(&self) -> Result<Vec<Claim>, PathBuf> {
        let mut claims = Vec::new();
        for place in self.places() {
            for dir in tree(&place).into_iter().skip(1) {
                if dir.file_name().and_then(OsStr::to_str).is_some_and(dead::is_transient) {
                    match dead::claim_dead(&dir) {
                        Some(claim) => claims.push(claim),
                        None if dir.exists() => {
                            return Err(dir.strip_prefix(&place).unwrap_or(&dir).to_path_buf());
                        }
                        None => {}
                    }
                }
            }
        }
        Ok(claims)
    }

    /// Removes the group and kills what is in it. Mostly that is nobody, which the kernel says by removing it.
    pub(crate) fn end(&self) -> Result<()> {
        if self.places().iter().try_for_each(|dir| remove_dir(dir)).is_ok() {
            return Ok(());
        }
        self.kill_all()?;
        self.remove()
    }

    /// Removes the group's directories and the groups below them. It must have no processes. One that has ended is
    /// listed no more a moment before the kernel lets go of its group.
    pub(crate) fn remove(&self) -> Result<()> {
        let end = Instant::now() + LET_GO_TIME;
        loop {
            match self.remove_now() {
                Err(error)
                    if error.errno() == Some(Errno::EBUSY)
                        && self.occupied().is_none()
                        && Instant::now() < end =>
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
                removed => return removed,
            }
        }
    }

    fn remove_now(&self) -> Result<()> {
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

/// Opens the file through which one thread joins a group of v1.
fn open_door(dir: &Path) -> Result<File> {
    open_to_write(&dir.join("tasks")).or_else(|_| open_procs(dir))
}

fn open_procs(dir: &Path) -> Result<File> {
    let procs = dir.join("cgroup.procs");
    open_to_write(&procs).doing(|| format!("open {}", procs.display()))
}

fn open_to_write(file: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).open(file)
}

/// The controllers that a group of v2 shares out to those below it.
fn shared_by(dir: &Path) -> String {
    fs::read_to_string(dir.join(SHARED)).unwrap_or_default()
}

fn share_no_more(dir: &Path) -> io::Result<()> {
    let all: Vec<_> = shared_by(dir).split_whitespace().map(|controller| format!("-{controller}")).collect();
    put(&dir.join(SHARED), &all.join(" "))
}

/// Whether no group is below but the one whose processes had to make room.
fn has_only_home(dir: &Path) -> bool {
    tree(dir).iter().skip(1).all(|below| below.strip_prefix(dir).is_ok_and(room::is_made_by_us))
}

/// Whether it is a usual group of v2, and not the one at the root nor one of threads.
fn is_domain(dir: &Path) -> bool {
    read_text(dir, "cgroup.type").is_some_and(|kind| kind == "domain")
}

fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error)
            .doing(|| format!("remove the group {}", dir.display()))
            .remedy(Errno::EBUSY, "it has processes or groups in it")
            .remedy(Errno::EACCES, DELEGATE),
        _ => Ok(()),
    }
}

fn processes_in_all(dirs: impl IntoIterator<Item = PathBuf>) -> Vec<i32> {
    let pids: BTreeSet<_> = dirs.into_iter().flat_map(|dir| processes_in(&dir)).collect();
    pids.into_iter().collect()
}

/// The processes in a directory; 0 is one of a pid namespace that cannot be seen from here.
pub(crate) fn processes_in(dir: &Path) -> Vec<i32> {
    let list = read_text(dir, "cgroup.procs").unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Whether there may be more groups below one than `known`: the kernel counts them as links, besides the two of every directory
/// (kernfs_refresh_inode() in fs/kernfs/inode.c). That is one call in place of five.
pub(crate) fn has_groups(dir: &Path, known: usize) -> bool {
    fs::metadata(dir).map_or(true, |own| own.nlink() != 2 + known as u64)
}

/// A group's directory and all below it, each after the one that holds it.
pub(crate) fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_path_buf()];
    let mut at = 0;
    while let Some(dir) = found.get(at) {
        let entries = has_groups(dir, 0).then(|| fs::read_dir(dir)).into_iter().flatten().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let below: Vec<_> = below.map(|entry| entry.path()).collect();
        found.extend(below);
        at += 1;
    }
    found
}
