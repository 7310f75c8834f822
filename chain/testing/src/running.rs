//! A tool that runs beside the test.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, ExitStatus, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::Scene;

/// A tool whose command has said that it is ready.
pub struct Running {
    tool: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    /// Starts `words` in front of a bash script, whose first line is `ready`.
    pub fn new(scene: &Scene, words: &[&str], script: &str) -> Self {
        let mut command = scene.command(words[0]);
        command.args(&words[1..]).args(["--", "bash", "-c", script]);
        Self::start(command)
    }

    /// Starts a command, whose first line is `ready`.
    pub fn start(mut command: std::process::Command) -> Self {
        // A process group of its own, whose parent is in the session: job control can stop it.
        let mut tool = command.process_group(0).stdout(Stdio::piped()).spawn().expect("tool");
        let mut running = Self { output: BufReader::new(tool.stdout.take().expect("pipe")), tool };
        assert_eq!(running.line(), "ready");
        running
    }

    /// The next line that it says.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("line");
        line.trim_end().to_owned()
    }

    /// The tool's pid.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.tool.id().try_into().expect("pid"))
    }

    /// Sends a signal to the tool.
    pub fn send(&self, signal: Signal) {
        kill(self.pid(), signal).expect("kill");
    }

    /// All that it still says, and how it ended.
    pub fn end(mut self) -> (String, ExitStatus) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("output");
        (rest, self.tool.wait().expect("ends"))
    }
}

/// Whether the last of the single children below `pid` has this name: a shell that has become it.
pub fn last_descendant_is(pid: i32, name: &str) -> bool {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    match children.split_whitespace().next().and_then(|child| child.parse().ok()) {
        Some(child) => last_descendant_is(child, name),
        None => std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name),
    }
}
