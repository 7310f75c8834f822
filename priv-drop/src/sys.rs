//! The system calls that neither nix nor rustix nor seccompiler has.

use nix::errno::Errno;
use seccompiler::BpfProgramRef;

/// Adds a seccomp filter to this thread: seccomp(2), SECCOMP_SET_MODE_FILTER. What it does not let pass is
/// logged with `log` (SECCOMP_FILTER_FLAG_LOG, Linux 4.14).
pub(crate) fn install_filter(program: BpfProgramRef, log: bool) -> nix::Result<()> {
    let mut filter: Vec<_> = program
        .iter()
        .map(|from| libc::sock_filter { code: from.code, jt: from.jt, jf: from.jf, k: from.k })
        .collect();
    let len = u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?;
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    let flags = if log { libc::SECCOMP_FILTER_FLAG_LOG } else { 0 };
    // SAFETY: the kernel copies `len` instructions, which outlive the call, and keeps no pointer.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    Errno::result(done).map(drop)
}

/// Leaves the session keyring that the caller gave, and what is in it, for one without a name and without keys
/// (keyctl_join_session_keyring(3)). A kernel without keys has nothing to leave.
pub(crate) fn join_new_session_keyring() -> nix::Result<()> {
    let no_name: *const libc::c_char = std::ptr::null();
    // SAFETY: without a name the kernel reads no memory of ours.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, no_name) };
    match Errno::result(done) {
        Err(Errno::ENOSYS) => Ok(()),
        joined => joined.map(drop),
    }
}

/// The version of the kernel's landlock (landlock_create_ruleset(2)); `None` if it has none or it is off.
pub fn landlock_version() -> Option<u32> {
    const VERSION: libc::c_uint = 1;
    let nothing: *const libc::c_void = std::ptr::null();
    // SAFETY: with this flag the kernel reads no memory and makes nothing.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(version).ok()
}
