//! A place for one test: a directory, tools on PATH, and a look at what is left over at the end.

use std::{
    env,
    ffi::OsStr,
    fs::{self, DirBuilder, File},
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use assert_cmd::Command;
use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use crate::leftovers::{Leftovers, kill_marked};

/// A user and group that no file on the machine belongs to.
pub const ORDINARY_USER: u32 = 54_321;

/// How bash names a function in the environment.
const GROUP_NAME: &str = "BASH_FUNC_group%%";

/// The directory of the caller's own cgroup that has a controller's files, on v1 or on v2: a bash
/// function for scripts, `group CONTROLLER`. All scripts have it, those behind a tool too.
const GROUP: &str = r#"() {
    local path
    if path=$(grep --extended-regexp "^[0-9]+:([^:]*,)?$1(,[^:]*)?:" /proc/self/cgroup); then
        path=/sys/fs/cgroup/$1${path##*:}
    else
        path=/sys/fs/cgroup$(sed --quiet s/^0:://p /proc/self/cgroup)
    fi
    echo "${path%/}"
}"#;

/// Longer than any test takes on a busy machine; a tool that hangs fails its test.
pub(crate) fn time_limit() -> Duration {
    slowness() * Duration::from_mins(1)
}

/// How many times slower this machine is than a real one, as CHAINBOX_SLOW says.
pub fn slowness() -> u32 {
    env::var("CHAINBOX_SLOW").map_or(1, |times| times.parse().expect("a number"))
}

/// The place of one test. Only one scene is open at a time on the machine, in all test programs:
/// what is left over could not be told from what another test is using.
pub struct Scene {
    dir: Option<TempDir>,
    mark: String,
    before: Leftovers,
    /// Dropped with the scene, which calls the watchdog off.
    _leash: Sender<()>,
    _turn: Flock<File>,
}

impl Scene {
    /// Waits for its turn and opens a scene.
    #[expect(clippy::new_without_default, reason = "it waits, makes a directory and takes stock")]
    pub fn new() -> Self {
        let lock = File::create(bin_dir().join("chainbox-tests.lock")).expect("lock file");
        let turn = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).expect("lock");
        let dir = tempfile::Builder::new().prefix("chainbox-").tempdir().expect("temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let mark = format!("CHAINBOX_TEST={}", dir.path().display());
        let before = Leftovers::now(&mark);
        let leash = watchdog(mark.clone());
        Self { dir: Some(dir), mark, before, _leash: leash, _turn: turn }
    }

    /// The test's own directory, which goes with the scene.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("open scene").path()
    }

    /// A path in the test's own directory.
    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.dir().join(Path::new(name.as_ref()))
    }

    /// Makes a directory with files in it, given as name and content.
    pub fn tree(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let dir = self.path(name);
        DirBuilder::new().recursive(true).mode(0o755).create(&dir).expect("mkdir");
        for (name, content) in files {
            fs::write(dir.join(name), content).expect("write");
        }
        dir
    }

    /// A root filesystem of Debian's busybox-static.
    pub fn rootfs(&self, name: &str) -> PathBuf {
        let root = self.tree(name, &[]);
        for dir in ["bin", "dev", "proc", "tmp", "etc"] {
            fs::create_dir_all(root.join(dir)).expect("mkdir");
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static: run scripts/setup");
        for applet in [
            "sh", "cat", "ls", "id", "ps", "hostname", "touch", "echo", "sleep", "tail", "ln", "mkdir",
            "env", "true",
        ] {
            symlink("busybox", root.join("bin").join(applet)).expect("symlink");
        }
        root
    }

    /// What stands before a command that is to find these lines in /etc/subuid and /etc/subgid, which stay as they are.
    pub fn subids(&self, users: &str, groups: &str) -> &'static str {
        let bind =
            "mount --bind ids/users /etc/subuid && mount --bind ids/groups /etc/subgid && exec \"$@\"\n";
        self.tree("ids", &[("users", users), ("groups", groups), ("run", bind)]);
        "unshare --mount sh ids/run"
    }

    /// One of the workspace's programs, with the others on its PATH.
    pub fn tool(&self, name: &str) -> Command {
        self.prepare(process::Command::new(bin_dir().join(name)))
    }

    /// A bash script with the workspace's programs on its PATH, in the test's own directory.
    pub fn script(&self, script: &str) -> Command {
        let mut bash = process::Command::new("bash");
        bash.args(["-c", script]);
        self.prepare(bash)
    }

    /// The same as an ordinary user. The programs are copied to where that user may reach them.
    pub fn script_as_user(&self, script: &str) -> Command {
        let bin = self.tree("bin", &[]);
        for program in [
            "ns-enter",
            "cg-set",
            "ovl-mount",
            "ovl-diff",
            "ovl-commit",
            "ovl-layer",
            "root-enter",
            "priv-drop",
            "net-link",
            "box-run",
        ] {
            if !bin.join(program).exists() {
                fs::copy(bin_dir().join(program), bin.join(program)).expect("copy of a program");
            }
        }
        let mut bash = process::Command::new("bash");
        bash.args(["-c", script]).uid(ORDINARY_USER).gid(ORDINARY_USER);
        let mut bash = self.prepare(bash);
        bash.env("PATH", path_with(&bin));
        bash
    }

    /// A program as `std` starts it, for a test that needs it running beside.
    pub fn command(&self, program: impl AsRef<OsStr>) -> process::Command {
        let (name, value) = self.mark.split_once('=').expect("mark");
        let mut command = process::Command::new(program);
        command.env("PATH", path_with(&bin_dir())).env(name, value).env(GROUP_NAME, GROUP);
        command.current_dir(self.dir());
        command
    }

    fn prepare(&self, command: process::Command) -> Command {
        let (name, value) = self.mark.split_once('=').expect("mark");
        let mut command = Command::from_std(command);
        command
            .env("PATH", path_with(&bin_dir()))
            .env(name, value)
            .env(GROUP_NAME, GROUP)
            .current_dir(self.dir())
            .timeout(time_limit());
        command
    }
}

/// Ends all that a test has started if it takes too long, so that it fails and does not hang. It is
/// called off when the sender is dropped.
fn watchdog(mark: String) -> Sender<()> {
    let (leash, held) = mpsc::channel();
    std::thread::spawn(move || {
        if held.recv_timeout(2 * time_limit()) == Err(RecvTimeoutError::Timeout) {
            eprintln!("the test took too long; what it has started is killed");
            kill_marked(&mark);
        }
    });
    leash
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            kill_marked(&self.mark);
        }
        let left = Leftovers::now(&self.mark).since(&self.before);
        // A directory that something is mounted on cannot be removed; that is reported below.
        let removed = self.dir.take().map(TempDir::close);
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left over: {left:#?}");
            assert!(
                matches!(removed, Some(Ok(()))),
                "the test's directory could not be removed: {removed:?}"
            );
        }
    }
}

/// Waits for what the kernel gives no event for; fails the test after a time that is long for all.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < time_limit(), "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The directory that holds the programs of this build: the test's own is `deps` in it.
fn bin_dir() -> PathBuf {
    // Those of another build, such as what is installed.
    if let Some(dir) = env::var_os("CHAINBOX_PROGRAMS") {
        return dir.into();
    }
    let test = env::current_exe().expect("own path");
    let deps = test.parent().expect("a directory");
    let dir = deps.parent().expect("a directory");
    assert!(dir.join("box-run").exists(), "build all programs first: cargo build --workspace");
    dir.to_path_buf()
}

fn path_with(dir: &Path) -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths([dir.to_path_buf()].into_iter().chain(env::split_paths(&path))).expect("PATH")
}
