//! A terminal with a program on it, typed at by a test.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, ExitStatus},
    time::Instant,
};

use nix::{
    fcntl::{OFlag, open},
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, setsid},
};

use crate::scene::{time_limit, wait_until};

nix::ioctl_write_int_bad!(take_terminal, libc::TIOCSCTTY);

/// A program that leads a session on a terminal of its own.
pub struct Terminal {
    keyboard_and_screen: Option<File>,
    program: Child,
    shown: String,
}

impl Terminal {
    /// Starts the program there.
    pub fn new(mut command: Command) -> Self {
        // Not openpty(3), whose descriptors would reach every other program that a test starts.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let master = posix_openpt(flags).expect("a pseudo-terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a pseudo-terminal");
        let slave = open(ptsname_r(&master).expect("its name").as_str(), flags, Mode::empty());
        let slave = File::from(slave.expect("its other side"));
        let copy = || slave.try_clone().expect("dup");
        command.stdin(copy()).stdout(copy()).stderr(copy());
        let lead_session = || {
            setsid()?;
            // SAFETY: takes a number, and descriptor 0 is the terminal by now.
            unsafe { take_terminal(0, 0) }?;
            Ok(())
        };
        // SAFETY: only system calls between fork and exec.
        unsafe { command.pre_exec(lead_session) };
        let program = command.spawn().expect("a program on a terminal");
        let master = File::from(OwnedFd::from(master));
        Self { keyboard_and_screen: Some(master), program, shown: String::new() }
    }

    /// The program's pid.
    pub fn pid(&self) -> i32 {
        self.program.id().try_into().expect("pid")
    }

    /// Types this.
    pub fn type_keys(&mut self, keys: &str) {
        let keyboard = self.keyboard_and_screen.as_mut().expect("not hung up");
        keyboard.write_all(keys.as_bytes()).expect("keys");
    }

    /// Waits until this is shown, and gives what was shown before it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.shown.find(text) {
                let after = self.shown.split_off(at + text.len());
                return std::mem::replace(&mut self.shown, after);
            }
            assert!(start.elapsed() < time_limit(), "not shown: {text:?}; shown is {:?}", self.shown);
            assert!(self.read(), "ended without {text:?}; shown is {:?}", self.shown);
        }
    }

    /// Hangs up, as a terminal does that is closed.
    pub fn hang_up(&mut self) {
        self.keyboard_and_screen = None;
    }

    /// Waits for the program's end, and gives its status.
    pub fn end(mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the program on the terminal ends", || {
            if self.keyboard_and_screen.is_some() {
                self.read();
            }
            status = self.program.try_wait().expect("wait");
            status.is_some()
        });
        status.expect("ended")
    }

    /// Takes in what is shown next; `false` at the end.
    fn read(&mut self) -> bool {
        let screen = self.keyboard_and_screen.as_mut().expect("not hung up");
        let mut fds = [PollFd::new(screen.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(10_u8)).expect("poll") == 0 {
            return true;
        }
        let mut part = [0; 4096];
        match screen.read(&mut part) {
            Ok(length) => {
                self.shown.push_str(&String::from_utf8_lossy(&part[..length]));
                length > 0
            }
            // Nobody has the other side open any more.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => false,
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => panic!("terminal {}: {error}", screen.as_raw_fd()),
        }
    }
}

impl Drop for Terminal {
    /// What a failed test leaves running ends with the session's leader.
    fn drop(&mut self) {
        if matches!(self.program.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.pid()), Signal::SIGKILL);
            let _ = self.program.wait();
        }
    }
}
