//! Scripts in a network namespace of their own, so that no packet of a test reaches the machine's interfaces.

use std::{os::unix::fs::chown, sync::LazyLock};

use assert_cmd::assert::Assert;
use chain_testing::{ORDINARY_USER, Scene, skip, slowness};

/// Errors are told in English. `engine` is what the boxes that `begin` starts are given besides. `begin WORDS` starts `net-link WORDS`, or another `$tool`, and goes on when its command has said that it is ready; `finish` ends all of
/// those. `$serve` is a web server for a box.
/// `ready_at PORT` says so when somebody listens there. `left` waits until no process of a box is there, and says how many
/// sockets of LANs there are, which interfaces, and how many network namespaces, as `namespaces` does.
const FUNCTIONS: &str = r#"
    export LC_ALL=C.UTF-8
    boxes=()
    engine=()
    begin() {
        local line ready
        exec {ready}< <(exec "${tool:-net-link}" "${engine[@]}" "$@")
        boxes+=($!)
        read -r line <&"$ready"
        [[ $line == ready ]] || { echo "not ready: $line"; exit 1; }
    }
    finish() {
        kill "${boxes[@]}"
        local box
        for box in "${boxes[@]}"; do while [[ -e /proc/$box ]]; do read -rt 0.01 <> <(:) || :; done; done
    }
    ready_at() { until : 2>/dev/null <>/dev/tcp/127.0.0.1/$1; do :; done; echo ready; }
    export -f ready_at
    namespaces() { lsns -nt net -o NS | sort -u | wc -l; }
    left() {
        while pgrep -x "net-link-lan|net-link|box-run|sleep" >/dev/null; do :; done
        grep -c chainbox-lan /proc/net/unix; ip -brief link | cut -d " " -f 1; namespaces
    }
    serve='ready_at 80 & exec busybox httpd -f -p 80 -h .'
"#;

/// A bash script with these functions, which has ended.
#[allow(dead_code, reason = "not all test programs have one")]
pub(crate) fn script(scene: &Scene, script: &str) -> Assert {
    scene.script(&format!("exec ns-enter net -- bash -c '{}'", quoted(script))).assert()
}

/// The same in a pid namespace of its own, whose first process reaps who is orphaned.
#[allow(dead_code, reason = "not all test programs have one")]
pub(crate) fn script_alone(scene: &Scene, script: &str) -> Assert {
    scene.script(&format!("exec ns-enter --init net,pid,mnt -- bash -c '{}'", quoted(script))).assert()
}

/// The same as an ordinary user, who is root in a user namespace.
#[allow(dead_code, reason = "not all test programs have one")]
pub(crate) fn script_as_user(scene: &Scene, script: &str) -> Assert {
    scene.script_as_user(&format!("exec ns-enter user,net -- bash -c '{}'", quoted(script))).assert()
}

/// So many packets are sent to 10.9.0.1, when it is known which station that is.
#[allow(dead_code, reason = "not all test programs have one")]
pub(crate) const MANY: f64 = 15_000.0;

/// What a box runs that says how many of them have been answered.
#[allow(dead_code, reason = "not all test programs have one")]
pub(crate) const ANSWERED: &str = r#"bash -c '
    until busybox ping -c 1 -W 1 10.9.0.1; do :; done >/dev/null
    busybox ping -q -c 15000 -i 0.001 -W 1 10.9.0.1 | sed -n "s/.* \([0-9]*\) packets received.*/\1/p"'"#;

/// All boxes that a script makes have this engine.
const KERNEL: &str = r#"
    engine=(--engine kernel)
    net-link() {
        case $1 in
            --set | --show | --list) command net-link "$@" ;;
            *) command net-link "${engine[@]}" "$@" ;;
        esac
    }
"#;

/// Whether the kernel has netem and tbf.
#[allow(dead_code, reason = "not all test programs have one")]
static HAS_NETEM: LazyLock<bool> = LazyLock::new(|| {
    let scene = Scene::new();
    let run = script(&scene, "command net-link --engine kernel rate=1mbit -- echo ran");
    let output = run.get_output();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout == b"ran\n" || said.contains("the kernel has no module sch_netem"), "{said}");
    output.stdout == b"ran\n"
});

/// Whether the test goes on, which is about the kernel's engine. If not, it is said.
#[allow(dead_code, reason = "not all test programs have one")]
pub(crate) fn has_netem() -> bool {
    if !*HAS_NETEM {
        skip("--engine kernel: this kernel has no sch_netem");
    }
    *HAS_NETEM
}

/// Who makes the boxes, which is what their interfaces are made of on machines where /dev/net/tun is root's alone, and
/// who does to packets what the settings say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    /// It has a TAP device.
    Root,
    /// It has one of a pair.
    User,
    /// It has one of a pair, and the kernel's engine.
    Kernel,
}

/// Where the same test is done with both kinds of interface, and with both engines.
#[allow(dead_code, reason = "not all test programs have one")]
pub(crate) struct Lab {
    scene: Scene,
    maker: Maker,
}

