//! What `--list` and `--tree` show of namespaces that the test made. Others come and go meanwhile.

use std::{collections::BTreeMap, io, process::Output};

use chain_testing::{Holder, ORDINARY_USER, Scene, namespace};
use serde_json::Value;

fn own(kind: &str) -> u64 {
    namespace(std::process::id(), kind)
}

/// What a program that succeeds writes to stdout.
fn text(output: io::Result<Output>) -> String {
    let output = output.expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn script(scene: &Scene, script: &str) -> String {
    text(scene.script(script).output())
}

fn shown(scene: &Scene, words: &[&str]) -> String {
    text(scene.tool("ns-enter").args(words).output())
}

/// The entry of a namespace in the output of `--list --json`.
fn entry(json: &str, inode: u64) -> Value {
    let listing: Value = serde_json::from_str(json).expect("JSON");
    let all = listing["namespaces"].as_array().expect("namespaces");
    all.iter().find(|entry| entry["inode"] == inode).cloned().unwrap_or_default()
}

/// Of each namespace by its inode: kind, number of processes, lowest pid; from these columns.
fn columns(text: &str, columns: [usize; 4]) -> BTreeMap<u64, [String; 3]> {
    let read = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [inode, kind, processes, pid] = columns.map(|at| words[at].to_owned());
        Some((inode.parse().ok()?, [kind, processes, pid]))
    };
    text.lines().filter_map(read).collect()
}

#[test]
fn it_lists_what_lsns_lists() {
    let scene = Scene::new();
    let words = "unshare --user --map-root-user -- ns-enter uts,ipc,net,cgroup,pid,mnt --";
    let holder = Holder::new(&scene, words);
    let ours = columns(&shown(&scene, &["--list"]), [1, 0, 2, 3]);
    let lsns = columns(&script(&scene, "lsns --noheadings --raw --output NS,TYPE,NPROCS,PID"), [0, 1, 2, 3]);
    for kind in ["user", "uts", "ipc", "net", "cgroup", "pid", "mnt"] {
        let inode = holder.namespace(kind);
        assert_ne!(inode, own(kind));
        assert_eq!(ours.get(&inode), lsns.get(&inode), "{kind}");
        assert_eq!(ours[&inode][0], kind);
    }
    assert_eq!(ours[&own("uts")][2], lsns[&own("uts")][2]);
}

#[test]
fn a_line_is_for_awk_and_its_command_is_last() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "ns-enter uts --");
    let line = script(&scene, &format!("ns-enter --list | grep {}", holder.namespace("uts")));
    let (pid, user) = (holder.pid, own("user"));
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        words[2..],
        ["1", &pid.to_string(), &user.to_string(), "-", "-", "bash", "-c", "echo", "ready;", "read", "line"]
    );
}

#[test]
fn the_tree_shows_a_pid_namespace_in_another() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "ns-enter pid,mnt -- ns-enter pid,mnt --");
    let inner = holder.namespace("pid");
    let json = shown(&scene, &["--list", "--json"]);
    let outer = entry(&json, inner)["parent"].as_u64().expect("a parent");
    assert_eq!(entry(&json, outer)["parent"], own("pid"));
    for (locale, stroke) in [("C", "`- "), ("C.UTF-8", "└─ ")] {
        let mut tool = scene.tool("ns-enter");
        let text = text(tool.arg("--tree").env("LC_ALL", locale).output());
        let mut lines = text.lines().skip_while(|line| !line.contains(&outer.to_string()));
        let above = lines.next().expect("the outer one");
        let below = lines.next().expect("the inner one");
        let column = |line: &str| line.chars().position(|c| c.is_ascii_digit());
        assert_eq!(column(below), column(above).map(|column| column + 3), "{text}");
        let expected = format!("{stroke}{inner} 1 process, pid {}: bash -c", holder.pid);
        assert!(below.contains(&expected), "{text}");
    }
}

