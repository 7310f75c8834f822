//! System calls that neither nix nor rustix has, and the few that need `unsafe`.

use std::{
    ffi::CStr,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{errno::Errno, sched::CloneFlags, unistd::Pid};

/// include/uapi/linux/sched.h; the constant of the libc crate has overflowed.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of [`clone`] this is.
pub(crate) enum Side {
    /// The supervisor, with the pid of its child.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Makes a child, as fork(2) does, in new `namespaces` and in the v2 group `cgroup`.
pub(crate) fn clone(namespaces: CloneFlags, cgroup: Option<BorrowedFd>) -> nix::Result<Side> {
    clone3(namespaces, Some(libc::SIGCHLD), cgroup)
}

/// The same, but what is made is a child of the caller's parent, which the kernel tells of its end as
/// it would of the caller's (CLONE_PARENT of clone(2)).
pub(crate) fn clone_sibling(namespaces: CloneFlags, cgroup: Option<BorrowedFd>) -> nix::Result<Side> {
    clone3(namespaces | CloneFlags::CLONE_PARENT, None, cgroup)
}

/// clone3(2). On a kernel or under a seccomp filter without it this is clone(2), which makes the same
/// unless a group is asked for.
fn clone3(
    flags: CloneFlags,
    exit_signal: Option<libc::c_int>,
    cgroup: Option<BorrowedFd>,
) -> nix::Result<Side> {
    let flags = u64::from(flags.bits().cast_unsigned());
    let exit_signal = u64::from(exit_signal.unwrap_or(0).cast_unsigned());
    // SAFETY: clone_args is plain numbers, for which zero means "not asked for".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    args.exit_signal = exit_signal;
    if let Some(group) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd().cast_unsigned().into();
    }
    // SAFETY: without CLONE_VM the child gets its own copy of the memory and returns here as from
    // fork(2). The process has one thread (the caller asserts it), so no lock is held by another.
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of_val(&args)) };
    if pid < 0 && Errno::last() == Errno::ENOSYS && cgroup.is_none() {
        // SAFETY: as above; a null stack means the copy of the caller's own.
        pid = unsafe { libc::syscall(libc::SYS_clone, flags | exit_signal, 0, 0, 0, 0) };
    }
    match Errno::result(pid)? {
        0 => Ok(Side::Child),
        // A pid is at most 2^22 (PID_MAX_LIMIT in include/linux/threads.h).
        pid => Ok(Side::Parent(Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)))),
    }
}

/// Ends the process at once: nothing that the supervisor buffered or registered is run twice.
pub fn exit_now(status: u8) -> ! {
    // SAFETY: _exit(2) has no precondition.
    unsafe { libc::_exit(status.into()) }
}