#[allow(dead_code, reason = "not all test programs have one")]
impl Lab {
    /// Does a test in each, one after the other.
    pub(crate) fn each(test: impl Fn(&Self)) {
        for maker in [Maker::Root, Maker::User, Maker::Kernel] {
            // Where all takes long, both engines and both kinds of interface are enough.
            let is_had = maker == Maker::User && slowness() > 1 && *HAS_NETEM;
            if is_had || maker == Maker::Kernel && !has_netem() {
                continue;
            }
            let scene = Scene::new();
            // So that the user's scripts can write there.
            chown(scene.dir(), Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("chown");
            eprintln!("boxes of {maker:?}");
            test(&Self { scene, maker });
        }
    }

    /// The word by which chance begins so, if the engine knows it.
    pub(crate) fn seed(&self, seed: &str) -> Option<String> {
        (self.maker != Maker::Kernel).then(|| format!("seed={seed}"))
    }

    /// Makes a file there.
    pub(crate) fn file(&self, name: &str, text: &str) {
        self.scene.tree(".", &[(name, text)]);
    }

    /// A root filesystem of busybox, in which mount points can be made.
    pub(crate) fn rootfs(&self, name: &str) {
        let root = self.scene.rootfs(name);
        for dir in ["", "etc", "dev", "proc"] {
            chown(root.join(dir), Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("chown");
        }
    }

    /// A script, which has ended.
    pub(crate) fn script(&self, text: &str) -> Assert {
        match self.maker {
            Maker::Root => script(&self.scene, text),
            Maker::User => script_as_user(&self.scene, text),
            Maker::Kernel => script(&self.scene, &format!("{KERNEL}\n{text}")),
        }
    }

    /// What a script says.
    pub(crate) fn said(&self, text: &str) -> String {
        let run = self.script(text).success();
        String::from_utf8_lossy(&run.get_output().stdout).into_owned()
    }

    /// The number that a script says.
    pub(crate) fn number(&self, text: &str) -> f64 {
        let said = self.said(text);
        said.trim().parse().unwrap_or_else(|_| panic!("no number: {said}"))
    }
}

/// So many packets that the median of random delays is near theirs: that of ±5 ms has a standard error of 0.2 ms.
#[allow(dead_code, reason = "not all test programs have one")]
pub(crate) const PING: &str = "busybox ping -c 1001 -i 0.003";

/// How long answers were on their way, in milliseconds, the shortest first.
#[allow(dead_code, reason = "not all test programs have one")]
pub(crate) struct RoundTrips(Vec<f64>);

#[allow(dead_code, reason = "not all test programs have one")]
impl RoundTrips {
    /// From what [`PING`] says.
    #[track_caller]
    pub(crate) fn read(said: &str) -> Self {
        let time = |line: &str| line.split_once("time=")?.1.strip_suffix(" ms")?.parse().ok();
        let mut times: Vec<f64> = said.lines().filter_map(time).collect();
        assert!(times.len() > 900, "{said}");
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    fn shortest(&self) -> f64 {
        self.0[0]
    }

    fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// That these were so much later than others: no answer earlier, and where the machine was not busy with
    /// something else, no more than a millisecond later.
    #[track_caller]
    pub(crate) fn assert_later(&self, others: &Self, asked: f64) {
        let (more, median) = (self.shortest() - others.shortest(), self.median() - others.median());
        eprintln!("{asked} ms asked: {more} ms; the median: {median} ms more than {} ms", others.median());
        assert!(self.shortest() >= asked, "{} ms, not {asked}", self.shortest());
        assert!(more - asked <= f64::from(slowness()), "{more} ms, not {asked}");
    }

    /// That the median is that of others, which the machine keeps waiting as long.
    #[track_caller]
    pub(crate) fn assert_as_late_as(&self, others: &Self) {
        let (median, other) = (self.median(), others.median());
        eprintln!("median: {median} ms, of a fixed delay {other} ms");
        assert!((median - other).abs() <= f64::from(slowness()), "{median} ms, not {other}");
        assert!(self.shortest() < others.shortest(), "{} ms is not less", self.shortest());
    }
}

fn quoted(script: &str) -> String {
    format!("{FUNCTIONS}\n{script}").replace('\'', "'\\''")
}

/// The caller's network, which is at 192.0.2.1, and the world behind it, at 192.0.2.2, with a web server. `$get URL` gets
/// a page.
#[allow(dead_code, reason = "not all test programs have one")]
pub(crate) const WORLD: &str = r#"
    ip link set lo up
    echo hello >page
    # An address of IPv6 is there at once.
    no_dad() { echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; }
    export -f no_dad
    exec {world}< <(exec ns-enter net -- bash -c '
        ip link set lo up; no_dad; echo ready
        until ip link set d1 up 2>/dev/null; do :; done
        ip addr add 192.0.2.2/24 dev d1; ip addr add fd02::2/64 dev d1
        busybox httpd -f -h . & trap "kill $!; exit" TERM
        until : 2>/dev/null <>/dev/tcp/127.0.0.1/80; do :; done; echo ready; wait')
    outside=$!
    read -r <&"$world"
    no_dad
    ip link add d0 type veth peer name d1 netns "$outside"
    ip addr add 192.0.2.1/24 dev d0; ip addr add fd02::1/64 dev d0; ip link set d0 up
    ip route add default via 192.0.2.2; ip route add default via fd02::2
    read -r <&"$world"
    # Only with this address passt takes an interface for one of IPv6.
    until [[ $(ip -6 addr show dev d0 scope link) ]]; do :; done
    end_world() { kill "$outside"; while [[ -e /proc/$outside ]]; do read -rt 0.01 <> <(:) || :; done; }
    trap end_world EXIT
    get='curl -sS -m 20 --retry 9 --retry-connrefused'
    # Of a box whose supervisor is this: the process that leads it out.
    passt_of() { pgrep -P "$1" passt; }
    gone() { while [[ -e /proc/$1 ]]; do read -rt 0.01 <> <(:) || :; done; }
"#;
