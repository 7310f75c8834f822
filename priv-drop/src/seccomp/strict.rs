//! A program that reads its input, computes and writes its output: memory, files, time, threads, and
//! another program in its own place. No network, no other process, nothing about users, mounts or the
//! machine.

use seccompiler::SeccompCmpOp as Op;

use super::{
    default::NAMESPACES,
    profile::{Profile, Rule, errno, int_is, mask},
};

/// The profile. What is not in it is refused with EPERM.
pub(super) fn profile() -> Profile {
    let thread = Op::MaskedEq(mask(NAMESPACES | libc::CLONE_THREAD));
    let mut rules = vec![
        Rule::new(&["clone3"], errno(libc::ENOSYS)),
        Rule::allow(ALWAYS),
        Rule { args: vec![int_is(0, thread, mask(libc::CLONE_THREAD))], ..Rule::allow(&["clone"]) },
        Rule { of_itself: true, ..Rule::allow(&["kill", "prlimit64", "tgkill"]) },
        Rule { args: vec![int_is(0, Op::Eq, 0)], ..Rule::allow(&["prlimit64"]) },
    ];
    rules
        .extend(IOCTLS.map(|ioctl| Rule { args: vec![int_is(1, Op::Eq, ioctl)], ..Rule::allow(&["ioctl"]) }));
    Profile { default: errno(libc::EPERM), rules }
}

/// What the C library asks to know whether a descriptor is a terminal, and what is fcntl(2) in another form.
/// Their type is the C library's own.
const IOCTLS: [u64; 5] =
    [libc::TCGETS as _, libc::TIOCGWINSZ as _, libc::FIONREAD as _, libc::FIOCLEX as _, libc::FIONCLEX as _];

#[rustfmt::skip]
const ALWAYS: &[&str] = &[
    // Memory.
    "brk", "get_mempolicy", "madvise", "map_shadow_stack", "membarrier", "memfd_create", "mincore", "mlock",
    "mlock2", "mlockall", "mmap", "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap",
    "pkey_alloc", "pkey_free", "pkey_mprotect",
    // Files.
    "access", "chdir", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3",
    "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fcntl", "fdatasync", "flock", "fstat",
    "fstatfs", "fsync", "ftruncate", "getcwd", "getdents", "getdents64", "lseek", "lstat", "mkdir",
    "mkdirat", "newfstatat", "open", "openat", "openat2", "pread64", "preadv", "preadv2", "pwrite64",
    "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "rename", "renameat",
    "renameat2", "rmdir", "sendfile", "splice", "stat", "statfs", "statx", "sync_file_range", "tee",
    "truncate", "umask", "unlink", "unlinkat", "write", "writev",
    // Waiting.
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd",
    "eventfd2", "pause", "pipe", "pipe2", "poll", "ppoll", "pselect6", "select", "timerfd_create",
    "timerfd_gettime", "timerfd_settime",
    // Time.
    "alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "getitimer", "gettimeofday", "nanosleep",
    "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime",
    "timer_settime", "times",
    // Signals that come, and threads.
    "futex", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "get_robust_list",
    "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn",
    "rt_sigsuspend", "rt_sigtimedwait", "sched_getaffinity", "sched_yield", "set_robust_list",
    "set_tid_address", "sigaltstack",
    // The process itself, and another program in its place.
    "arch_prctl", "capget", "execve", "execveat", "exit", "exit_group", "getcpu", "getegid", "geteuid",
    "getgid", "getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getrandom", "getresgid",
    "getresuid", "getrlimit", "getrusage", "getsid", "gettid", "getuid", "prctl", "riscv_flush_icache",
    "riscv_hwprobe", "setrlimit", "sysinfo", "uname",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::syscalls::is_known;

    #[test]
    fn every_name_is_one() {
        for name in ALWAYS {
            assert!(is_known(name), "{name}");
        }
    }
}
