//! The fused box and the printed chain are the same box.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Output,
};

use chain_testing::{Scene, slowness};
use proptest::{collection::vec, option, prelude::*, sample::select, test_runner::TestRunner};

/// All that the box can see of itself, without what differs between any two runs: mounts are sorted, as a copy of a tree lists
/// them in another order.
const LOOK: &str = "
    for kind in uts ipc pid net mnt user cgroup time; do echo ns $(busybox readlink /proc/self/ns/$kind); done
    hostname; id; echo $$ $PWD; busybox env | busybox sort
    busybox grep -E '^(Cap|Seccomp|NoNewPrivs|Groups|Sig(Pnd|Blk|Ign|Cgt))' /proc/self/status
    busybox cut -d' ' -f 4- /proc/self/mountinfo | busybox sed -E 's/(lower|upper|work)dir=[0-9:]+/\\1dir=DESCRIPTORS/g' | busybox sort
    busybox sed 's/cg-set[.][0-9]*[.][0-9]*/GROUP/g' /proc/self/cgroup
    busybox ls -l /proc/self/fd | busybox awk '{print $9}'
    set -- $(ps -o pid); echo $#
    # Its state comes later, by itself.
    busybox ip addr | busybox sed 's/<[^>]*>//; s/ state [A-Z]*//'; busybox ip route
    ulimit -a; busybox cat /proc/self/uid_map /proc/self/oom_score_adj; busybox nice; umask
    for file in /sys/fs/cgroup/*/*max /sys/fs/cgroup/*/*quota_us; do echo $file $(busybox cat $file 2>/dev/null); done
    [ -d /usr/share ] || busybox find / -xdev | busybox sort";

const WAYS: [&str; 2] = [
    "box-run $options -- sh -c \"$0\"",
    "chain=$(box-run $options --print -- sh -c \"$0\") && eval \"$chain\"",
];

/// Fused and as the printed chain, each from a shell without a terminal and with one variable.
fn both_ways(scene: &Scene, options: &str, command: &str) -> [Output; 2] {
    both_ways_in("bash", scene, options, command)
}

/// The same where /etc/subuid and /etc/subgid have ids for root, which are seen by nobody else.
fn both_ways_mapped(scene: &Scene, options: &str, command: &str) -> [Output; 2] {
    let line = "root:100000:65536\n";
    both_ways_in(&format!("{} bash", scene.subids(line, line)), scene, options, command)
}

fn both_ways_in(shell: &str, scene: &Scene, options: &str, command: &str) -> [Output; 2] {
    WAYS.map(|way| {
        let mut words = shell.split(' ');
        let mut bash = scene.command(words.next().expect("a program"));
        bash.args(words);
        let path = bash.get_envs().find_map(|(name, value)| (name == "PATH").then_some(value?.to_owned()));
        bash.env_clear().env("PATH", path.expect("PATH"));
        let script = format!(
            "unset _; rm -rf upper upper.work; mkdir upper; chown 100000:100000 upper; {way}; exit $?"
        )
        .replace("$options", options);
        bash.args(["-c", &script, command]).output().expect("bash")
    })
}

/// The output with each namespace as `new` or `same`, which are all that can be compared.
fn described(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let describe = |line: &str| match line.strip_prefix("ns ") {
        Some(link) => {
            let kind = link.split(':').next().unwrap_or_default();
            let outside = fs::read_link(format!("/proc/self/ns/{kind}")).expect("link");
            format!("{kind} {}\n", if outside == Path::new(link) { "same" } else { "new" })
        }
        // What bash calls the last command that it ran.
        None if line.starts_with("_=") => String::new(),
        None => format!("{line}\n"),
    };
    text.lines().map(describe).collect()
}

#[test]
fn the_printed_chain_makes_the_same_box() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("lower", &[("from-lower", "")]);
    scene.tree("upper", &[]);
    scene.tree("da ta", &[("file", "data\n")]);
    for options in [
        "--root root",
        "--root root --tmp",
        "--root root --tmp --hostname web",
        "--root root --tmp --mem 64M --cpu 0.5 --pids 32 --hostname web",
        "--root root --lower lower --upper upper --pids 20",
        "--root root --tmp --bind \"da ta:/some/where\" --ro-bind \"da ta/file:/some/file\"",
        "--root root --tmp --bind \"da ta:/some/where:suid,noexec,norec\" --bind /dev/null:/dev/other:dev --tmpfs /tmp:size=1M \
         --file \"a text:/a/file:mode=600\" --symlink file:/a/link --dir /a/dir:mode=711 --mask /a/dir --remount-ro /a \
         --net-files --root-ro --umask 027 --chdir /a",
        "--root root --tmp --sysfs /sys --proc /proc --dev /other --suid --device-files --proc-full",
        "--root root --tmp --no-dev --symlink /other:/dev/link",
        "--root root --tmp --mem 64M --sysfs /sys --lan box-$$ --link \"ip=10.9.0.2/24 ip=fd00::2/64\" --link gw=10.9.0.1 --link 'mtu=1300 down'",
    ] {
        let outputs = both_ways(&scene, options, LOOK);
        assert!(outputs.iter().all(|output| output.status.success()), "{options}: {outputs:?}");
        let [fused, chain] = outputs.map(|output| described(&output));
        let namespaces = "uts new\nipc new\npid new\nnet new\nmnt new\nuser same\ncgroup new\ntime same\n";
        assert!(fused.starts_with(namespaces), "{options}: {fused}");
        assert_eq!(fused, chain, "{options}");
    }
}

