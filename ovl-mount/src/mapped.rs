//! Layers whose owners are shown as others (mount_setattr(2), MOUNT_ATTR_IDMAP; overlays take such layers since Linux 5.19).
//!
//! The upper layer is not mapped: what is made in it belongs to those that owners are shown as. So a command in a user
//! namespace with this map leaves no file of root, nor a setuid program of root, outside of it.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use chain::{
    Doing, Error, IdMap, Remedy, Result,
    mount::{Attributes, copy_below},
    owners_mapped,
};
use nix::errno::Errno;
use rustix::fs::fstat;

/// A map of owners.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owners<'a> {
    pub(crate) map: &'a IdMap,
    /// A user namespace that has it.
    pub(crate) namespace: BorrowedFd<'a>,
}

impl Owners<'_> {
    /// Maps a mount that is attached nowhere.
    pub(crate) fn map(self, mount: impl AsFd, shown: &str) -> Result<()> {
        let wanted = Attributes { id_map: Some(self.namespace), ..Attributes::default() };
        owners_mapped(wanted.apply(mount, false), shown)
            .remedy(Errno::EINVAL, "copy it to one that does, or use box-run --allow-host-root")
            .remedy(Errno::EPERM, "use box-run --allow-host-root")
    }

    /// A mapped copy of the mount that the directory is on, from that directory on.
    pub(crate) fn copy(self, dir: impl AsFd, shown: &str) -> Result<OwnedFd> {
        let copy = copy_below(dir, "", false).doing(|| shown.to_owned())?;
        self.map(&copy, shown)?;
        Ok(copy)
    }
}

/// Fails unless an upper directory is of one as whom owners are shown: whose it is must be seen by those who make changes.
pub(crate) fn check_upper(map: &IdMap, upper: impl AsFd, path: &Path) -> Result<()> {
    let shown = format!("upper layer {}", path.display());
    let (user, group) = owner(upper).doing(|| shown.clone())?;
    if map.shows_as(user) && map.shows_as(group) {
        return Ok(());
    }
    let hint = match map.shown(user).zip(map.shown(group)) {
        // The caller's to do: what is in it now would be nobody's.
        Some((user, group)) => format!("if it is empty, chown {user}:{group} it, or use {UNMAPPED}"),
        None => format!("name one of the map's, or use {UNMAPPED}"),
    };
    let why = format!("it belongs to {user}:{group}, which the map {map} shows as nobody");
    Err(Error::new(shown, why).hint(hint))
}

/// Fails if the owner of the topmost layer, which is that of the whole, would be shown as nobody.
pub(crate) fn check_lower(map: &IdMap, lower: impl AsFd, path: &Path) -> Result<()> {
    let shown = format!("lower layer {}", path.display());
    let (user, group) = owner(lower).doing(|| shown.clone())?;
    if map.shown(user).is_some() && map.shown(group).is_some() {
        return Ok(());
    }
    let why = format!("it belongs to {user}:{group}, whom the map {map} shows as nobody");
    Err(Error::new(shown, why)
        .hint(format!("give it the owners that it is to have inside, or use {UNMAPPED}")))
}

/// What goes on without a map.
const UNMAPPED: &str = "box-run --allow-host-root";

/// The user and the group to whom it belongs.
fn owner(dir: impl AsFd) -> rustix::io::Result<(u32, u32)> {
    fstat(dir).map(|found| (found.st_uid, found.st_gid))
}
