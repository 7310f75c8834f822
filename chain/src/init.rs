//! The first process of a pid namespace where NEXT is not that itself: it runs NEXT, reaps what is
//! orphaned, passes signals on, and ends with NEXT's status, by which the kernel kills what is left
//! (pid_namespaces(7), "The namespace init process").

use std::{convert::Infallible, fs::File, os::fd::AsRawFd};

use nix::{sched::CloneFlags, sys::prctl::set_dumpable};

use crate::{
    channel::{self, Channel, Report, Word},
    cli,
    error::{Doing, Result},
    next::{Inheritance, Next},
    signals::{Receiver, Signals},
    supervisor::Child,
    sys::{self, Side},
};

/// Runs NEXT as process 2, which does `first` before. Returns only if that failed.
pub(crate) fn run(
    next: &Next,
    inheritance: &Inheritance,
    outside: &File,
    signals: &Signals,
    first: impl FnOnce() -> Result<()>,
) -> Result<Infallible> {
    let inside = Channel::new()?;
    // From here on it is this process that knows what a signal means to NEXT. Told later, NEXT could
    // run before the supervisor knows, which would then end the box by a signal that NEXT handles.
    channel::tell(outside, &Word::InitRuns);
    // NEXT could else open the pipe to the supervisor in /proc/1/fd; exec makes NEXT itself dumpable again.
    set_dumpable(false).doing(|| "keep others out of process 1".into())?;
    cli::call_it_init();
    match sys::clone(CloneFlags::empty(), None).doing(|| "make a child".into())? {
        Side::Child => {
            drop(inside.reader);
            let error = match first().and_then(|()| next.become_it(inheritance, || signals.restore())) {
                Ok(never) => match never {},
                Err(error) => error,
            };
            channel::tell(&inside.writer, &Word::Failed(error));
            sys::exit_now(0);
        }
        Side::Parent(pid) => {
            drop(inside.writer);
            // Who may trace this process, as root outside of user namespaces, can open what it has open.
            let needed = [outside.as_raw_fd(), signals.fd().as_raw_fd(), inside.reader.as_raw_fd()];
            sys::close_all_but(needed).doing(|| "close descriptors".into())?;
            let mut child =
                Child::new(pid, Receiver::plain(), signals, Report::new(Some(inside.reader)), None)
                    .of_init(outside);
            sys::give_back_memory();
            sys::exit_now(child.wait()?.status())
        }
    }
}
