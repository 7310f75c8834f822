//! An overlay filesystem as a link of a chain: directories on top of each other, with changes going
//! to the topmost (Documentation/filesystems/overlayfs.rst of the kernel).

mod args;
pub mod changes;
mod check;
pub mod commit;
pub mod diff;
mod fuse;
mod image;
mod in_use;
pub mod layer;
mod legacy;
mod loop_device;
mod memory;
mod options;
mod overlay;
mod own;
mod pieces;
mod store;
mod whole;
mod work;

pub use args::{Args, Changes, Layers};
pub use memory::MemorySize;
pub use options::MountOptions;
pub use whole::Whole;

use std::{ffi::OsString, path::PathBuf};

use chain::{
    Doing, Launch, Link, Result,
    mount::{advice, attach, open_dir, open_real},
};
use nix::{errno::Errno, sched::CloneFlags};

use fuse::Until;
use overlay::Parts;
use work::WorkDir;

/// NEXT with an overlay on a directory that only NEXT sees.
#[derive(Debug)]
pub struct OvlMount {
    layers: Layers,
    target: PathBuf,
    fuse: bool,
    /// The target is the lower layer too, and has no symbolic links in its name.
    over_itself: bool,
}

impl OvlMount {
    /// A link that mounts `layers` on `target`.
    pub fn new(layers: Layers, target: PathBuf) -> Self {
        Self { layers, target, fuse: false, over_itself: false }
    }

    /// A link that mounts `dir`, whose name has no symbolic links, over itself. It is opened once, so that what takes its
    /// place meanwhile is not shown, nor changed.
    pub fn over(dir: PathBuf, changes: Changes, options: MountOptions) -> Self {
        let layers = Layers { lower: vec![dir.clone()], changes, options };
        Self { over_itself: true, ..Self::new(layers, dir) }
    }

    /// The same by fuse-overlayfs(1), if `wanted`, not by the kernel's overlays.
    #[must_use]
    pub fn by_fuse(self, wanted: bool) -> Self {
        Self { fuse: wanted, ..self }
    }

    /// Mounts in the namespace of this process, for everybody in it, until umount(2).
    pub(crate) fn mount_for_all(&self, dry_run: bool) -> Result<()> {
        self.check()?;
        if dry_run {
            let lines: Vec<_> = self.what().map(|step| format!("{}: {step}\n", self.name())).collect();
            return chain::print(&lines.concat()).map(drop);
        }
        self.mount(Until::Unmounted)
    }

    fn check(&self) -> Result<()> {
        if self.fuse {
            check::options_of_fuse(&self.layers)?;
        } else {
            check::options_of_bind(&self.layers)?;
        }
        check::all(&self.layers, &self.target)
    }

    fn mount(&self, until: Until) -> Result<()> {
        let own = self.over_itself.then(|| open_real(&self.target)).transpose()?;
        if self.fuse {
            let (parts, work) = Parts::open(&self.layers, own.as_ref())?;
            let mounted = fuse::mount(&parts, &self.target, until);
            return mounted.inspect_err(|_| work.into_iter().for_each(WorkDir::unmake));
        }
        let doing = || format!("target {}", self.target.display());
        // Opened first: mounted on a lower layer, the overlay must lie on what was there before.
        let (place, lower) = match own {
            Some(own) => (own.try_clone().doing(doing)?, Some(own)),
            None => (open_dir(&self.target).doing(doing)?, None),
        };
        let mount = overlay::make(&self.layers, lower.as_ref(), &place)?;
        attach(mount, place, &self.target)
    }

    fn what(&self) -> impl Iterator<Item = String> {
        let lower: Vec<_> = self.layers.lower.iter().map(|lower| lower.display().to_string()).collect();
        let work = match &self.layers.changes {
            Changes::Upper { upper, work: None } => Some(work::default_work(upper)),
            _ => None,
        };
        let make = work.filter(|work| !work.exists()).map(|work| format!("make {}", work.display()));
        let by = if self.fuse { ", by fuse-overlayfs" } else { "" };
        let mount = format!(
            "mount {} on {}, {}{by}",
            lower.join(" over "),
            self.target.display(),
            self.layers.changes
        );
        make.into_iter().chain([mount])
    }
}

impl Link for OvlMount {
    fn name(&self) -> &'static str {
        "ovl-mount"
    }

    fn words(&self) -> Vec<OsString> {
        let mut words = self.layers.words();
        words.extend(self.fuse.then(|| "--fuse".into()));
        words.push(self.target.clone().into());
        words
    }

    fn steps(&self) -> Vec<String> {
        let own = "make a mount namespace of its own, with all mounts private".to_owned();
        [own].into_iter().chain(self.what()).collect()
    }

    fn prepare(&mut self, launch: &mut Launch) -> Result<()> {
        launch.namespaces |= CloneFlags::CLONE_NEWNS;
        self.check()
    }

    fn enter(&mut self) -> Result<()> {
        self.mount(Until::NextEnds)
    }

    fn advice(&self, namespaces: CloneFlags, errno: Errno) -> Option<String> {
        advice(namespaces, errno, "user,mnt")
    }
}
