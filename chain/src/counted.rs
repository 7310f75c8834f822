//! Whether a limit on the processes of a user holds.

use nix::{
    errno::Errno,
    sched::CloneFlags,
    sys::{
        resource::{Resource, setrlimit},
        wait::{WaitStatus, waitpid},
    },
};

use crate::sys::{self, Side};

/// What the child ends with if it was refused a process.
const REFUSED: u8 = 1;

/// Whether the kernel counts this process's user for RLIMIT_NPROC (getrlimit(2)). It does not for the user 0 of the
/// first user namespace, whatever the number is in this one, and from inside of another one that cannot be read off a
/// map. So it is tried: a child that may have no other process is refused one. False if it cannot be known.
pub fn counts_processes() -> bool {
    match sys::clone(CloneFlags::empty(), None) {
        Ok(Side::Child) => {
            let limited = setrlimit(Resource::RLIMIT_NPROC, 0, 0).is_ok();
            match sys::clone(CloneFlags::empty(), None) {
                Ok(Side::Child) => sys::exit_now(0),
                Ok(Side::Parent(pid)) => {
                    let _ = waitpid(pid, None);
                    sys::exit_now(0)
                }
                Err(errno) => sys::exit_now(if limited && errno == Errno::EAGAIN { REFUSED } else { 0 }),
            }
        }
        Ok(Side::Parent(pid)) => waitpid(pid, None) == Ok(WaitStatus::Exited(pid, REFUSED.into())),
        Err(_) => false,
    }
}