/// Gives memory that was freed back to the kernel, which would be held as long as NEXT runs. It is called while that
/// runs, because it takes a while.
pub(crate) fn give_back_memory() {
    #[cfg(target_env = "musl")]
    crate::memory::give_back();
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) touches no memory that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Marks every descriptor from `first` on close-on-exec, in one call (close_range(2), Linux 5.11).
pub(crate) fn close_on_exec_from(first: RawFd) -> nix::Result<()> {
    close_range(first, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from 3 on but those that are still `needed`.
pub fn close_all_but<const N: usize>(mut needed: [RawFd; N]) -> nix::Result<()> {
    needed.sort_unstable();
    let mut first = 3;
    for fd in needed {
        if first < fd {
            close_range(first, fd - 1, 0)?;
        }
        first = fd + 1;
    }
    close_range(first, RawFd::MAX, 0)
}

fn close_range(first: RawFd, last: RawFd, flags: libc::c_uint) -> nix::Result<()> {
    // SAFETY: marks descriptors, or closes those that the caller says nobody will use again.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, first.cast_unsigned(), last.cast_unsigned(), flags) };
    Errno::result(done).map(drop)
}

/// Fails with EBADF if `fd`, which the user named, is not open.
pub(crate) fn check_open(fd: RawFd) -> nix::Result<()> {
    // SAFETY: F_GETFD only asks.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFD) }).map(drop)
}

/// Fails with EBADF if the caller did not give us `fd`: a standard one can be ours.
pub(crate) fn check_given(fd: RawFd) -> nix::Result<()> {
    if start::closed().any(|closed| closed == fd) { Err(Errno::EBADF) } else { check_open(fd) }
}

/// Takes `fd`, which the user named, to be used and closed here; a copy of it if it is a standard one,
/// which must stay open. Fails with EBADF if it is not open.
pub fn take_fd(fd: RawFd) -> nix::Result<OwnedFd> {
    check_given(fd)?;
    if fd > 2 {
        // SAFETY: it is open and was inherited, as links take what the user named before they open
        // anything, and the caller takes each number once.
        return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    // SAFETY: the copy is new, so nobody else owns it.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    // SAFETY: it is open, as the kernel has just said.
    Errno::result(copy).map(|copy| unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Closes with exec a standard descriptor that the caller had closed.
pub(crate) fn close_on_exec(fd: RawFd) -> nix::Result<()> {
    // SAFETY: marks a descriptor, which stays open until exec.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// Lets `fd`, which the user named, reach NEXT.
pub(crate) fn keep_on_exec(fd: RawFd) -> nix::Result<()> {
    // SAFETY: clears the flag of a descriptor that stays open; nothing owns what is inherited.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }).map(drop)
}

/// Asks for SIGIO each time something is made in a directory, as long as the descriptor is open (F_NOTIFY of fcntl(2)).
/// Unlike what inotify(7) needs there are as many of these as one likes.
pub fn call_when_something_is_made(dir: BorrowedFd) -> nix::Result<()> {
    /// include/uapi/linux/fcntl.h; the libc crate does not have them.
    const F_NOTIFY: libc::c_int = 1024 + 2;
    const DN_CREATE: libc::c_ulong = 4;
    const DN_MULTISHOT: libc::c_ulong = 0x8000_0000;
    // SAFETY: it takes numbers, and the descriptor is borrowed for the call.
    Errno::result(unsafe { libc::fcntl(dir.as_raw_fd(), F_NOTIFY, DN_CREATE | DN_MULTISHOT) }).map(drop)
}

/// Changes the mount of `tree`, and all below it if asked, as `attr` says: mount_setattr(2), Linux 5.12.
pub(crate) fn mount_setattr(tree: BorrowedFd, recursive: bool, attr: &libc::mount_attr) -> nix::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let empty: &CStr = c"";
    // SAFETY: the descriptor is borrowed for the call, as is the one in attr by whoever made that; path
    // and attr outlive it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            empty.as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of_val(attr),
        )
    };
    Errno::result(done).map(drop)
}

/// What the caller gave to this program and the program changes for itself, as Rust's own start-up would:
/// it ignores SIGPIPE, and opens /dev/null for a standard descriptor that is closed, so that no file of
/// ours becomes one. NEXT must get what the caller had, as it does from env(1).
pub(crate) mod start {
    use std::{
        ffi::{CStr, OsStr, OsString, c_char, c_int},
        os::{fd::RawFd, unix::ffi::OsStrExt},
        ptr::null_mut,
        sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering},
    };

    use nix::sys::signal::Signal;

    static WORDS: AtomicPtr<u8> = AtomicPtr::new(null_mut());
    static LENGTH: AtomicUsize = AtomicUsize::new(0);

    /// Keeps where the words of the command line are: one after the other, as the kernel has put them there, and it
    /// shows all from the first to the last in /proc/PID/cmdline.
    ///
    /// # Safety
    ///
    /// They are `main`'s own.
    pub unsafe fn keep_words(count: c_int, words: *const *const c_char) {
        let Some(last) = usize::try_from(count).ok().and_then(|count| count.checked_sub(1)) else { return };
        // SAFETY: there are `count` of them, and `count` is not 0.
        let first = unsafe { words.read() };
        // SAFETY: as above; this is the last of them.
        let last = unsafe { words.wrapping_add(last).read() };
        // SAFETY: each is a string that lives on.
        let last = unsafe { CStr::from_ptr(last) };
        let end = last.as_ptr().addr() + last.count_bytes() + 1;
        WORDS.store(first.cast_mut().cast(), Ordering::Relaxed);
        LENGTH.store(end.saturating_sub(first.addr()), Ordering::Relaxed);
    }

    /// The words of the command line. Rust's own way to them is set up by its start-up, or by glibc alone.
    pub(crate) fn words() -> Vec<OsString> {
        let (words, length) = (WORDS.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
        if length == 0 {
            return Vec::new();
        }
        // SAFETY: the stack's end lives on. The process has one thread, which is here.
        let memory = unsafe { std::slice::from_raw_parts(words, length - 1) };
        memory.split(|byte| *byte == 0).map(|word| OsStr::from_bytes(word).to_owned()).collect()
    }

    /// Overwrites the words of the command line with this one, or its beginning. Nobody may ask for them any more.
    pub(crate) fn rename(title: &str) {
        let (words, length) = (WORDS.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
        if words.is_null() || length < 2 {
            return;
        }
        // SAFETY: the stack's end is the process's own to write, and lives on. The process has one thread, which has made
        // copies of what it needs.
        let memory = unsafe { std::slice::from_raw_parts_mut(words, length) };
        memory.fill(0);
        let fits = title.len().min(length - 2);
        memory[..fits].copy_from_slice(&title.as_bytes()[..fits]);
        // Where the last byte is not 0 the kernel takes all for one string, which ends at the first 0 (get_mm_cmdline() of
        // fs/proc/base.c); else it would show how long the words were.
        memory[length - 1] = 1;
    }

    static SIGPIPE_IGNORED: AtomicBool = AtomicBool::new(false);
    static CLOSED: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

    /// Makes both changes. Called first of all.
    pub(crate) fn settle() {
        for (fd, closed) in (0..).zip(&CLOSED) {
            if super::check_open(fd).is_err() {
                closed.store(true, Ordering::Relaxed);
                // SAFETY: the path is a string that lives on. The lowest free number is `fd`, as those
                // below it are open by now.
                let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) };
                if null != fd {
                    // Nowhere is safe to write to.
                    super::exit_now(crate::FAILED);
                }
            }
        }
        let was_ignored = super::disposition(Signal::SIGPIPE, true);
        SIGPIPE_IGNORED.store(was_ignored == Ok(true), Ordering::Relaxed);
    }

    /// Whether SIGPIPE was ignored.
    pub(crate) fn sigpipe_was_ignored() -> bool {
        SIGPIPE_IGNORED.load(Ordering::Relaxed)
    }

    /// The standard descriptors that were closed.
    pub(crate) fn closed() -> impl Iterator<Item = RawFd> {
        (0..).zip(&CLOSED).filter(|(_, closed)| closed.load(Ordering::Relaxed)).map(|(fd, _)| fd)
    }
}

/// Sets a signal to its default or to ignored; no handler is ever installed.
pub(crate) fn disposition(signal: nix::sys::signal::Signal, ignored: bool) -> nix::Result<bool> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};
    let handler = if ignored { SigHandler::SigIgn } else { SigHandler::SigDfl };
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: SIG_DFL and SIG_IGN run no code of ours.
    let old = unsafe { sigaction(signal, &action)? };
    Ok(matches!(old.handler(), SigHandler::SigIgn))
}

/// Whether a signal is ignored.
pub(crate) fn is_ignored(signal: nix::sys::signal::Signal) -> nix::Result<bool> {
    // SAFETY: sigaction is plain numbers and an address, for which zero is valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is set, and what is asked for lives through the call.
    Errno::result(unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut action) })?;
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// The signals that wait because they are held back (sigpending(2)).
pub(crate) fn pending() -> nix::Result<nix::sys::signal::SigSet> {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the call writes the whole set.
    Errno::result(unsafe { libc::sigpending(set.as_mut_ptr()) })?;
    // SAFETY: as above, by a call that has succeeded.
    let set = unsafe { set.assume_init() };
    // SAFETY: the kernel has put signals there and nothing else.
    Ok(unsafe { nix::sys::signal::SigSet::from_sigset_t_unchecked(set) })
}

/// Whether this process is in another user namespace than the first one (user_namespaces(7)).
pub fn in_user_namespace() -> bool {
    use std::os::unix::fs::MetadataExt;
    /// PROC_USER_INIT_INO of <linux/proc_ns.h>: the inode number of the first one.
    const FIRST: u64 = 0xEFFF_FFFD;
    std::fs::metadata("/proc/self/ns/user").is_ok_and(|found| found.ino() != FIRST)
}