#[test]
fn a_user_namespace_without_a_process_is_found_from_the_one_in_it() {
    let scene = Scene::new();
    let unshare = "unshare --user --map-root-user --";
    let holder = Holder::new(&scene, &format!("{unshare} {unshare}"));
    let json = shown(&scene, &["--list", "--json"]);
    let inner = entry(&json, holder.namespace("user"));
    let middle = entry(&json, inner["parent"].as_u64().expect("a parent"));
    assert_eq!(
        (&middle["processes"], &middle["pid"], &middle["command"]),
        (&0.into(), &Value::Null, &Value::Null)
    );
    assert_eq!((&middle["parent"], &middle["owner_uid"]), (&own("user").into(), &0.into()));
    let line = format!("{} made by uid 0, no process\n", middle["inode"]);
    assert!(shown(&scene, &["--tree"]).contains(&line));
}

/// Keeps a net namespace on a file with a space in its name, where only `then` sees it.
fn with_kept_net(then: &str) -> String {
    let keep = "touch \"kept net\" && unshare --net=\"kept net\" true";
    format!("ns-enter mnt -- bash -c '{keep} && {then}'")
}

#[test]
fn a_namespace_that_only_a_file_keeps_is_listed_with_the_file() {
    let scene = Scene::new();
    let steps = with_kept_net("stat --format=%i \"kept net\" && ns-enter --list --json && ns-enter --list");
    let text = script(&scene, &steps);
    let mut lines = text.lines();
    let inode = lines.next().and_then(|line| line.parse().ok()).expect("inode");
    let found = entry(lines.next().expect("JSON"), inode);
    let file = scene.path("kept net").display().to_string();
    let expected = serde_json::json!({
        "kind": "net", "inode": inode, "processes": 0, "pid": null, "command": null,
        "owner": own("user"), "parent": null, "owner_uid": null, "files": [file],
    });
    assert_eq!(found, expected);
    let line = lines.find(|line| line.contains(&inode.to_string())).expect("a line");
    assert!(line.ends_with(&format!(" kept on {file}")), "{line}");
}

#[test]
fn a_kept_namespace_under_another_mount_is_listed_without_opening_what_covers_it() {
    let scene = Scene::new();
    let cover = "stat --format=%i \"kept net\" && mkfifo fifo && mount --bind fifo \"kept net\"";
    let text = script(&scene, &with_kept_net(&format!("{cover} && ns-enter --list --json")));
    let (inode, json) = text.split_once('\n').expect("two lines");
    let found = entry(json, inode.parse().expect("inode"));
    assert_eq!(found["files"], serde_json::json!([scene.path("kept net")]));
    assert_eq!(found["owner"], Value::Null);
}

#[test]
fn a_pid_asks_for_the_namespaces_of_that_process_only() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "ns-enter uts,pid,mnt --");
    let found = columns(&shown(&scene, &["--list", &holder.pid.to_string()]), [1, 0, 2, 3]);
    let kinds = ["user", "uts", "ipc", "net", "cgroup", "time", "pid", "mnt"];
    assert_eq!(found.len(), kinds.len());
    for kind in kinds {
        assert_eq!(found[&holder.namespace(kind)][0], kind);
    }
    assert_eq!(found[&holder.namespace("uts")][1..], ["1", &holder.pid.to_string()]);
}

#[test]
fn a_pid_and_json_go_together() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "ns-enter uts,pid,mnt --");
    let json = shown(&scene, &["--list", &holder.pid.to_string(), "--json"]);
    let listing: Value = serde_json::from_str(&json).expect("JSON");
    let all = listing["namespaces"].as_array().expect("namespaces");
    let inodes =
        ["user", "uts", "ipc", "net", "cgroup", "time", "pid", "mnt"].map(|kind| holder.namespace(kind));
    let mut listed: Vec<_> = all.iter().map(|entry| entry["inode"].as_u64().expect("inode")).collect();
    listed.sort_unstable();
    let mut inodes = inodes.to_vec();
    inodes.sort_unstable();
    assert_eq!(listed, inodes);
    let whole = shown(&scene, &["--list", "--json"]);
    for kind in ["uts", "pid", "mnt"] {
        // Of these nobody else is in, so that both know the same.
        assert_eq!(entry(&json, holder.namespace(kind)), entry(&whole, holder.namespace(kind)));
        assert_eq!(entry(&json, holder.namespace(kind))["pid"], holder.pid);
    }
}

