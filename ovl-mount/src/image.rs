//! Images of a filesystem as layers: mounted read-only for as long as the overlay is there.

use std::{
    fs::File,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
};

use chain::{
    Doing, Error, Remedy, Result,
    mount::{Filesystem, MountAttrFlags},
};
use nix::errno::Errno;

use crate::loop_device;

/// The kinds that are made to be shipped and are never written: their name, and by what they are known (the
/// superblocks in fs/squashfs/squashfs_fs.h and fs/erofs/erofs_fs.h of the kernel).
const KINDS: [(&str, u64, [u8; 4]); 2] =
    [("squashfs", 0, *b"hsqs"), ("erofs", 1024, [0xe2, 0xe1, 0xf5, 0xe0])];

/// A file that holds a filesystem.
pub(crate) struct Image {
    kind: &'static str,
    file: File,
}

impl Image {
    /// The image at `path`; `None` if a directory is there.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let shown = || format!("lower layer {}", path.display());
        let found = path.metadata().doing(shown)?;
        if found.is_dir() {
            return Ok(None);
        }
        if !found.is_file() {
            return Err(Error::new(shown(), "neither a directory nor an image"));
        }
        let file = File::open(path).doing(shown)?;
        let is = |at, magic: [u8; 4]| {
            let mut found = [0; 4];
            file.read_exact_at(&mut found, at).is_ok() && found == magic
        };
        match KINDS.into_iter().find(|(_, at, magic)| is(*at, *magic)) {
            Some((kind, ..)) => Ok(Some(Self { kind, file })),
            None => Err(Error::new(shown(), "neither a directory nor an image")
                .hint("images are of squashfs or erofs, such as mksquashfs DIR FILE makes")),
        }
    }
}

/// Mounts an image, attached nowhere: out of the file where the kernel can (erofs, Linux 6.12), else through a
/// loop device, which ends with the mount.
pub(crate) fn mount(image: &Image) -> Result<OwnedFd> {
    if image.kind == "erofs" {
        match mount_from(image.kind, &format!("/proc/self/fd/{}", image.file.as_raw_fd())) {
            // It wants a block device.
            Err(error) if error.errno() == Some(Errno::ENOTBLK) => {}
            done => return done,
        }
    }
    let device = loop_device::attach(image.file.as_fd())?;
    mount_from(image.kind, &device.path)
}

fn mount_from(kind: &'static str, source: &str) -> Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV;
    let read_only = Filesystem::new(kind)?.set("source", source)?.flag("ro")?;
    let no_images = "only root may mount an image, and not in a user namespace; unpack it";
    read_only.mount(attributes).remedy(Errno::EPERM, no_images)
}
