//! What this machine is, for tests that ask different things of different ones.

use std::{io::Write, path::Path, thread};

/// Whether all controllers are on cgroup v2 here; else those that matter are on v1.
pub fn on_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Says that the test that calls this is skipped, and why. It is seen though the test passes.
pub fn skip(why: &str) {
    let line = format!("skipped: {}: {why}\n", thread::current().name().unwrap_or("a test"));
    // Not by a macro, whose output the harness keeps to itself.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
