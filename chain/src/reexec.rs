//! This program run once more from a copy in memory, which nobody can change.
//!
//! Who joins the namespaces of others becomes a program of theirs, which may be /proc/self/exe: then it is this one
//! that runs among them, and who is root there may change its file through /proc/PID/exe, on the host's filesystem
//! (CVE-2019-5736). Of a copy only this process would see that.

use std::{
    env,
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
    signals, sys,
};

/// What a program's copy is called in /proc/PID/exe, before its name.
const COPY: &str = "/memfd:chainbox";

/// Goes on in a copy of this program of this name, from its start; returns in the copy.
pub fn run_from_a_copy(name: &CStr) -> Result<()> {
    let doing = || "run from a copy".to_owned();
    let own = fs::read_link("/proc/self/exe").doing(doing)?;
    if own.as_os_str().as_encoded_bytes().starts_with(COPY.as_bytes()) {
        // Exec by descriptor has left a number there.
        return prctl::set_name(name).doing(doing);
    }
    let copy = copy().doing(doing)?;
    // The start that follows must find what the caller gave.
    sys::start::closed().try_for_each(sys::close_on_exec).doing(doing)?;
    signals::restore_sigpipe()?;
    let words: Vec<_> = env::args_os().filter_map(|word| CString::new(word.into_vec()).ok()).collect();
    let environment = crate::next::own_environment();
    let never = execveat(copy.as_fd(), c"", &words, &environment, AtFlags::AT_EMPTY_PATH).doing(doing)?;
    match never {}
}

/// The program in memory, sealed (memfd_create(2), "File sealing").
fn copy() -> io::Result<OwnedFd> {
    /// Linux 6.3, where it must be said; include/uapi/linux/memfd.h.
    const MFD_EXEC: libc::c_uint = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let memory = match memfd(flags | MFD_EXEC) {
        Err(Errno::EINVAL) => memfd(flags),
        made => made,
    }?;
    let mut memory = File::from(memory);
    io::copy(&mut File::open("/proc/self/exe")?, &mut memory)?;
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
