//! This program run once more from where nobody can change it.
//!
//! Who joins the namespaces of others becomes a program of theirs, which may be /proc/self/exe: then it is this one
//! that runs among them, and who is root there may change its file through /proc/PID/exe, on the host's filesystem
//! (CVE-2019-5736). On a mount of its own, read-only, that fails; the mount is in no mount namespace, so that nobody can
//! make it another (mount_setattr(2), EINVAL). Who may not mount has a copy in memory instead, which takes longer.

use std::{
    ffi::{CStr, CString},
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
};

use nix::{errno::Errno, fcntl::AtFlags, libc, sys::prctl, unistd::execveat};

use crate::{
    error::{Doing, Result},
    mount::{copy_below, make_read_only},
    signals, sys,
};

/// What /proc/PID/exe shows of a file that is the root of a mount in no mount namespace.
const ON_ITS_OWN_MOUNT: &[u8] = b"/";

/// How that begins for a copy in memory.
const IN_MEMORY: &[u8] = b"/memfd:chainbox";

/// Goes on in this program of this name, from its start, where nobody can change it; returns there.
pub fn run_unchangeable(name: &CStr) -> Result<()> {
    let doing = || "run from where nobody can change this program".to_owned();
    let own = fs::read_link("/proc/self/exe").doing(doing)?;
    let own = own.as_os_str().as_encoded_bytes();
    if own == ON_ITS_OWN_MOUNT || own.starts_with(IN_MEMORY) {
        // Exec by descriptor has left a number there.
        return prctl::set_name(name).doing(doing);
    }
    let file = File::open("/proc/self/exe").doing(doing)?;
    let program = match copy_below(&file, "", false) {
        Ok(mount) => make_read_only(&mount, false).map(|()| mount)?,
        // Not for who has no capabilities over this mount namespace, nor on a mount that is not in it.
        Err(_) => copy(file).doing(doing)?,
    };
    // The start that follows must find what the caller gave.
    sys::start::closed().try_for_each(sys::close_on_exec).doing(doing)?;
    signals::restore_sigpipe()?;
    let words: Vec<_> =
        sys::start::words().into_iter().filter_map(|word| CString::new(word.into_vec()).ok()).collect();
    let environment = crate::next::own_environment();
    let never = execveat(program.as_fd(), c"", &words, &environment, AtFlags::AT_EMPTY_PATH).doing(doing)?;
    match never {}
}

/// The program in memory, sealed (memfd_create(2), "File sealing").
fn copy(mut program: File) -> io::Result<OwnedFd> {
    /// Linux 6.3, where it must be said; include/uapi/linux/memfd.h.
    const MFD_EXEC: libc::c_uint = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let memory = match memfd(flags | MFD_EXEC) {
        Err(Errno::EINVAL) => memfd(flags),
        made => made,
    }?;
    let mut memory = File::from(memory);
    io::copy(&mut program, &mut memory)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: fcntl(2) with a number.
    Errno::result(unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(memory.into())
}

fn memfd(flags: libc::c_uint) -> nix::Result<OwnedFd> {
    // SAFETY: the name is a string that lives on.
    let raw = Errno::result(unsafe { libc::memfd_create(c"chainbox".as_ptr(), flags) })?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
