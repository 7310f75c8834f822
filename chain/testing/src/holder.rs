//! A process that stays in its namespaces while a test looks at them.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    process::{Child, Stdio},
};

use crate::Scene;

/// A shell behind `words` that waits for the end of its input.
pub struct Holder {
    tool: Child,
    /// The pid of the shell, as seen from outside.
    pub pid: u32,
}

impl Holder {
    /// Runs a shell behind these words, which end in `--`.
    pub fn new(scene: &Scene, words: &str) -> Self {
        Self::running(scene, &format!("exec {words} bash -c 'echo ready; read line'"))
    }

    /// Runs a script that says `ready` and ends with its input.
    pub fn running(scene: &Scene, script: &str) -> Self {
        let mut command = scene.command("bash");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut tool = command.spawn().expect("bash");
        let mut line = String::new();
        BufReader::new(tool.stdout.as_mut().expect("pipe")).read_line(&mut line).expect("line");
        assert_eq!(line, "ready\n");
        let pid = innermost(tool.id());
        Self { tool, pid }
    }

    /// The pid of the outermost process.
    pub fn tool_pid(&self) -> u32 {
        self.tool.id()
    }

    /// The inode of the shell's namespace of this kind.
    pub fn namespace(&self, kind: &str) -> u64 {
        namespace(self.pid, kind)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.tool.stdin.take());
        self.tool.wait().expect("holder ends");
    }
}

/// The inode of a process's namespace of this kind.
pub fn namespace(pid: u32, kind: &str) -> u64 {
    fs::metadata(format!("/proc/{pid}/ns/{kind}")).expect("namespace").ino()
}

/// The last of the single children below a process.
fn innermost(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("children");
    children.split_whitespace().next().map_or(pid, |child| innermost(child.parse().expect("pid")))
}
