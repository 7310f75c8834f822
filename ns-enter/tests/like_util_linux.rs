//! A command finds the same, and its end looks the same, through util-linux's `unshare` and `nsenter` and
//! through ns-enter.

use std::{collections::BTreeMap, fs, io, path::PathBuf, process::Output};

use chain_testing::{ORDINARY_USER, Running, Scene};
use nix::sys::signal::Signal;

/// Prints all of a process that namespaces change. Left out are the numbers of peer groups, the processes
/// outside, and the name that a proc is mounted by, which is `none` here and `proc` there.
const LOOK: &str = r#"
readlink /proc/self/ns/*
cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups /proc/self/timens_offsets
id -u; id -g; id -G
[ $$ != 1 ] || echo process 1
pid=$(readlink /proc/self/ns/pid)
if [ "$pid" != "$OUTSIDE" ] && [ "$(readlink /proc/1/ns/pid)" = "$pid" ]; then
    set -- /proc/[0-9]*
    echo $# processes
fi
cut -d" " -f4- /proc/self/mountinfo | sed "s/\(shared\|master\):[0-9]*/\1/; s/ - proc none / - proc proc /"
pwd -P; hostname
env | sort
"#;

/// A process in other namespaces, with another root and working directory.
struct Holder {
    tool: Running,
    pid: String,
}

impl Holder {
    const SCRIPT: &str = "mount -t tmpfs none /mnt && mkdir /mnt/root && mount --rbind / /mnt/root && \
         exec chroot /mnt/root sh -c 'cd /usr/lib && echo ready && exec sleep 1000'";

    /// Of root, in new namespaces of these kinds.
    fn new(scene: &Scene, kinds: &str) -> Self {
        Self::of(Running::new(scene, &["ns-enter", kinds], Self::SCRIPT))
    }

    /// Of the ordinary user, in a new namespace of every kind.
    fn of_user(scene: &Scene) -> Self {
        // Copies the programs to where that user may reach them.
        scene.script_as_user("true").assert().success();
        let user = ORDINARY_USER.to_string();
        let mut command = scene.command("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
        command.arg(scene.path("bin/ns-enter")).args(["all", "--", "bash", "-c", Self::SCRIPT]);
        Self::of(Running::start(command))
    }

    fn of(tool: Running) -> Self {
        let children = format!("/proc/{0}/task/{0}/children", tool.pid());
        let pid = fs::read_to_string(children).expect("children").trim().to_owned();
        Self { tool, pid }
    }

    fn end(self) {
        self.tool.send(Signal::SIGTERM);
        self.tool.end();
    }
}

/// The namespaces of a process, by link.
fn namespaces(pid: &str, name: &str) -> BTreeMap<PathBuf, String> {
    let files = fs::read_dir(format!("/proc/{pid}/ns")).expect("namespaces");
    let link = |file: io::Result<fs::DirEntry>| fs::read_link(file.expect("file").path()).expect("link");
    files.map(link).map(|link| (link.clone(), format!("{} {name}", link.display()))).collect()
}

/// Runs each pair by `run`, with `$P` for the holder's pid, and compares what LOOK says of both.
fn compare(scene: &Scene, run: impl Fn(&str) -> io::Result<Output>, holder: &str, pairs: &[(&str, &str)]) {
    fs::write(scene.path("look"), LOOK).expect("write");
    let mut known = namespaces(holder, "of the holder");
    known.extend(namespaces("self", "outside"));
    let named = |line: &str| match known.get(&PathBuf::from(line)) {
        Some(name) => name.clone(),
        None => line.split_once(":[").map_or(line, |(kind, _)| kind).to_owned(),
    };
    let outside = fs::read_link("/proc/self/ns/pid").expect("link");
    let look = |way: &str| {
        let (file, outside) = (scene.path("look"), outside.display());
        let exports = format!("P={holder} LOOK={} OUTSIDE='{outside}'", file.display());
        let output = run(&format!("export {exports}; {way} -- bash $LOOK")).expect("runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && said.is_empty(), "{way}: {said}");
        String::from_utf8_lossy(&output.stdout).lines().map(named).collect::<Vec<_>>()
    };
    for (ours, theirs) in pairs {
        let [ours_finds, theirs_finds] = [look(ours), look(theirs)];
        assert!(ours_finds.len() > 30, "{ours}: {ours_finds:?}");
        assert_eq!(ours_finds, theirs_finds, "{ours}, {theirs}");
    }
}

#[test]
fn new_namespaces_are_like_those_of_unshare() {
    let scene = Scene::new();
    scene.tree("proc", &[]);
    // A new net namespace's loopback is up here and down there, which LOOK does not ask for.
    let pairs = [
        ("ns-enter uts", "unshare -u"),
        ("ns-enter uts,ipc,net,cgroup", "unshare -u -i -n -C"),
        ("ns-enter mnt", "unshare -m"),
        ("ns-enter --propagation private mnt", "unshare -m --propagation private"),
        ("ns-enter --propagation slave mnt", "unshare -m --propagation slave"),
        ("ns-enter --propagation shared mnt", "unshare -m --propagation shared"),
        ("ns-enter --propagation unchanged mnt", "unshare -m --propagation unchanged"),
        ("ns-enter pid", "unshare -p -f"),
        ("ns-enter uts,pid,mnt", "unshare -u -p -f --mount-proc"),
        ("ns-enter --no-proc pid,mnt", "unshare -p -f -m"),
        ("ns-enter --proc proc pid,mnt", "unshare -p -f --mount-proc=$PWD/proc"),
        // Without -f it would be in the new one, or not, as the kernel has it.
        ("ns-enter time=+1h:-1s", "unshare -T -f --monotonic 3600 --boottime -1"),
        ("ns-enter user", "unshare -r"),
        ("ns-enter user=none", "unshare -U"),
        ("ns-enter user,uts,pid,mnt", "unshare -r -u -p -f --mount-proc"),
        ("ns-enter user,mnt", "unshare -r -m"),
    ];
    compare(&scene, |script| scene.script(script).output(), "self", &pairs);
}

#[test]
fn new_namespaces_of_an_ordinary_user_are_like_those_of_unshare() {
    let scene = Scene::new();
    let pairs = [
        ("ns-enter user", "unshare -r"),
        ("ns-enter user=none", "unshare -U"),
        ("ns-enter user=$(id -u)", "unshare -c"),
        ("ns-enter --gid-map 6 user=5", "unshare --map-user=5 --map-group=6"),
        ("ns-enter user,mnt", "unshare -r -m"),
        ("ns-enter user,uts,ipc,net,cgroup,pid,mnt", "unshare -r -u -i -n -C -p -f --mount-proc"),
        ("ns-enter user,time", "unshare -r -T -f"),
    ];
    compare(&scene, |script| scene.script_as_user(script).output(), "self", &pairs);
}

#[test]
fn joined_namespaces_are_like_those_of_nsenter() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "uts=held,ipc,net,cgroup,pid,mnt");
    // In mnt without pid a process is not in the /proc that it sees.
    let pairs = [
        ("ns-enter uts@$P", "nsenter -t $P -u"),
        ("ns-enter uts@/proc/$P/ns/uts", "nsenter --uts=/proc/$P/ns/uts"),
        ("ns-enter pid@$P", "nsenter -t $P -p"),
        ("ns-enter pid@$P,mnt@$P", "nsenter -t $P -p -m"),
        ("ns-enter all@$P", "nsenter -t $P -a"),
        ("ns-enter --root all@$P", "nsenter -t $P -a -r"),
        ("ns-enter --wd all@$P", "nsenter -t $P -a -w"),
        ("ns-enter --root --wd all@$P", "nsenter -t $P -a -r -w"),
        ("ns-enter --root --wd pid@$P,mnt@$P,uts", "nsenter -t $P -p -m -r -w unshare -u"),
    ];
    compare(&scene, |script| scene.script(script).output(), &holder.pid, &pairs);
    holder.end();
    let holder = Holder::new(&scene, "user,uts=held,pid,mnt");
    let pairs = [
        ("ns-enter user@$P", "nsenter -t $P -U"),
        ("ns-enter all@$P", "nsenter -t $P -a"),
        ("ns-enter --root --wd all@$P", "nsenter -t $P -a -r -w"),
    ];
    compare(&scene, |script| scene.script(script).output(), &holder.pid, &pairs);
    holder.end();
}