#[test]
fn the_printed_chain_makes_the_same_box_if_its_root_is_mapped() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("lower", &[("from-lower", "")]);
    scene.tree("closed/da ta", &[("file", "data\n")]);
    scene.tree("closed/da ta/dir", &[]);
    fs::set_permissions(scene.path("closed"), Permissions::from_mode(0o700)).expect("chmod");
    let look = format!(
        "{LOOK}; busybox stat -c '%u:%g %a %n' /some/* / && cat /some/file; echo new >/some/where/new && busybox rm /some/where/new"
    );
    for options in [
        "--root root",
        "--root root --lower lower --upper upper --pids 20",
        "--root root --tmp --bind \"closed/da ta:/some/where\" --ro-bind \"closed/da ta/file:/some/file:noexec\"",
        "--root root --tmp --tmpfs /some --bind \"closed/da ta:/some/where:idmap=box\" --remount-ro /some/where/dir",
        "--root root --tmp --bind \"closed/da ta:/some/where:suid,norec,idmap=1-100000-1+0-100001-1\" --bind /dev/null:/some/null:dev \
         --mask /some/null --file \"a text:/some/file\" --net-files --root-ro --umask 027 --chdir /some",
        "--root root --tmp --sysfs /sys --cgroup --dev /dev --suid --device-files --proc-full --user 7",
    ] {
        let outputs = both_ways_mapped(&scene, options, &look);
        let [fused, chain] = outputs.map(|output| {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            // The chain's root-enter is no part of a program.
            described(&output) + &errors.replace("box-run: ", "")
        });
        let namespaces = "uts new\nipc new\npid new\nnet new\nmnt new\nuser new\ncgroup new\ntime same\n";
        assert!(fused.starts_with(namespaces), "{options}: {fused}");
        assert_eq!(fused, chain, "{options}");
    }
}

/// The same of an ordinary user, who has no group.
fn both_ways_as_user(scene: &Scene, options: &str, command: &str) -> [Output; 2] {
    WAYS.map(|way| {
        let script = format!("unset _; {way}; exit $?").replace("$options", options);
        let mut bash = scene.script_as_user(&script.replace("$0", "$COMMAND"));
        bash.env("COMMAND", command).output().expect("bash")
    })
}

#[test]
fn the_printed_chain_of_an_ordinary_user_makes_the_same_box() {
    let scene = Scene::new();
    scene.rootfs("root");
    for options in [
        "--root root",
        "--root root --tmp --oom 100",
        "--chdir /",
        "--chdir / --oom 100 --nice 19",
        "--chdir / --ns uts=web",
        "--chdir / --over /opt",
        "--chdir / --preset agent --rw /srv",
        "--chdir / --preset service",
        "--chdir / --lan box-$$",
        "--chdir / --preset service --lan box-$$ --link \"ip=10.9.0.2/24 gw=10.9.0.1 loss=5%\"",
        "--root root --lan box-$$ --ns all,uts=web --oom 100",
    ] {
        let outputs = both_ways_as_user(&scene, options, LOOK);
        assert!(outputs.iter().all(|output| output.status.success()), "{options}: {outputs:?}");
        let [fused, chain] = outputs.map(|output| described(&output));
        assert!(fused.starts_with("uts new\n") && fused.contains("user new\n"), "{options}: {fused}");
        assert_eq!(fused, chain, "{options}");
    }
}

#[test]
fn print_shows_the_chain_as_one_would_type_it() {
    let scene = Scene::new();
    scene.rootfs("root");
    let options =
        ["--root", "root", "--tmp", "--mem", "4M", "--hostname", "web", "--bind", "a b:/c", "--print"];
    let run = scene.tool("box-run").args(options).args(["--", "sh", "-c", "echo $HOME"]).assert().success();
    run.stdout(
        "cg-set mem=4M pids=1024 -- ns-enter --init uts=web,ipc,net,cgroup,pid -- ovl-mount -l root --tmp /mnt -- \
         root-enter --host-next --umask 022 --bind 'a b:/c' /mnt -- \
         priv-drop --user=0 --caps=chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,sys_chroot,setfcap \
         --no-new-privs --seccomp=default --rlimit=core=1 --env-clear --env-pass=TERM --env-pass=LANG \
         --env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --env=HOME=/root --new-session -- \
         sh -c 'echo $HOME'\n",
    );
}

