//! Which groups a process is in, as the kernel lists them in /proc/PID/cgroup (cgroups(7)).

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

use crate::mountinfo::Mount;

/// A process's place in one tree of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The controllers of a v1 tree, or its name such as `name=systemd`; none for the tree of v2.
    pub controllers: Vec<String>,
    /// The group, from the root of the tree or of the process's cgroup namespace on.
    pub path: PathBuf,
}

impl Membership {
    /// Whether a mount shows this tree, or a part of it.
    pub fn is_mounted_by(&self, mount: &Mount) -> bool {
        match self.controllers.as_slice() {
            [] => mount.filesystem == b"cgroup2",
            [first, ..] => mount.filesystem == b"cgroup" && mount.has_option(first),
        }
    }
}

/// The lines of such a file, which are like `4:memory:/a/b`. Those that are not of the form are left out.
pub fn memberships(cgroup: &[u8]) -> impl Iterator<Item = Membership> {
    cgroup.split(|byte| *byte == b'\n').filter_map(membership)
}

fn membership(line: &[u8]) -> Option<Membership> {
    let mut fields = line.splitn(3, |byte| *byte == b':').skip(1);
    let controllers = String::from_utf8_lossy(fields.next()?);
    let controllers = controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Some(Membership { controllers, path: OsString::from_vec(fields.next()?.to_vec()).into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mountinfo;

    #[test]
    fn each_line_is_a_place_in_a_tree_that_a_mount_shows() {
        let found: Vec<_> = memberships(b"4:cpu,cpuacct:/a:b\n0::/u\nnonsense\n\n").collect();
        let [v1, v2] = found.as_slice() else { panic!("two: {found:?}") };
        assert_eq!(
            (v1.controllers.as_slice(), v1.path.to_str()),
            (&["cpu".into(), "cpuacct".into()][..], Some("/a:b"))
        );
        assert_eq!((v2.controllers.len(), v2.path.to_str()), (0, Some("/u")));
        let mounts = b"32 31 0:29 / /cpu rw - cgroup cgroup rw,cpu,cpuacct\n41 31 0:38 / /v2 rw - cgroup2 cgroup2 rw\n";
        let shown: Vec<_> = mountinfo::mounts(mounts)
            .map(|mount| (v1.is_mounted_by(&mount), v2.is_mounted_by(&mount)))
            .collect();
        assert_eq!(shown, [(true, false), (false, true)]);
    }
}
