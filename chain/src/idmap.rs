//! A map of owners as the kernel takes it for a mount: a user namespace that nobody is in.

use std::{
    fs::{self, File},
    io::Read,
    os::fd::OwnedFd,
};

use nix::{errno::Errno, sched::CloneFlags, sys::wait::waitpid, unistd::Pid};

use crate::{
    channel::Channel,
    error::{Doing, Error, Remedy, Result},
    signals,
    sys::{self, Side},
};

/// A user namespace in which users and groups are mapped by `map`, in the lines of user_namespaces(7),
/// "User and group ID mappings". It lives as long as the descriptor, or a mount that was made with it.
pub fn id_map(map: &str) -> Result<OwnedFd> {
    if !signals::proc_is_ours() {
        return Err(Error::new("id map", "/proc is missing, or that of another pid namespace"));
    }
    // The child is there until the pipe closes, and with it the namespace until it is open here.
    let Channel { mut reader, writer } = Channel::new()?;
    let made = sys::clone(CloneFlags::CLONE_NEWUSER, None)
        .doing(|| "new user namespace for an id map".into())
        .remedy(Errno::EPERM, "run as root")?;
    match made {
        Side::Child => {
            drop(writer);
            let _ = reader.read(&mut [0]);
            sys::exit_now(0)
        }
        Side::Parent(pid) => {
            let namespace = fill(pid, map);
            drop(writer);
            waitpid(pid, None).doing(|| "wait for a child".into())?;
            namespace
        }
    }
}

fn fill(pid: Pid, map: &str) -> Result<OwnedFd> {
    for file in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{file}"), map)
            .doing(|| format!("set the {file} of an id map"))
            .remedy(Errno::EPERM, "run as root")
            .remedy(Errno::EINVAL, "parts of a map must not overlap")?;
    }
    let namespace = File::open(format!("/proc/{pid}/ns/user")).doing(|| "open an id map".into())?;
    Ok(namespace.into())
}
