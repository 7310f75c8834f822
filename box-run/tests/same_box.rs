//! The fused box and the printed chain are the same box.

use std::{fs, path::Path, process::Output};

use chain_testing::Scene;

/// All that the box can see of itself, without what differs between any two runs.
const LOOK: &str = "
    for kind in uts ipc pid net mnt user cgroup time; do echo ns $(busybox readlink /proc/self/ns/$kind); done
    hostname; id; echo $$ $PWD; busybox env | busybox sort
    busybox grep -E '^(Cap|Seccomp|NoNewPrivs|Groups|Sig(Pnd|Blk|Ign|Cgt))' /proc/self/status
    busybox cut -d' ' -f 4- /proc/self/mountinfo
    busybox sed 's/cg-set[.][0-9]*[.][0-9]*/GROUP/g' /proc/self/cgroup
    busybox ls -l /proc/self/fd | busybox awk '{print $9}'
    ps -o pid,args | busybox wc -l
    busybox ip addr
    ulimit -a; busybox find / -xdev | busybox sort";

/// Fused and as the printed chain, each from a shell without a terminal and with one variable.
fn both_ways(scene: &Scene, options: &str, command: &str) -> [Output; 2] {
    [
        "box-run $options -- sh -c \"$0\"",
        "chain=$(box-run $options --print -- sh -c \"$0\") && eval \"$chain\"",
    ]
    .map(|way| {
        let mut bash = scene.command("bash");
        let path = bash.get_envs().find_map(|(name, value)| (name == "PATH").then_some(value?.to_owned()));
        bash.env_clear().env("PATH", path.expect("PATH"));
        let script = format!("unset _; rm -rf upper upper.work; mkdir upper; {way}; exit $?")
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
        "--root root --tmp --hostname web --net",
        "--root root --tmp --mem 64M --cpu 0.5 --pids 32 --hostname web --net",
        "--root root --lower lower --upper upper --pids 20",
        "--root root --tmp --bind \"da ta:/some/where\" --ro-bind \"da ta/file:/some/file\"",
    ] {
        let outputs = both_ways(&scene, options, LOOK);
        assert!(outputs.iter().all(|output| output.status.success()), "{options}: {outputs:?}");
        let [fused, chain] = outputs.map(|output| described(&output));
        let net = if options.contains("--net") { "new" } else { "same" };
        let namespaces =
            format!("uts new\nipc new\npid new\nnet {net}\nmnt new\nuser same\ncgroup same\ntime same\n");
        assert!(fused.starts_with(&namespaces), "{options}: {fused}");
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
        "cg-set mem=4M -- ns-enter uts=web,ipc,pid -- ovl-mount -l root --tmp /mnt -- \
         root-enter --bind 'a b:/c' /mnt -- sh -c 'echo $HOME'\n",
    );
}

#[test]
fn both_ways_end_alike() {
    let scene = Scene::new();
    scene.rootfs("root");
    for (command, status) in [("exit 42", 42), ("no-such-command", 127), ("kill -9 $$; exit 3", 3)] {
        let [fused, chain] = both_ways(&scene, "--root root --mem 64M", command);
        assert_eq!((fused.status.code(), chain.status.code()), (Some(status), Some(status)), "{command}");
        assert_eq!(fused.stderr, chain.stderr);
    }
}
