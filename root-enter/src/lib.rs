//! A new root as a link of a chain: pivot_root(2) in a private mount namespace, with a new /proc, a
//! minimal /dev, and what else is to be in it. Nothing else of the host stays mounted.
//!
//! | file | holds |
//! | --- | --- |
//! | `args.rs`, `details.rs`, `entries.rs` | the command line |
//! | `entry.rs`, `bind.rs`, `colons.rs` | what can go into the new root, and how it is typed |
//! | `item.rs`, `source.rs`, `place.rs` | how it gets there |
//! | `root.rs` | the switch |
//! | `proc.rs`, `sysfs.rs`, `dev.rs`, `cgroup.rs`, `net_files.rs`, `memory.rs` | what is made for it |

mod args;
mod bind;
mod cgroup;
mod colons;
mod details;
mod dev;
mod entries;
mod entry;
mod item;
mod memory;
mod net_files;
mod place;
mod proc;
mod root;
mod source;
mod steps;
mod sysfs;

pub use args::Args;
pub use bind::{Bind, From, Owners};
pub use details::Details;
pub use entries::Entries;
pub use entry::{Content, Dir, Entry, Symlink, Text, Tmpfs};

use std::{ffi::OsString, fs, path::PathBuf};

use chain::{
    Doing, Error, Launch, Link, Propagation, Result,
    mount::{Attributes, advice, open_dir},
};
use clap::ValueEnum;
use nix::{
    errno::Errno,
    sched::CloneFlags,
    sys::stat::{Mode, umask},
    unistd::fchdir,
};
use rustix::fs::{CWD, OFlags, ResolveFlags, openat2};

use item::Item;
use root::NewRoot;

/// NEXT with another root.
#[derive(Debug)]
pub struct RootEnter {
    root: PathBuf,
    entries: Entries,
    details: Details,
    propagation: Propagation,
    items: Vec<Item>,
    /// What is bound is looked up before the user namespace is made: all of it, or what is mapped alone.
    outside: Outside,
}

/// What is looked up before a user namespace is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outside {
    Nothing,
    Mapped,
    All,
}

impl RootEnter {
    /// A link that makes the directory `root` the root, with `entries` in it.
    pub fn new(root: PathBuf, entries: Entries) -> Self {
        let details = Details::default();
        let propagation = Propagation::Private;
        Self { root, entries, details, propagation, items: Vec::new(), outside: Outside::Nothing }
    }

    /// The same with these details.
    #[must_use]
    pub fn with(self, details: Details) -> Self {
        Self { details, ..self }
    }

    /// The same, but binds hang together with what they are of. Only for a launch in which no other link
    /// mounts anything: what that mounted would be seen outside.
    #[must_use]
    pub fn with_propagation(self, propagation: Propagation) -> Self {
        Self { propagation, ..self }
    }

    /// The same, but what is bound is looked up by the caller, before a user namespace is made in which the caller is
    /// nobody.
    #[must_use]
    pub fn with_binds_from_outside(self) -> Self {
        Self { outside: Outside::All, ..self }
    }

    /// What goes into the new root: what every root gets, then what was asked for.
    fn all_entries(&self) -> Vec<Entry> {
        let mut all = Vec::new();
        if !self.details.no_proc && !self.entries.has_proc() {
            all.push(Entry::Proc("/proc".into()));
        }
        if !self.details.no_dev && !self.entries.has_dev() {
            all.push(Entry::Dev("/dev".into()));
        }
        all.extend(self.entries.0.iter().cloned());
        all
    }

    fn sources(&mut self) -> impl Iterator<Item = (&Bind, &mut source::Source)> {
        self.items.iter_mut().filter_map(|item| match item {
            Item::Bind(bind, source) => Some((&*bind, source)),
            _ => None,
        })
    }
}

