//! What a bind shows, from a path or a descriptor to a detached mount.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileTypeExt,
    },
};

use chain::{
    Doing, Error, Propagation, Remedy, Result,
    mount::{Attributes, MountAttrFlags, copy_below, copy_tree, is_mount_root, open_real},
    owners_mapped, take_fd,
};
use nix::errno::Errno;

use crate::bind::{Bind, From, Owners};

/// What is kept of a bind until it is put in place.
#[derive(Debug)]
pub(crate) struct Source {
    /// The descriptor that the caller gave.
    given: Option<File>,
    id_map: Option<OwnedFd>,
    tree: Option<OwnedFd>,
    /// The copy has its attributes.
    is_ready: bool,
}

impl Source {
    /// Looks whether it is there and would be of use; `common` are the attributes of all binds.
    pub(crate) fn prepare(bind: &Bind, common: MountAttrFlags) -> Result<Self> {
        let doing = || format!("bind {}", bind.from);
        let (given, found) = match &bind.from {
            From::Path(path) | From::Real(path) | From::Mounted(path) => {
                (None, fs::metadata(path).doing(doing)?)
            }
            From::Fd(number) => {
                let given = File::from(take_fd(*number).doing(doing)?);
                let found = given.metadata().doing(doing)?;
                (Some(given), found)
            }
        };
        let kind = found.file_type();
        let is_device = kind.is_char_device() || kind.is_block_device();
        if is_device && attributes(bind, common).contains(MountAttrFlags::MOUNT_ATTR_NODEV) {
            return Err(Error::new(doing(), "it is a device, and devices do not work in binds")
                .hint("allow it with the option dev, as in /dev/kmsg:/dev/kmsg:dev"));
        }
        let id_map = match &bind.id_map {
            Some(Owners::Map(map)) => Some(map.namespace()),
            Some(Owners::Box) => {
                return Err(Error::new(doing(), "idmap=box is for box-run, which has a map")
                    .hint("write it, as in idmap=0-100000-65536"));
            }
            None => None,
        };
        let id_map = id_map.transpose().map_err(|error| error.within(&doing()))?;
        Ok(Self { given, id_map, tree: None, is_ready: false })
    }

    /// Copies what the caller gave, which is of the mount namespace that the caller is in.
    pub(crate) fn copy_given(&mut self, bind: &Bind) -> Result<()> {
        if let Some(given) = &self.given {
            let tree = copy_below(given, "", bind.recursive)
                .doing(|| format!("bind {}", bind.from))
                .remedy(Errno::EPERM, "run as root")
                .remedy(Errno::EINVAL, "it must be of the mount namespace that the caller is in")?;
            self.tree = Some(tree);
        }
        Ok(())
    }

    /// Copies what a path leads to, and gives the copy its attributes: with all that is mounted below it,
    /// because a part alone would show what those mounts hide.
    pub(crate) fn copy(&mut self, bind: &Bind, common: MountAttrFlags, how: Propagation) -> Result<()> {
        if self.is_ready {
            return Ok(());
        }
        // A copy of what the caller gave hangs together with the original, and that is outside.
        let is_of_outside = self.given.is_some() || how == Propagation::Shared;
        self.copy_as(bind, common, if is_of_outside { how } else { Propagation::Unchanged })
    }

    /// The same, with this propagation: where a user namespace is about to be made, of which no process may map what is
    /// mounted outside, nor reach it where a directory above is not for all, it is done before. As such a copy hangs
    /// together with the original, it must not be left as it is.
    pub(crate) fn copy_as(
        &mut self,
        bind: &Bind,
        common: MountAttrFlags,
        propagation: Propagation,
    ) -> Result<()> {
        match &bind.from {
            From::Path(path) => self.tree = Some(copy_tree(path, bind.recursive)?),
            From::Real(path) => self.tree = Some(copy_open(&open_real(path)?, bind)?),
            From::Mounted(path) => {
                let place = open_real(path)?;
                if !is_mount_root(&place) {
                    return Err(Error::new(
                        format!("bind {}", bind.from),
                        "another directory has taken its place",
                    )
                    .hint("try it again"));
                }
                self.tree = Some(copy_open(&place, bind)?);
            }
            From::Fd(_) => {}
        }
        let Some(tree) = &self.tree else { return Ok(()) };
        let id_map = self.id_map.as_ref().map(AsFd::as_fd);
        let wanted =
            Attributes { set: attributes(bind, common), propagation, id_map, ..Attributes::default() };
        let (done, shown) = (wanted.apply(tree, bind.recursive), format!("bind {}", bind.from));
        self.is_ready = true;
        if self.id_map.is_some() { owners_mapped(done, &shown) } else { done.doing(|| shown) }
    }

    /// The copy, of which there is one.
    pub(crate) fn tree(&mut self) -> Option<OwnedFd> {
        self.tree.take()
    }
}

fn copy_open(place: &OwnedFd, bind: &Bind) -> Result<OwnedFd> {
    let copied = copy_below(place, "", bind.recursive).doing(|| format!("bind {}", bind.from));
    copied.remedy(Errno::EPERM, "run as root")
}

/// The attributes of a bind: its own, and of the common ones those that it was not freed from.
fn attributes(bind: &Bind, common: MountAttrFlags) -> MountAttrFlags {
    bind.set | common.difference(bind.clear)
}
