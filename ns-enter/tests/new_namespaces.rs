//! New namespaces: what is new is separate, and what was not asked for is as it was.

use std::{collections::BTreeMap, process::Command};

use chain_testing::Scene;

/// Prints the links of /proc/self/ns, as `uts uts:[4026531838]`.
const LINKS: &str = "for kind in /proc/self/ns/*; do echo \"${kind##*/} $(readlink $kind)\"; done";

fn links(output: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(output);
    let pair = |line: &str| line.split_once(' ').map(|(kind, link)| (kind.to_owned(), link.to_owned()));
    text.lines().filter_map(pair).collect()
}

#[test]
fn only_the_asked_kinds_are_new() {
    let scene = Scene::new();
    let outside = links(&Command::new("bash").args(["-c", LINKS]).output().expect("bash").stdout);
    for kinds in
        ["uts", "ipc", "net", "cgroup", "mnt", "pid", "uts,ipc,net", "mnt,pid", "uts,pid,mnt,net,ipc,cgroup"]
    {
        let run = scene.tool("ns-enter").args([kinds, "--", "bash", "-c", LINKS]).assert().success();
        let inside = links(&run.get_output().stdout);
        let mut changed: Vec<_> = inside
            .iter()
            .filter(|(kind, link)| outside[*kind] != **link)
            .map(|(kind, _)| kind.clone())
            .collect();
        changed.retain(|kind| kind != "pid_for_children");
        let mut asked: Vec<_> = kinds.split(',').collect();
        // Without a /proc of their own, the files of /proc/self are those of the process outside.
        asked.sort_unstable();
        assert_eq!(changed, asked, "{kinds}");
    }
}

#[test]
fn a_host_name_set_inside_does_not_reach_the_host() {
    let scene = Scene::new();
    let before = Command::new("hostname").output().expect("hostname").stdout;
    let run =
        scene.tool("ns-enter").args(["uts=web", "bash", "-c", "hostname; hostname inner; hostname"]).assert();
    run.success().stdout("web\ninner\n");
    assert_eq!(Command::new("hostname").output().expect("hostname").stdout, before);
}

#[test]
fn a_domain_name_is_set_inside_only() {
    let scene = Scene::new();
    let show = "cat /proc/sys/kernel/domainname /proc/sys/kernel/hostname";
    let name = "d".repeat(64);
    let script = format!(
        "{show} >before; ns-enter --domain {name} uts=web -- {show}; {show} | cmp - before && echo as before"
    );
    scene.script(&script).assert().success().stdout(format!("{name}\nweb\nas before\n"));
}

#[test]
fn a_domain_name_that_is_empty_or_too_long_is_refused() {
    let scene = Scene::new();
    let long = "d".repeat(65);
    let too_long = format!("--domain {long}: 65 bytes long; the kernel takes at most 64\n");
    for (name, why) in [("", "--domain : empty\n"), (&long, &too_long)] {
        let run = scene.tool("ns-enter").args(["--domain", name, "uts", "--", "echo", "ran"]).assert();
        let run = run.code(125).stdout("");
        let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(said.starts_with("ns-enter: --domain") && said.ends_with(why), "{said}");
    }
}

#[test]
fn without_a_pid_namespace_the_process_changes_itself() {
    let scene = Scene::new();
    let run = scene.script("echo $$; exec ns-enter uts,ipc -- bash -c 'echo $$'").assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let pids: Vec<_> = output.lines().collect();
    assert_eq!(pids.len(), 2);
    assert_eq!(pids[0], pids[1], "no fork is needed, so none is made");
}

#[test]
fn pid_and_mnt_together_show_only_the_new_processes() {
    let scene = Scene::new();
    let run =
        scene.tool("ns-enter").args(["pid,mnt", "--", "bash", "-c", "echo $$; echo /proc/[0-9]*"]).assert();
    run.success().stdout("1\n/proc/1\n");
}

#[test]
fn pid_alone_leaves_proc_as_it_is() {
    let scene = Scene::new();
    let outside = std::fs::read_link("/proc/self/ns/mnt").expect("link");
    let run = scene
        .tool("ns-enter")
        .args(["pid", "--", "bash", "-c", "echo $$; readlink /proc/$PPID/ns/mnt; true"])
        .assert();
    run.success().stdout("1\n");
    assert_eq!(std::fs::read_link("/proc/self/ns/mnt").expect("link"), outside);
}

#[test]
fn the_loopback_of_a_new_network_is_up_and_alone() {
    let scene = Scene::new();
    let talk = "ls /sys/class/net 2>/dev/null; \
                exec 3<>/dev/udp/127.0.0.1/9 && echo hello >&3 && tail -n +3 /proc/self/net/dev | cut -d: -f1 | tr -d ' '";
    let run = scene.tool("ns-enter").args(["net,mnt", "bash", "-c", talk]).assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert_eq!(output.lines().last(), Some("lo"), "{output}");
    let run = scene.tool("ns-enter").args(["net", "bash", "-c", "cat /sys/class/net/lo/flags"]).assert();
    run.success();
}

#[test]
fn a_mount_made_inside_is_not_seen_outside() {
    let scene = Scene::new();
    let place = scene.tree("place", &[]);
    let script = format!("mount -t tmpfs none {0} && touch {0}/inside && ls {0}", place.display());
    scene.tool("ns-enter").args(["mnt", "--", "bash", "-c", &script]).assert().success().stdout("inside\n");
    assert_eq!(std::fs::read_dir(&place).expect("directory").count(), 0);
}

#[test]
fn a_cgroup_namespace_begins_at_the_group_of_its_maker() {
    let scene = Scene::new();
    let run =
        scene.script("cg-set pids=50 -- ns-enter cgroup -- grep pids /proc/self/cgroup").assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(output.ends_with(":pids:/\n"), "{output}");
}

#[test]
fn ipc_objects_stay_on_their_side() {
    let scene = Scene::new();
    let run = scene
        .script("ns-enter ipc -- bash -c 'ipcmk -Q >/dev/null && ipcs -q | grep -c 0x; exit 0'")
        .assert();
    run.success().stdout("1\n");
}
