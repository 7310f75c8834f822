//! What this machine is, for tests that ask different things of different ones.

use std::{fs, io::Write, path::Path, thread};

/// Whether all controllers are on cgroup v2 here; else those that matter are on v1.
pub fn on_v2() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Whether the kernel is at least of this version, such as `(6, 3)`.
pub fn kernel_is_from(version: (u32, u32)) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("proc");
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= version
}

/// Says that the test that calls this is skipped, and why. It is seen though the test passes.
pub fn skip(why: &str) {
    let line = format!("skipped: {}: {why}\n", thread::current().name().unwrap_or("a test"));
    // Not by a macro, whose output the harness keeps to itself.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