#[test]
fn both_ways_end_alike() {
    let scene = Scene::new();
    scene.rootfs("root");
    for (command, status) in [("exit 42", 42), ("no-such-command", 127), ("kill -9 $$; exit 3", 137)] {
        let [fused, chain] = both_ways(&scene, "--root root --mem 64M", command);
        assert_eq!((fused.status.code(), chain.status.code()), (Some(status), Some(status)), "{command}");
        assert_eq!(fused.stderr, chain.stderr);
    }
}

/// The roots of a box that are its own.
const OWN: [&str; 4] = [
    "--root root --tmp",
    "--root root",
    "--lower lower --root root --tmp=4M",
    "--root root --lower lower --upper upper",
];
/// Those that are the host's tree.
const HOST: [&str; 4] =
    ["--ro .", "--rw . --hide /opt", "--over . --rw lower", "--over . --upper changes --hide lower"];

/// What else of a box may be typed.
fn rest() -> Vec<&'static str> {
    vec![
        "--mem 64M",
        "--cpu 0.5",
        "--pids 40",
        "--cpu.weight 50",
        "--hostname web",
        "--domain example.org",
        "--no-init",
        "--allow-net",
        "--lan box-$$",
        "--lan box-$$ --link \"ip=10.9.0.2/24 loss=5%\" --link mtu=1300",
        "--lan box-$$ --link down --pcap /dev/null --link-report /dev/null",
        "--link-stat",
        "--allow-ipc",
        "--allow-env",
        "--ns time=+1h",
        "--user 7:8",
        "--groups 5,6",
        "--caps none",
        "--caps chown,kill",
        "--locked",
        "--seccomp none",
        "--seccomp strict",
        "--seccomp none --allow-new-privs",
        "--landlock ro:/,rw:/dev",
        "--rlimit nofile=100 --rlimit core=1M",
        "--nice 5",
        "--oom 100",
        "--env A=b --env-pass B",
        "--env PATH=/bin",
        "--new-session",
        "--umask 077",
        "--chdir /dev",
        "--tmpfs /mnt:size=1M",
        "--mask /proc/cpuinfo",
        "--proc-full",
        "--cgroup=/mnt",
        "--bind lower:/media:noexec",
        "--file text:/dev/shm/file",
        "--suid",
        "--device-files",
        "--personality addr-no-randomize",
    ]
}

/// Options of a box as they may be typed: one of the roots, and any of the rest.
fn options(roots: Vec<&'static str>, rest: Vec<&'static str>) -> impl Strategy<Value = String> {
    let root = select(roots);
    let several = vec(select(rest), 0..7).prop_map(|mut words| {
        let option = |words: &str| words.split(' ').next().unwrap_or_default().to_owned();
        let mut seen = Vec::new();
        words.retain(|word| {
            !seen.contains(&option(word)) && {
                seen.push(option(word));
                true
            }
        });
        words
    });
    (root, several, option::of(select(vec!["--timeout 1m", "--stat"]))).prop_map(|(root, several, last)| {
        [root].into_iter().chain(several).chain(last).collect::<Vec<_>>().join(" ")
    })
}

#[test]
fn whatever_is_asked_for_both_ways_make_the_same_box() {
    same_boxes(200, options([OWN, HOST].concat(), rest()), both_ways);
}

#[test]
fn whatever_is_asked_for_both_ways_make_the_same_box_if_its_root_is_mapped() {
    // No chain has a link there.
    let rest = rest().into_iter().filter(|option| !option.starts_with("--lan"));
    same_boxes(60, options(OWN.to_vec(), rest.collect()), both_ways_mapped);
}

fn same_boxes(
    cases: u32,
    options: impl Strategy<Value = String>,
    both_ways: impl Fn(&Scene, &str, &str) -> [Output; 2],
) {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    for dir in ["mnt", "media", "lower"] {
        fs::create_dir(root.join(dir)).expect("mkdir");
    }
    scene.tree("lower", &[("from-lower", "")]);
    scene.tree("changes", &[]);
    let config = ProptestConfig {
        cases: cases / slowness(),
        max_shrink_iters: 50,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let ran = std::cell::Cell::new(0);
    TestRunner::new(config)
        .run(&options, |options| {
            let outputs = both_ways(&scene, &options, LOOK);
            ran.set(ran.get() + u32::from(outputs.iter().all(|output| output.status.success())));
            let [fused, chain] = &outputs;
            prop_assert_eq!(fused.status.code(), chain.status.code(), "{:?}", outputs);
            prop_assert_eq!(described(fused), described(chain));
            Ok(())
        })
        .expect("the same");
    // What is refused is refused both ways, but that is no box.
    assert!(ran.get() > cases / 2 / slowness(), "only {} of the boxes ran", ran.get());
}
