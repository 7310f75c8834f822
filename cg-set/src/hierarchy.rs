//! Where the groups are: for each controller the version of cgroups that has it here, and the directory
//! of the caller's own group.
//!
//! On cgroup v1 each controller, or a few together, has a tree of its own; on a hybrid machine there
//! is a v2 tree without controllers beside them (cgroups(7)).

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use chain::{
    Doing, Error, Result,
    cgroups::{Membership, memberships},
    mountinfo::{self, Mount},
};

use crate::{
    limits::{read_made_up, read_text},
    name::GroupName,
    room::{self, Who},
};

/// The two interfaces to groups (cgroups(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Version {
    /// Of the tree with these controllers: that of v2 is listed without any.
    fn of(controllers: &[String]) -> Self {
        if controllers.is_empty() { Self::V2 } else { Self::V1 }
    }
}

/// One mounted tree of groups, and the caller's place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    /// The controllers in it that the caller's own group can have.
    controllers: Vec<String>,
    /// The directory of the group that the caller is in.
    own: PathBuf,
    /// The same from the root of the tree, or of the caller's cgroup namespace, on.
    path: PathBuf,
}

impl Hierarchy {
    /// On v2 each group says which it can have.
    fn with_controllers(mut self) -> Self {
        if self.version == Version::V2 {
            let controllers = read_text(&self.own, "cgroup.controllers").unwrap_or_default();
            self.controllers = controllers.split_whitespace().map(str::to_owned).collect();
        }
        self
    }
}

/// All mounted trees in which the caller's own group can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    trees: Vec<Hierarchy>,
    /// Whose processes may be moved out of the caller's own group on v2; `None` if these are the trees below
    /// another.
    moving: Option<Who>,
}

impl Hierarchies {
    /// Reads /proc/self/cgroup and /proc/self/mountinfo (cgroups(7), proc_pid_mountinfo(5)).
    pub(crate) fn read(moving: Who) -> Result<Self> {
        let trees = parse(&read_proc("/proc/self/cgroup")?, &read_proc("/proc/self/mountinfo")?);
        let trees = trees.into_iter().map(Hierarchy::with_controllers).collect();
        Ok(Self { trees, moving: Some(moving) })
    }

    /// The same trees as seen from a group below the caller's own.
    pub(crate) fn below(self, name: &str) -> Self {
        let below = |tree: Hierarchy| {
            Hierarchy { own: tree.own.join(name), path: tree.path.join(name), ..tree }.with_controllers()
        };
        Self { trees: self.trees.into_iter().map(below).collect(), moving: None }
    }

