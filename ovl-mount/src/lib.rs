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
mod mapped;
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

use std::{
    ffi::OsString,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use chain::{
    Doing, Error, IdMap, Launch, Link, Result,
    mount::{advice, attach, leave_namespace, open_dir, open_real},
};
use nix::{errno::Errno, sched::CloneFlags};

use fuse::Until;
use mapped::Owners;
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
    /// The map of owners, as the kernel takes it.
    owners: Option<OwnedFd>,
    /// The overlay, until it is put in place.
    made: Option<OwnedFd>,
}

impl OvlMount {
    /// A link that mounts `layers` on `target`.
    pub fn new(layers: Layers, target: PathBuf) -> Self {
        Self { layers, target, fuse: false, over_itself: false, owners: None, made: None }
    }

    /// A link that mounts `dir`, whose name has no symbolic links, over itself. It is opened once, so that what takes its
    /// place meanwhile is not shown, nor changed.
    pub fn over(dir: PathBuf, changes: Changes, options: MountOptions) -> Self {
        let layers = Layers { lower: vec![dir.clone()], changes, options, owners: None };
        Self { over_itself: true, ..Self::new(layers, dir) }
    }

    /// The same by fuse-overlayfs(1), if `wanted`, not by the kernel's overlays.
    #[must_use]
    pub fn by_fuse(self, wanted: bool) -> Self {
        Self { fuse: wanted, ..self }
    }

    /// Mounts in the namespace of this process, for everybody in it, until umount(2).
    pub(crate) fn mount_for_all(mut self, dry_run: bool) -> Result<()> {
        self.check()?;
        if dry_run {
            let lines: Vec<_> = self.what().map(|step| format!("{}: {step}\n", self.name())).collect();
            return chain::print(&lines.concat()).map(drop);
        }
        self.mount(Until::Unmounted)
    }

    fn check(&mut self) -> Result<()> {
        self.owners = self.layers.owners.as_ref().map(IdMap::namespace).transpose()?;
        if self.fuse {
            if self.owners.is_some() {
                return Err(Error::new("--fuse", "fuse-overlayfs maps no owners")
                    .hint("leave it out, or use box-run --allow-host-root"));
            }
            check::options_of_fuse(&self.layers)?;
        } else {
            check::options_of_bind(&self.layers)?;
        }
        check::all(&self.layers, &self.target)?;
        self.check_owners()
    }

    /// Fails if those who make changes would not own the whole, by its directories, which must be there.
    fn check_owners(&self) -> Result<()> {
        let Some(map) = &self.layers.owners else { return Ok(()) };
        let open = |dir: &Path, kind: &str| open_dir(dir).doing(|| format!("{kind} layer {}", dir.display()));
        match (&self.layers.changes, self.layers.lower.first()) {
            (Changes::Upper { upper, .. }, _) => mapped::check_upper(map, open(upper, "upper")?, upper),
            (_, Some(lower)) if lower.is_dir() => mapped::check_lower(map, open(lower, "lower")?, lower),
            _ => Ok(()),
        }
    }

    fn mount(&self, until: Until) -> Result<()> {
        let own = self.over_itself.then(|| open_real(&self.target)).transpose()?;
        if self.fuse {
            let (parts, work) = Parts::open(&self.layers, own.as_ref(), None)?;
            let mounted = fuse::mount(&parts, &self.target, until);
            return mounted.inspect_err(|_| work.into_iter().for_each(WorkDir::unmake));
        }
        // Opened first: mounted on a lower layer, the overlay must lie on what was there before.
        let (place, lower) = match own {
            Some(own) => (own.try_clone().doing(|| self.shown())?, Some(own)),
            None => (self.place()?, None),
        };
        let mount = overlay::make(&self.layers, lower.as_ref(), self.map(), &place)?;
        attach(mount, place, &self.target)
    }

    fn shown(&self) -> String {
        format!("target {}", self.target.display())
    }

    fn place(&self) -> Result<OwnedFd> {
        open_dir(&self.target).doing(|| self.shown())
    }

    fn map(&self) -> Option<Owners<'_>> {
        let (map, namespace) = self.layers.owners.as_ref().zip(self.owners.as_ref())?;
        Some(Owners { map, namespace: namespace.as_fd() })
    }

    fn what(&self) -> impl Iterator<Item = String> {
        let lower: Vec<_> = self.layers.lower.iter().map(|lower| lower.display().to_string()).collect();
        let work = match &self.layers.changes {
            Changes::Upper { upper, work: None } => Some(work::default_work(upper)),
            _ => None,
        };
        let make = work.filter(|work| !work.exists()).map(|work| format!("make {}", work.display()));
        let by = if self.fuse { ", by fuse-overlayfs" } else { "" };
        let owners = self.layers.owners.as_ref().map(|map| format!(", owners mapped {map}"));
        let owners = owners.unwrap_or_default();
        let mount = format!(
            "mount {} on {}, {}{owners}{by}",
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
        self.check()?;
        if self.owners.is_some() {
            launch.act_before_birth();
        }
        Ok(())
    }

    /// Only who is root outside may map owners, and a user namespace may be about to be made.
    fn before_birth(&mut self) -> Result<()> {
        if self.owners.is_some() {
            if !overlay::takes_descriptors(&self.layers)? {
                leave_namespace()?;
            }
            self.made = Some(overlay::make(&self.layers, None, self.map(), &self.place()?)?);
        }
        Ok(())
    }

    fn enter(&mut self) -> Result<()> {
        match self.made.take() {
            Some(mount) => attach(mount, self.place()?, &self.target),
            None => self.mount(Until::NextEnds),
        }
    }

    fn advice(&self, namespaces: CloneFlags, errno: Errno) -> Option<String> {
        advice(namespaces, errno, "user,mnt")
    }
}
