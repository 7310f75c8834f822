//! Layers whose owners are shown as others (mount_setattr(2), MOUNT_ATTR_IDMAP; overlays take such layers since Linux 5.19).
//!
//! The upper layer is not mapped: what is made in it belongs to those that owners are shown as. So a command in a user
//! namespace with this map leaves no file of root, nor a setuid program of root, outside of it.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use chain::{
    Doing, Error, IdMap, Remedy, Result,
    mount::{Attributes, copy_below},
    owners_mapped,
};
use nix::errno::Errno;
use rustix::fs::{AtFlags, Gid, Uid, chownat, fstat};

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
    }

    /// A mapped copy of the mount that the directory is on, from that directory on.
    pub(crate) fn copy(self, dir: impl AsFd, shown: &str) -> Result<OwnedFd> {
        let copy = copy_below(dir, "", false).doing(|| shown.to_owned())?;
        self.map(&copy, shown)?;
        Ok(copy)
    }

    /// Gives an empty upper directory to the one as whom its owner is shown, unless it is of such a one already.
    pub(crate) fn give(self, upper: &OwnedFd, path: &Path) -> Result<Option<Given>> {
        let doing = || shown(path);
        let found = fstat(upper).doing(doing)?;
        let Some(to) = new_owner(self.map, upper, path)? else { return Ok(None) };
        let given = Given { dir: upper.try_clone().doing(doing)?, was: (found.st_uid, found.st_gid) };
        chown(upper, to).doing(|| format!("give {} to {}:{}", path.display(), to.0, to.1))?;
        Ok(Some(given))
    }
}

/// To whom an upper directory must be given before it has changes of this map, if not to nobody: whose it is must be
/// seen by those who make them.
pub(crate) fn new_owner(map: &IdMap, upper: impl AsFd, path: &Path) -> Result<Option<(u32, u32)>> {
    let doing = || shown(path);
    let found = fstat(&upper).doing(doing)?;
    let (user, group) = (found.st_uid, found.st_gid);
    if map.shows_as(user) && map.shows_as(group) {
        return Ok(None);
    }
    let inside = format!("/proc/self/fd/{}", upper.as_fd().as_raw_fd());
    let is_empty = fs::read_dir(inside).doing(doing)?.next().is_none();
    let to = map.shown(user).zip(map.shown(group)).filter(|_| is_empty);
    to.map(Some).ok_or_else(|| {
        let why = format!("it belongs to {user}:{group}, which the map {map} shows as nobody");
        let hint = "name an empty one for changes of this map, or use box-run --allow-host-root";
        Error::new(doing(), why).hint(hint)
    })
}

fn shown(upper: &Path) -> String {
    format!("upper layer {}", upper.display())
}

/// A directory that was given to another owner.
pub(crate) struct Given {
    dir: OwnedFd,
    was: (u32, u32),
}

impl Given {
    /// Gives it back.
    pub(crate) fn back(self) {
        // If not, the next mount finds it as it should be for this map.
        let _ = chown(&self.dir, self.was);
    }
}

fn chown(dir: &OwnedFd, (user, group): (u32, u32)) -> rustix::io::Result<()> {
    chownat(dir, "", Some(Uid::from_raw(user)), Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)
}