#[test]
fn a_namespace_that_only_children_are_in_has_a_line_of_its_own() {
    let scene = Scene::new();
    let wait = "tail -f /dev/null & echo ready; read line; kill -KILL $!; wait 2>/dev/null";
    let holder = Holder::running(&scene, &format!("exec unshare --pid bash -c '{wait}'"));
    let parent = holder.tool_pid();
    let json = shown(&scene, &["--list", &parent.to_string(), "--json"]);
    let found = entry(&json, holder.namespace("pid"));
    assert_eq!((&found["kind"], &found["pid"]), (&"pid_for_children".into(), &holder.pid.into()));
    assert_eq!(entry(&json, namespace(parent, "pid"))["kind"], "pid");
}

#[test]
fn a_process_that_has_ended_is_named() {
    let scene = Scene::new();
    let mut ended = scene.command("true").spawn().expect("true");
    ended.wait().expect("ends");
    let pid = ended.id();
    let run = scene.tool("ns-enter").args(["--list", &pid.to_string()]).assert().code(125).stdout("");
    run.stderr(format!(
        "ns-enter: list the namespaces of process {pid}: No such file or directory; is there a process {pid}?\n"
    ));
}

#[test]
fn an_ordinary_user_is_told_of_what_is_not_seen() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "ns-enter uts --");
    for option in ["--list", "--tree"] {
        let run = scene.script_as_user(&format!("ns-enter {option}")).assert().success();
        let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        let hint = "processes could not be looked at (permission); run as root to see all\n";
        assert!(said.starts_with(&format!("ns-enter: {option}: ")) && said.ends_with(hint), "{said}");
        assert_eq!(said.lines().count(), 1);
    }
    let json = text(scene.script_as_user("ns-enter --list --json").output());
    let listing: Value = serde_json::from_str(&json).expect("JSON");
    assert!(listing["hidden_processes"].as_u64() > Some(0));
    assert_eq!(entry(&json, holder.namespace("uts")), Value::Null);
    assert_eq!(entry(&json, own("uts"))["kind"], "uts");
}

#[test]
fn the_namespaces_of_roots_process_are_not_for_an_ordinary_user() {
    let scene = Scene::new();
    let run = scene.script_as_user("ns-enter --list 1").assert().code(125).stdout("");
    run.stderr("ns-enter: list the namespaces of process 1: Permission denied; run as root, or as the owner of that process\n");
}

#[test]
fn processes_that_proc_does_not_name_are_said() {
    let scene = Scene::new();
    // Copies the programs to where that user may reach them.
    scene.script_as_user("true").assert().success();
    let user = format!("setpriv --reuid={ORDINARY_USER} --regid={ORDINARY_USER} --clear-groups");
    let script = format!(
        "ns-enter mnt -- bash -c 'mount -t proc -o hidepid=2 proc /proc && {user} bin/ns-enter --list'"
    );
    let run = scene.script(&script).assert().success();
    run.stderr(
        "ns-enter: --list: /proc does not show the processes of others (hidepid); run as root to see all\n",
    );
}

#[test]
fn lines_are_cut_for_a_terminal_only() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "ns-enter uts,pid --");
    for option in ["--list", "--tree"] {
        let narrow =
            format!("script --quiet --command 'stty cols 40; ns-enter {option} 2>/dev/null' /dev/null");
        let text = script(&scene, &narrow);
        assert!(text.lines().count() > 2 && text.lines().all(|line| line.chars().count() <= 40), "{text}");
        let whole = shown(&scene, &[option]);
        let line = whole.lines().find(|line| line.contains(&holder.namespace("pid").to_string()));
        assert!(line.expect("a line").ends_with("read line"), "{whole}");
    }
}
