//! SIGKILL to the supervisor, which can do nothing about it: the box dies too, whenever it comes.

use std::{
    env,
    fs::File,
    io::{self, Read},
    os::{fd::AsFd, unix::process::ExitStatusExt},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use chain_testing::Scene;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How often each form of a box is killed, of which there are seven; on a slow machine as often in the same time.
const KILLS: u32 = 72;

/// Longer than any box takes to die, on a busy machine and in a VM.
const LIMIT: Duration = Duration::from_secs(30);

/// In a pid namespace of its own: what NEXT has started dies as well.
const FAMILY: &str = "sleep 1000 & echo ready; sleep 1000 & wait";

/// Without one the kernel promises it of NEXT only.
const ALONE: &str = "echo ready; exec sleep 1000";

/// A box that is killed at random moments.
struct Victim {
    supervisor: Child,
    /// Every process of the box holds the other end, as its stdout and stderr.
    said: File,
}

impl Victim {
    fn new(scene: &Scene, words: &[&str], script: &str, input: Stdio) -> Self {
        let (said, box_side) = io::pipe().expect("pipe");
        let mut command = scene.command(words[0]);
        command.args(&words[1..]).args(["--", "bash", "-c", script]).stdin(input);
        command.stdout(box_side.try_clone().expect("dup")).stderr(box_side);
        let supervisor = command.spawn().expect("tool");
        Self { supervisor, said: File::from(std::os::fd::OwnedFd::from(said)) }
    }

    /// Waits until it says something, and gives the time that took.
    fn first_word(&mut self) -> Duration {
        let start = Instant::now();
        assert_ne!(self.read(), "", "it ended");
        start.elapsed()
    }

    /// Kills the supervisor, and waits for the end of every process that it has made.
    fn kill(mut self) {
        self.supervisor.kill().expect("kill");
        let status = self.supervisor.wait().expect("wait");
        let mut said = String::new();
        loop {
            let part = self.read();
            if part.is_empty() {
                break;
            }
            said.push_str(&part);
        }
        assert_eq!(status.signal(), Some(9), "it ended by itself: {said}");
        assert!(!said.contains("ns-enter:"), "{said}");
    }

    /// What it says next; nothing at the end, when nobody is left to say anything.
    fn read(&mut self) -> String {
        let mut fds = [PollFd::new(self.said.as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(LIMIT).expect("short enough");
        assert_eq!(poll(&mut fds, limit), Ok(1), "something of the box is still there");
        let mut part = [0; 1024];
        let length = self.said.read(&mut part).expect("read");
        String::from_utf8_lossy(&part[..length]).into_owned()
    }
}

/// Numbers that look random and are the same for the same seed (xorshift64; its state is never 0).
struct Random(u64);

impl Random {
    /// Takes the seed from SEED, to repeat a run, or from the clock. A test that fails shows it.
    fn new() -> Self {
        let given = env::var("SEED").ok().map(|seed| seed.parse().expect("SEED is a number"));
        let clock =
            || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").subsec_nanos().into();
        let seed: u64 = given.unwrap_or_else(clock);
        println!("SEED={seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A time up to `most`.
    fn up_to(&mut self, most: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let micros = u64::try_from(most.as_micros()).expect("a short time");
        Duration::from_micros(self.0 % (micros + 1))
    }
}

/// Kills such a box again and again, from before it is made to long after its command runs.
fn kill_at_any_moment(scene: &Scene, words: &[&str], script: &str, input: fn() -> Stdio) {
    let mut random = Random::new();
    let victim = || Victim::new(scene, words, script, input());
    // How long a launch takes here, until NEXT runs or, if it is held, until its pid is told.
    let launch = (0..5).map(|_| {
        let mut victim = victim();
        let time = victim.first_word();
        victim.kill();
        time
    });
    let launch = launch.max().expect("five");
    for kill in 0..KILLS / chain_testing::slowness() {
        let delay = random.up_to(2 * launch);
        println!("{words:?}, kill {kill}: after {delay:?}, where a launch takes {launch:?}");
        let victim = victim();
        thread::sleep(delay);
        victim.kill();
    }
}

#[test]
fn a_box_dies_with_its_supervisor() {
    kill_at_any_moment(&Scene::new(), &["ns-enter", "pid,mnt"], FAMILY, Stdio::null);
}

#[test]
fn so_does_one_whose_process_1_is_ours() {
    kill_at_any_moment(&Scene::new(), &["ns-enter", "--init", "pid,mnt"], FAMILY, Stdio::null);
}

#[test]
fn so_does_one_that_waits_for_its_map() {
    kill_at_any_moment(&Scene::new(), &["ns-enter", "user=0:100000:10,pid"], FAMILY, Stdio::null);
}

#[test]
fn so_does_a_command_that_has_no_pid_namespace_of_its_own() {
    kill_at_any_moment(&Scene::new(), &["ns-enter", "--timeout", "1m", "uts"], ALONE, Stdio::null);
}

#[test]
fn so_does_one_that_is_held_before_its_command() {
    let words = ["ns-enter", "--info-fd", "1", "--wait-fd", "0", "uts"];
    // Its input has no byte, and no end while the test holds the other side.
    kill_at_any_moment(&Scene::new(), &words, ALONE, Stdio::piped);
}

#[test]
fn so_does_one_in_another() {
    let words = ["ns-enter", "pid,mnt", "--", "ns-enter", "--init", "uts,pid,mnt"];
    kill_at_any_moment(&Scene::new(), &words, FAMILY, Stdio::null);
}

#[test]
fn so_does_a_command_in_the_namespaces_of_another() {
    let scene = Scene::new();
    let mut holder = Victim::new(&scene, &["ns-enter", "pid,mnt"], "echo ready; read line", Stdio::piped());
    holder.first_word();
    let pid = holder.supervisor.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("children");
    let joined = format!("pid@{0},mnt@{0}", children.trim());
    kill_at_any_moment(&scene, &["ns-enter", &joined], ALONE, Stdio::null);
    holder.kill();
}