    /// The caller's own group in the tree that has a controller. `cgroup` stands for what each group of v2
    /// has, and so do `freezer` and `devices` where v1 does not have them.
    pub(crate) fn place(&self, controller: &str) -> Option<(Version, &Path)> {
        let has = |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|name| name == controller);
        let found = self.trees.iter().find(has).map(|found| (found.version, found.own.as_path()));
        let is_core = CORE.contains(&controller);
        found.or_else(|| self.v2().filter(|_| is_core).map(|own| (Version::V2, own)))
    }

    /// The path of the caller's own group in the tree that has a controller, as the kernel names it.
    pub(crate) fn path(&self, controller: &str) -> Option<&Path> {
        let has = |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|name| name == controller);
        self.trees.iter().find(has).map(|found| found.path.as_path())
    }

    /// The same where a setting cannot do without it.
    pub(crate) fn place_for(&self, setting: &str, controller: &str) -> Result<(Version, &Path)> {
        self.place(controller).ok_or_else(|| {
            if let Some(own) = self.v2().filter(|own| above_has(own, controller)) {
                return Error::new(
                    setting,
                    format!("the group {} has no {controller} controller", own.display()),
                )
                .hint(format!(
                    "share it out: echo +{controller} > {}/../cgroup.subtree_control",
                    own.display()
                ));
            }
            let error = Error::new(setting, format!("no cgroup {controller} controller is mounted here"));
            if self.trees.is_empty() {
                error.hint("a box shows no groups that could be changed; limit the box itself, by cg-set in front of it")
            } else {
                error.hint("see /proc/cgroups for what the kernel has")
            }
        })
    }

    /// The directory of a named group, or where it has none in this tree the one above it that is there.
    pub(crate) fn nearest<'a>(&self, own: &'a Path) -> &'a Path {
        let is_callers = self.moving.is_some();
        own.ancestors().find(|dir| is_callers || dir.exists()).unwrap_or(own)
    }

    /// The group that one is made below: the one above a named group that is nearest to it and there, else the
    /// caller's own, which is `own` in this tree.
    pub(crate) fn above(&self, own: &Path, name: Option<&GroupName>) -> PathBuf {
        let Some(name) = name else { return self.nearest(own).to_path_buf() };
        let dir = own.join(name.as_str());
        dir.ancestors().skip(1).find(|dir| dir.exists()).unwrap_or(own).to_path_buf()
    }

    /// All controllers that are found, with the version that has them, and the caller's own group.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, Version, &Path)> {
        self.trees.iter().flat_map(|found| {
            found.controllers.iter().map(|name| (name.as_str(), found.version, found.own.as_path()))
        })
    }

    /// The caller's own group in each tree.
    pub(crate) fn trees(&self) -> impl Iterator<Item = (Version, &Path)> {
        self.trees.iter().map(|found| (found.version, found.own.as_path()))
    }

    /// The caller's own group in the v2 tree, if its processes may be moved, and whose.
    pub(crate) fn room(&self) -> Option<(PathBuf, Who)> {
        Some((self.v2()?.to_path_buf(), self.moving?))
    }

    /// The caller's own group in the v2 tree.
    pub(crate) fn v2(&self) -> Option<&Path> {
        self.trees.iter().find(|found| found.version == Version::V2).map(|found| found.own.as_path())
    }
}

/// The trees, without the controllers of v2's.
fn parse(cgroup: &[u8], mountinfo: &[u8]) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for (mounted, own) in seen(cgroup, mountinfo) {
        let mut controllers = mounted.controllers;
        // The one that v1 names blkio has its name of v2 too.
        if controllers.iter().any(|name| name == "blkio") {
            controllers.push("io".into());
        }
        let version = Version::of(&controllers);
        let (own, path) = match version {
            Version::V1 => (own, mounted.path),
            Version::V2 => (room::own(own), room::own(mounted.path)),
        };
        let is_known = |known: &Hierarchy| known.version == version && known.controllers == controllers;
        if !found.iter().any(is_known) {
            found.push(Hierarchy { version, controllers, own, path });
        }
    }
    found
}

/// The groups of /proc/PID/cgroup that a mount shows, and the directories where.
fn seen(cgroup: &[u8], mountinfo: &[u8]) -> Vec<(Membership, PathBuf)> {
    let memberships: Vec<_> = memberships(cgroup).collect();
    let shown = |mount: Mount| {
        let mounted = memberships.iter().find(|one| one.is_mounted_by(&mount))?;
        Some((mounted.clone(), locate(&mounted.path, &mount)?))
    };
    mountinfo::mounts(mountinfo).filter_map(shown).collect()
}

fn read_proc(file: &str) -> Result<Vec<u8>> {
    read_made_up(Path::new(file)).doing(|| format!("find the cgroups in {file}"))
}

/// The directories of the groups that a process is in, by its pid or as `self`, where they can be seen.
pub(crate) fn of(process: &str) -> Result<Vec<(Version, PathBuf)>> {
    let seen = seen(&read_proc(&format!("/proc/{process}/cgroup"))?, &read_proc("/proc/self/mountinfo")?);
    Ok(seen.into_iter().map(|(mounted, dir)| (Version::of(&mounted.controllers), dir)).collect())
}

/// What every group of v2 has without a controller.
pub(crate) const CORE: [&str; 3] = ["cgroup", "freezer", "devices"];

