//! The command's own cgroups in the new root: at the place where programs look for their limits, without
//! those of others, and read-only (cgroup_namespaces(7)).

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use chain::{
    Doing, Error, Remedy, Result,
    cgroups::{Membership, memberships},
    mount::{Filesystem, MountAttrFlags, QUIET, attach, attach_below, make_read_only},
    mountinfo,
};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
};
use rustix::fs::{AtFlags, Mode, mkdirat, statat};

use crate::root::NewRoot;

/// Where programs look.
pub(crate) const PLACE: &str = "/sys/fs/cgroup";

/// A tree of groups that is mounted on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    /// Of cgroup v1; without any it is that of v2.
    controllers: Vec<String>,
    /// Where it is seen, from [`PLACE`]; itself if that is the only one.
    place: PathBuf,
}

/// The trees that the host has in the usual place.
pub(crate) fn trees() -> Result<Vec<Tree>> {
    let read = |file: &str| fs::read(file).doing(|| format!("--cgroup: read {file}"));
    let trees = parse(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?);
    if trees.is_empty() {
        return Err(Error::new("--cgroup", format!("no cgroup filesystem is mounted in {PLACE}")));
    }
    Ok(trees)
}

fn parse(cgroup: &[u8], mountinfo: &[u8]) -> Vec<Tree> {
    // A tree that has no controller but a name is its owner's alone.
    let has_name = |one: &Membership| one.controllers.iter().any(|name| name.contains('='));
    let memberships: Vec<_> = memberships(cgroup).filter(|one| !has_name(one)).collect();
    let mut trees = Vec::<Tree>::new();
    for mount in mountinfo::mounts(mountinfo) {
        let Ok(place) = mount.point.strip_prefix(PLACE) else { continue };
        let Some(mounted) = memberships.iter().find(|one| one.is_mounted_by(&mount)) else { continue };
        if !trees.iter().any(|tree| tree.place == place) {
            trees.push(Tree { controllers: mounted.controllers.clone(), place: place.to_owned() });
        }
    }
    trees
}

/// Makes the group that this process is in the root of what it sees of them, and mounts that on `place`.
pub(crate) fn mount(trees: &[Tree], root: &NewRoot, place: &Path) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWCGROUP)
        .doing(|| "new cgroup namespace".into())
        .remedy(Errno::EPERM, "run as root")?;
    // Read-only is the mount: the filesystem is the host's too.
    let own = trees.iter().map(|tree| Ok((tree, tree.open(QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY)?)));
    let mut own = own.collect::<Result<Vec<_>>>()?;
    own.retain(|(tree, top)| !tree.is_whole(top));

    if let [(tree, mounted)] = own.as_slice()
        && tree.place == Path::new("")
        && (place != Path::new(PLACE) || root.has_dir(place)?)
    {
        return attach(mounted, root.dir(place)?, place);
    }
    // The mount points are in a filesystem of ours, for there may be none in the new root. Of the usual
    // place /sys is more likely to be there than the rest of it.
    let above = if place == Path::new(PLACE) && !root.has_dir(place)? { Path::new("/sys") } else { place };
    let holder = Filesystem::new("tmpfs")?.set("mode", "755")?.set("size", "64k")?.mount(QUIET)?;
    let top = place.strip_prefix(above).unwrap_or(Path::new(""));
    for dir in own.iter().map(|(tree, _)| top.join(&tree.place)).chain([top.to_owned()]) {
        make_all(&holder, &dir).doing(|| format!("make {}", above.join(&dir).display()))?;
    }
    attach(&holder, root.dir(above)?, above)?;
    for (tree, mounted) in own {
        let name = top.join(&tree.place);
        let doing = || format!("mount on {}", above.join(&name).display());
        attach_below(mounted, &holder, &name).doing(doing)?;
    }
    make_read_only(&holder, false)
}

/// Makes a directory below `top`, with those above it.
fn make_all(top: &OwnedFd, dir: &Path) -> rustix::io::Result<()> {
    let mut above: Vec<_> = dir.ancestors().filter(|above| !above.as_os_str().is_empty()).collect();
    above.reverse();
    above.into_iter().try_for_each(|dir| match mkdirat(top, dir, Mode::from(0o755)) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        done => done,
    })
}

impl Tree {
    /// The tree from the root of the cgroup namespace on.
    fn open(&self, attributes: MountAttrFlags) -> Result<OwnedFd> {
        let kind = if self.controllers.is_empty() { "cgroup2" } else { "cgroup" };
        let named = Filesystem::new(kind)?;
        let flagged = self.controllers.iter().try_fold(named, |made, controller| made.flag(controller))?;
        flagged.mount(attributes)
    }

    /// Whether the top is the machine's: the command has no group of its own in this tree, and all others'
    /// would be seen. Only the machine's has, or lacks, these files (cgroups(7)).
    fn is_whole(&self, top: &OwnedFd) -> bool {
        let has = |file| statat(top, file, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if self.controllers.is_empty() { !has("cgroup.type") } else { has("release_agent") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tree_is_found_once_with_all_its_controllers() {
        let cgroup = b"4:memory:/a\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/u\n";
        let mounts = b"34 31 0:30 / /sys/fs/cgroup rw - tmpfs tmpfs rw
35 34 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 34 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 34 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 34 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
42 34 0:31 / /mnt/memory rw - cgroup cgroup rw,memory
";
        let tree = |controllers: &[&str], place: &str| Tree {
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            place: place.into(),
        };
        let expected =
            [tree(&["memory"], "memory"), tree(&["cpu", "cpuacct"], "cpu,cpuacct"), tree(&[], "unified")];
        assert_eq!(parse(cgroup, mounts), expected);
        let alone = b"34 31 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(parse(b"0::/\n", alone), [tree(&[], "")]);
    }
}
