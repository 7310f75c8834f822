//! A file as a block device (loop(4)).

use std::{
    fs::{File, OpenOptions},
    os::fd::{AsRawFd, BorrowedFd},
};

use chain::{Doing, Error, Remedy, Result};
use linux_raw_sys::loop_device::{
    LO_FLAGS_AUTOCLEAR, LO_FLAGS_READ_ONLY, LOOP_CONFIGURE, LOOP_CTL_GET_FREE, loop_config,
};
use nix::errno::Errno;

/// How often another may take the free device first.
const TRIES: u32 = 100;

nix::ioctl_none_bad!(get_free, LOOP_CTL_GET_FREE);
nix::ioctl_write_ptr_bad!(configure, LOOP_CONFIGURE, loop_config);

/// A loop device that ends when nobody has it open or mounted.
pub(crate) struct LoopDevice {
    pub(crate) path: String,
    _device: File,
}

/// Puts `file` behind a free loop device, read-only (Linux 5.8).
pub(crate) fn attach(file: BorrowedFd) -> Result<LoopDevice> {
    let doing = || "find a free loop device".to_owned();
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")
        .doing(doing)
        .remedy(Errno::EACCES, "only root may mount an image; unpack it")
        .remedy(Errno::ENOENT, "the kernel needs the module loop")?;
    for _ in 0..TRIES {
        // SAFETY: it takes no argument.
        let number = unsafe { get_free(control.as_raw_fd()) }.doing(doing)?;
        let path = format!("/dev/loop{number}");
        let device = File::open(&path).doing(|| path.clone())?;
        match set_up(&device, file) {
            // Another has taken it.
            Err(Errno::EBUSY) => {}
            done => {
                return done
                    .doing(|| format!("put the image behind {path}"))
                    .map(|()| LoopDevice { path, _device: device });
            }
        }
    }
    Err(Error::new(doing(), "others take each one first"))
}

fn set_up(device: &File, file: BorrowedFd) -> nix::Result<()> {
    // SAFETY: both structs are numbers, for which zero is "not given".
    let mut configuration: loop_config = unsafe { std::mem::zeroed() };
    configuration.fd = u32::try_from(file.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    configuration.info.lo_flags = LO_FLAGS_READ_ONLY as u32 | LO_FLAGS_AUTOCLEAR as u32;
    // SAFETY: the struct is what the kernel reads, and lives until it has.
    unsafe { configure(device.as_raw_fd(), &raw const configuration) }.map(drop)
}