/// The directory of the group `path` in a mount that shows it.
fn locate(path: &Path, mount: &Mount) -> Option<PathBuf> {
    let below = |dir: PathBuf, rest: &Path| if rest.as_os_str().is_empty() { dir } else { dir.join(rest) };
    // A mount of a part of the tree shows the own group only if that lies in the part.
    if let Ok(rest) = path.strip_prefix(&mount.root) {
        return Some(below(mount.point.clone(), rest));
    }
    // Seen from a cgroup namespace, the root of a mount from outside is /.. or /../.. above its own, by
    // names that are not told.
    let ups = |path: &Path| {
        let parts = path.components().skip(1);
        parts.take_while(|part| *part == Component::ParentDir).count()
    };
    let (of_mount, of_path) = (ups(&mount.root), ups(path));
    let levels = of_mount.checked_sub(of_path)?;
    if mount.root.components().count() != of_mount + 1 {
        return None;
    }
    let rest: PathBuf = path.components().skip(1 + of_path).collect();
    search(&mount.point, levels).into_iter().map(|dir| below(dir, &rest)).find(|dir| has_us(dir))
}

/// The groups so many levels below one.
fn search(top: &Path, levels: usize) -> Vec<PathBuf> {
    (0..levels).fold(vec![top.to_path_buf()], |dirs, _| {
        let entries = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
        let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        groups.map(|entry| entry.path()).collect()
    })
}

fn has_us(dir: &Path) -> bool {
    let own = std::process::id().to_string();
    fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|list| list.lines().any(|pid| pid == own))
}

/// Whether the group above has a v2 controller that the group does not have.
fn above_has(own: &Path, controller: &str) -> bool {
    let list = fs::read_to_string(own.join("../cgroup.controllers")).unwrap_or_default();
    list.split_whitespace().any(|name| name == controller)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(cgroup: &[u8], mountinfo: &[u8]) -> Hierarchies {
        Hierarchies { trees: parse(cgroup, mountinfo), moving: None }
    }

    const CGROUP: &[u8] = b"4:memory:/a/b\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/u\n";

    #[test]
    fn the_own_group_is_found_in_each_tree() {
        let mounts = b"35 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
27 1 254:0 / / rw - ext4 /dev/vda rw
";
        let found = found(CGROUP, mounts);
        let v1 = |path| Some((Version::V1, Path::new(path)));
        let v2 = Path::new("/sys/fs/cgroup/unified/u");
        assert_eq!(found.place("memory"), v1("/sys/fs/cgroup/memory/a/b"));
        assert_eq!(found.place("cpuacct"), v1("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(found.v2(), Some(v2));
        assert_eq!(found.place("freezer"), Some((Version::V2, v2)));
        assert_eq!(found.place("pids"), None);
    }

    #[test]
    fn the_controller_of_input_and_output_is_found_by_both_names() {
        let mounts = b"35 31 0:31 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n";
        let found = super::tests::found(b"4:blkio:/a\n", mounts);
        let place = Some((Version::V1, Path::new("/sys/fs/cgroup/blkio/a")));
        assert_eq!((found.place("io"), found.place("blkio")), (place, place));
    }

    #[test]
    fn a_mount_of_a_part_of_the_tree_counts_only_if_the_group_is_in_it() {
        let inside = b"35 31 0:31 /a /mnt/a\\040b rw - cgroup cgroup rw,memory\n";
        assert_eq!(found(CGROUP, inside).place("memory"), Some((Version::V1, Path::new("/mnt/a b/b"))));
        let outside = b"35 31 0:31 /other /mnt rw - cgroup cgroup rw,memory\n";
        assert_eq!(found(CGROUP, outside).place("memory"), None);
    }

    #[test]
    fn where_no_tree_is_mounted_it_is_said_what_can_be_done() {
        let error = found(CGROUP, b"").place_for("mem=4M", "memory").expect_err("none");
        assert!(error.to_string().ends_with("limit the box itself, by cg-set in front of it"), "{error}");
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), line in "[ -~]{0,80}") {
            let _ = found(&bytes, &bytes);
            let _ = found(CGROUP, format!("1 1 0:1 {line} - cgroup cgroup rw,{line}").as_bytes());
        }
    }
}
