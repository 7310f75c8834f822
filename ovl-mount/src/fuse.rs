//! An overlay without the kernel's: fuse-overlayfs(1), a program that makes one in user space, for kernels before
//! Linux 5.11, which have none in a user namespace, and for layers that the kernel's does not take.

use std::{
    fmt::Write as _,
    fs::File,
    io::{Read, Seek},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use chain::{
    Doing, Error, Remedy, Result,
    mount::{attach, open_dir},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{prctl::set_pdeathsig, signal::Signal},
};
use rustix::{
    fs::{AtFlags, CWD, MemfdFlags, StatxFlags, memfd_create, statx},
    io::{FdFlags, fcntl_setfd},
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::overlay::Parts;

const PROGRAM: &str = "fuse-overlayfs";

/// How long the program runs that makes the overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// As long as this process, which becomes NEXT.
    NextEnds,
    /// Until umount(8).
    Unmounted,
}

/// Mounts it on `target`.
pub(crate) fn mount(parts: &Parts, target: &Path, until: Until) -> Result<()> {
    let doing = || format!("run {PROGRAM}");
    // Not a pipe, which nobody would read when this has become NEXT.
    let words = File::from(memfd_create("stderr", MemfdFlags::CLOEXEC).doing(doing)?);
    let mut command = Command::new(PROGRAM);
    command.arg("-o").arg(data(parts)).arg(target).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(words.try_clone().doing(doing)?);
    for fd in parts.descriptors() {
        // It opens them by number; they are closed here when the parts go.
        fcntl_setfd(fd, FdFlags::empty()).doing(doing)?;
    }
    if until == Until::NextEnds {
        // It wants names that lead to its layers, which those on a mount that is attached nowhere have not.
        for mount in &parts.detached {
            attach(mount, open_dir(target).doing(doing)?, target)?;
        }
        command.arg("-f");
        let parent = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).doing(doing)?;
        let die_with_parent = move || {
            set_pdeathsig(Signal::SIGTERM)?;
            // It may have died before that was asked for.
            let mut fds = [PollFd::new(parent.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::ZERO)? == 0 { Ok(()) } else { Err(Errno::ESRCH.into()) }
        };
        // SAFETY: it makes two system calls and takes no memory.
        unsafe { command.pre_exec(die_with_parent) };
    }
    let before = mount_id(target)?;
    let mut child = command.spawn().doing(doing).remedy(Errno::ENOENT, "install it, or leave out --fuse")?;
    if until == Until::NextEnds {
        wait_for_mount(&child, target, before)?;
    } else {
        child.wait().doing(doing)?;
    }
    if mount_id(target)? != before {
        return Ok(());
    }
    let mut said = String::new();
    let mut words = words;
    words.rewind().and_then(|()| words.read_to_string(&mut said)).doing(doing)?;
    // What it says of options that libfuse adds itself.
    let said: Vec<_> = said.lines().filter(|line| !line.starts_with("unknown argument ignored")).collect();
    Err(Error::new(doing(), if said.is_empty() { "it mounted nothing".into() } else { said.join(", ") }))
}

/// The options of fuse-overlayfs(1), with descriptors for names.
fn data(parts: &Parts) -> String {
    let name = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lowers: Vec<_> = parts.lowers.iter().map(|lower| name(&lower.dir)).collect();
    let mut data = format!("lowerdir={}", lowers.join(":"));
    if let Some(upper) = &parts.upper {
        let _ = write!(data, ",upperdir={},workdir={}", name(&upper.dir), name(&upper.work));
    }
    for (name, value) in &parts.options {
        let _ = match (name.as_str(), value) {
            // These are of the kernel's overlay; here it is always so.
            ("userxattr", _) => Ok(()),
            (_, Some(value)) => write!(data, ",{name}={value}"),
            (_, None) => write!(data, ",{name}"),
        };
    }
    data
}

/// Waits until something is mounted on `target`, or the program has ended. The kernel wakes who polls the list of
/// mounts when it changes (proc_pid_mountinfo(5)).
fn wait_for_mount(child: &Child, target: &Path, before: u64) -> Result<()> {
    let doing = || format!("wait for {PROGRAM}");
    let mounts = File::open("/proc/self/mountinfo").doing(doing)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let child = pidfd_open(pid.ok_or(Errno::ESRCH).doing(doing)?, PidfdFlags::empty()).doing(doing)?;
    while mount_id(target)? == before {
        let mut fds =
            [PollFd::new(mounts.as_fd(), PollFlags::POLLPRI), PollFd::new(child.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            done => drop(done.doing(doing)?),
        }
        if fds[1].any() == Some(true) {
            break;
        }
    }
    Ok(())
}

/// The mount that a path leads to.
fn mount_id(path: &Path) -> Result<u64> {
    let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID);
    Ok(found.doing(|| format!("target {}", path.display()))?.stx_mnt_id)
}