impl Link for RootEnter {
    fn name(&self) -> &'static str {
        "root-enter"
    }

    fn words(&self) -> Vec<OsString> {
        let mut words = self.details.words();
        if let Some(how) =
            self.propagation.to_possible_value().filter(|_| self.propagation != Propagation::Private)
        {
            words.extend(["--propagation".into(), how.get_name().into()]);
        }
        words.extend(self.entries.words());
        words.push(self.root.clone().into());
        words
    }

    fn steps(&self) -> Vec<String> {
        self.all_steps()
    }

    fn prepare(&mut self, launch: &mut Launch) -> Result<()> {
        let entries = self.all_entries();
        entry::check_descriptors(&entries)?;
        launch.namespaces |= CloneFlags::CLONE_NEWNS;
        launch.host_next |= self.details.host_next;
        match self.propagation {
            Propagation::Private => {}
            Propagation::Slave => launch.propagation = Propagation::Slave,
            // Until the binds are copied; then the rest is cut off.
            Propagation::Shared | Propagation::Unchanged => launch.propagation = Propagation::Unchanged,
        }
        let prepare = |entry| Item::prepare(entry, &self.details, launch);
        self.items = entries.into_iter().map(prepare).collect::<Result<_>>()?;
        let is_mapped = |(bind, _): (&Bind, &mut source::Source)| bind.id_map.is_some();
        if self.outside == Outside::Nothing
            && launch.namespaces.contains(CloneFlags::CLONE_NEWUSER)
            && self.sources().any(is_mapped)
        {
            self.outside = Outside::Mapped;
        }
        let looks_outside = self.outside != Outside::Nothing && self.sources().next().is_some();
        if looks_outside || self.sources().any(|(bind, _)| matches!(bind.from, From::Fd(_))) {
            launch.act_before_birth();
        }
        let doing = || format!("root {}", self.root.display());
        if !fs::metadata(&self.root).doing(doing)?.is_dir() {
            return Err(Error::os(doing(), Errno::ENOTDIR));
        }
        Ok(())
    }

    fn advice(&self, namespaces: CloneFlags, errno: Errno) -> Option<String> {
        advice(namespaces, errno, "user,mnt,pid")
    }

    fn before_birth(&mut self) -> Result<()> {
        let (common, propagation, outside) = (self.details.attributes(), self.propagation, self.outside);
        self.sources().try_for_each(|(bind, source)| {
            source.copy_given(bind)?;
            match outside {
                Outside::Nothing => Ok(()),
                Outside::Mapped if bind.id_map.is_none() => Ok(()),
                Outside::Mapped | Outside::All => source.copy_as(bind, common, propagation),
            }
        })
    }

    fn enter(&mut self) -> Result<()> {
        // What is bound is looked up before the root covers anything of it.
        let (common, propagation) = (self.details.attributes(), self.propagation);
        self.sources().try_for_each(|(bind, source)| source.copy(bind, common, propagation))?;
        if matches!(propagation, Propagation::Shared | Propagation::Unchanged) {
            // From here on nothing that is mounted goes out; what is mounted outside still comes in.
            change_old_root(Propagation::Slave, true)?;
        }
        let mut root = NewRoot::find(&self.root)?;
        if propagation != Propagation::Private {
            // Nor does anything come onto the old root, of which it must be known what is on it.
            change_old_root(Propagation::Private, false)?;
        }
        root.attach()?;
        root.set(common)?;
        if self.details.root_ro {
            root.close()?;
        }
        for item in &mut self.items {
            item.put(&mut root)?;
        }
        root.pivot()?;
        if let Some(dir) = &self.details.chdir {
            let doing = || format!("go to {} in the new root", dir.display());
            // No link of /proc, which could lead to what this process still has open of the old root.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = openat2(CWD, dir, flags, rustix::fs::Mode::empty(), ResolveFlags::NO_MAGICLINKS);
            fchdir(dir.doing(doing)?).doing(doing)?;
        }
        if let Some(mask) = self.details.umask {
            umask(Mode::from_bits_truncate(mask));
        }
        Ok(())
    }
}

fn change_old_root(propagation: Propagation, recursive: bool) -> Result<()> {
    let doing = || "keep mounts from going out".to_owned();
    let root = open_dir("/".as_ref()).doing(doing)?;
    Attributes { propagation, ..Attributes::default() }.apply(root, recursive).doing(doing)
}
