//! A new root as a link of a chain: pivot_root(2) in a private mount namespace, with a new /proc, a
//! minimal /dev and binds of the host's files. Nothing else of the host stays mounted.

mod args;
mod cgroup;
mod dev;
mod place;
mod root;

pub use args::{Args, Bind, Binds};

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use chain::{
    Doing, Error, Launch, Link, Remedy, Result,
    mount::{attach, copy_tree, make_read_only, new_proc},
};
use nix::{errno::Errno, sched::CloneFlags};

use root::NewRoot;

/// NEXT with another root.
#[derive(Debug)]
pub struct RootEnter {
    root: PathBuf,
    binds: Binds,
    cgroup: bool,
    trees: Vec<cgroup::Tree>,
}

impl RootEnter {
    /// A link that makes the directory `root` the root, with `binds` in it.
    pub fn new(root: PathBuf, binds: Binds) -> Self {
        Self { root, binds, cgroup: false, trees: Vec::new() }
    }

    /// The same with the command's own cgroups, read-only, if `shown`.
    #[must_use]
    pub fn with_cgroup(self, shown: bool) -> Self {
        Self { cgroup: shown, ..self }
    }
}

impl Link for RootEnter {
    fn name(&self) -> &'static str {
        "root-enter"
    }

    fn words(&self) -> Vec<OsString> {
        let mut words = self.binds.words();
        words.extend(self.cgroup.then(|| "--cgroup".into()));
        words.push(self.root.clone().into());
        words
    }

    fn steps(&self) -> Vec<String> {
        let mut steps = vec![
            "make a mount namespace of its own, with all mounts private".into(),
            format!("mount a new proc and a minimal /dev in {}", self.root.display()),
        ];
        if self.cgroup {
            steps.push(
                "make a cgroup namespace, and mount its groups on /sys/fs/cgroup in it, read-only".into(),
            );
        }
        for bind in &self.binds.0 {
            let how = if bind.read_only { ", read-only" } else { "" };
            steps.push(format!("bind {} on {} in it{how}", bind.from.display(), bind.to.display()));
        }
        steps.push(format!("make {} the root, and unmount the old one", self.root.display()));
        steps
    }

    fn prepare(&mut self, launch: &mut Launch) -> Result<()> {
        launch.namespaces |= CloneFlags::CLONE_NEWNS;
        let doing = || format!("root {}", self.root.display());
        if !fs::metadata(&self.root).doing(doing)?.is_dir() {
            return Err(Error::os(doing(), Errno::ENOTDIR));
        }
        if fs::canonicalize(&self.root).doing(doing)? == Path::new("/") {
            return Err(Error::new(doing(), "it is the present root")
                .hint("show it elsewhere first: ovl-mount -l / /mnt -- root-enter /mnt"));
        }
        if self.cgroup {
            self.trees = cgroup::trees()?;
        }
        for bind in &self.binds.0 {
            fs::metadata(&bind.from).doing(|| format!("bind {}", bind.from.display()))?;
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        // What is bound is looked up before the root covers anything of it.
        let sources = self.binds.0.iter().map(source).collect::<Result<Vec<_>>>()?;
        let root = NewRoot::open(&self.root)?;
        let proc = Path::new("/proc");
        attach(new_proc()?, root.dir(proc)?, proc)?;
        dev::mount(&root)?;
        if self.cgroup {
            cgroup::mount(&self.trees, &root)?;
        }
        for (bind, source) in self.binds.0.iter().zip(sources) {
            let place = if source.is_dir { root.dir(&bind.to) } else { root.file(&bind.to) };
            place
                .and_then(|place| attach(source.tree, place, &bind.to))
                .remedy(Errno::ENOTDIR, KINDS)
                .remedy(Errno::EISDIR, KINDS)?;
        }
        root.pivot()
    }
}

const KINDS: &str = "a directory is bound on a directory, and a file on a file";

struct Source {
    tree: std::os::fd::OwnedFd,
    is_dir: bool,
}

/// A copy of what is bound: with all that is mounted below it, for a part of it alone would show
/// what those mounts hide.
fn source(bind: &Bind) -> Result<Source> {
    let tree = copy_tree(&bind.from, true)?;
    if bind.read_only {
        make_read_only(&tree, true)
            .map_err(|error| error.within(&format!("bind {}", bind.from.display())))?;
    }
    let is_dir = fs::metadata(&bind.from).doing(|| format!("bind {}", bind.from.display()))?.is_dir();
    Ok(Source { tree, is_dir })
}