#[test]
fn joined_namespaces_of_an_ordinary_user_are_like_those_of_nsenter() {
    let scene = Scene::new();
    let holder = Holder::of_user(&scene);
    // Without that option nsenter fails for a user, whom setgroups(2) is denied.
    let pairs = [
        ("ns-enter user@$P", "nsenter --preserve-credentials -t $P -U"),
        ("ns-enter user@$P,uts@$P,pid@$P,mnt@$P", "nsenter --preserve-credentials -t $P -U -u -p -m"),
        ("ns-enter all@$P", "nsenter --preserve-credentials -t $P -a"),
        ("ns-enter --root --wd all@$P", "nsenter --preserve-credentials -t $P -a -r -w"),
    ];
    compare(&scene, |script| scene.script_as_user(script).output(), &holder.pid, &pairs);
    let pairs = [("ns-enter user@$P", "nsenter -t $P -U"), ("ns-enter all@$P", "nsenter -t $P -a")];
    compare(&scene, |script| scene.script(script).output(), &holder.pid, &pairs);
    holder.end();
}

#[test]
fn the_end_looks_as_that_of_unshare_and_nsenter() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "uts,pid,mnt");
    // Left out: a usage error, 125 here and 1 there; a missing interpreter, 126 here and 127 there; a
    // first process that a signal from outside kills, of which `unshare -f` may make a status 1.
    let commands = [
        ("true", 0),
        ("false", 1),
        ("sh -c 'exit 42'", 42),
        ("sh -c 'exit 255'", 255),
        ("no-such-command", 127),
        ("/no/such", 127),
        ("/etc/passwd", 126),
        ("/etc", 126),
        ("bash -c 'kill -KILL $BASHPID'", 128 + 9),
        ("bash -c 'kill -TERM $BASHPID'", 128 + 15),
        ("bash -c 'kill -HUP $BASHPID'", 128 + 1),
        ("bash -c 'ulimit -c 0; kill -SEGV $BASHPID'", 128 + 11),
    ];
    for (ours, theirs) in [
        ("ns-enter uts", "unshare -u"),
        ("ns-enter user", "unshare -r"),
        ("ns-enter pid", "unshare -p -f"),
        ("ns-enter uts,pid,mnt", "unshare -u -p -f --mount-proc"),
        ("ns-enter uts@$P", "nsenter -t $P -u"),
        ("ns-enter pid@$P,mnt@$P", "nsenter -t $P -p -m"),
    ] {
        for (command, status) in commands {
            // The first process of a pid namespace cannot be killed from inside.
            let status = if ours.contains("pid") && !ours.contains('@') && status > 128 && status != 255 {
                0
            } else {
                status
            };
            for way in [ours, theirs] {
                let mut script = scene.script(&format!("{way} -- {command} 2>/dev/null; echo $?"));
                let run = script.env("P", &holder.pid).assert().success();
                let shown = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
                assert_eq!(shown, format!("{status}\n"), "{way} -- {command}");
            }
        }
    }
    holder.end();
}
