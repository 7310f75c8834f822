//! The way that a path takes, link by link: who made a link decides where it leads, and that may be somebody who would
//! like to have another directory opened.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use nix::{errno::Errno, unistd::geteuid};

use crate::modes::is_of_system;

/// Where a path leads.
pub(crate) struct Walk {
    /// The path without links.
    pub(crate) real: PathBuf,
    /// The first link that leads out of the directory that it is in, and where to, unless it is one of the system.
    pub(crate) out: Option<(PathBuf, PathBuf)>,
}

/// What the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

enum Step {
    Root,
    Up,
    Down(OsString),
    /// The end of what the link stands for.
    EndOf(PathBuf),
}

impl Walk {
    /// Each name is looked at once. If a link takes its place later, the real path is not one any more.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let mut walk = Self { real: env::current_dir()?, out: None };
        // The next one is the last.
        let mut ahead: Vec<_> = steps(path).rev().collect();
        let mut links = 0;
        while let Some(step) = ahead.pop() {
            match step {
                Step::Root => walk.real = "/".into(),
                Step::Up => drop(walk.real.pop()),
                Step::EndOf(link) => walk.judge(link),
                Step::Down(name) => {
                    let next = walk.real.join(name);
                    match fs::read_link(&next) {
                        Ok(target) => {
                            links += 1;
                            if links > MOST_LINKS {
                                return Err(Errno::ELOOP.into());
                            }
                            ahead.push(Step::EndOf(next));
                            ahead.extend(steps(&target).rev());
                        }
                        // It is there, and no link.
                        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => walk.real = next,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(walk)
    }

    fn judge(&mut self, link: PathBuf) {
        let stays = link.parent().is_some_and(|dir| self.real.starts_with(dir));
        if self.out.is_none() && !stays && !is_link_of_system(&link) {
            self.out = Some((link, self.real.clone()));
        }
    }
}

fn steps(path: &Path) -> impl DoubleEndedIterator<Item = Step> {
    path.components().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.into())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Whether root made it, in a directory that only root can change; for root itself, to whom anything may have been given
/// in an archive or a repository, one where only the system's own are, such as `/var/run`.
fn is_link_of_system(link: &Path) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    let is_roots = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.uid() == 0);
    let is_closed = |dir: &Path| fs::metadata(dir).is_ok_and(|found| found.mode() & OTHERS_WRITE == 0);
    let dirs = || link.ancestors().skip(1);
    let is_systems = !geteuid().is_root() || dirs().next().is_some_and(is_of_system);
    is_systems && is_roots(link) && dirs().all(|dir| is_roots(dir) && is_closed(dir))
}
