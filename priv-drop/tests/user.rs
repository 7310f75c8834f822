//! The user and the groups: who the command is, and that nothing of the caller is left in it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use chain_testing::Scene;
use nix::{sys::stat::Mode, unistd::mkfifo};

/// What status(5) says of the ids of the process that reads it, behind these words and priv-drop's options.
fn ids(scene: &Scene, options: &str) -> String {
    let status = "grep -E '^(Uid|Gid|Groups)' /proc/self/status | cut -f 2- | tr -s '\\t\\n ' ' '";
    let script = format!("setpriv --groups 4,5,6 -- priv-drop {options} -- bash -c \"{status}\"");
    let run = scene.script(&script).assert().success();
    String::from_utf8_lossy(&run.get_output().stdout).trim_end().to_owned()
}

/// A root in which priv-drop is, with these lines in /etc/passwd and /etc/group.
fn root(scene: &Scene, passwd: &str, group: &str) -> PathBuf {
    let root = scene.rootfs("root");
    fs::write(root.join("etc/passwd"), passwd).expect("write");
    fs::write(root.join("etc/group"), group).expect("write");
    scene.script("cp $(command -v priv-drop) root/bin").assert().success();
    root
}

/// What id(1) says there as this user, or else what priv-drop says.
fn in_root(scene: &Scene, user: &str) -> Result<String, String> {
    let args =
        ["root", "--", "priv-drop", "--user", user, "--", "sh", "-c", "echo $(id -u) $(id -g) $(id -G)"];
    let output = scene.tool("root-enter").args(args).assert().get_output().clone();
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8").trim_end().to_owned();
    match output.status.code() {
        Some(0) => Ok(text(output.stdout)),
        Some(125) if output.stdout.is_empty() => Err(text(output.stderr)),
        _ => panic!("{output:?}"),
    }
}

#[test]
fn every_user_and_group_id_of_the_caller_is_gone() {
    let scene = Scene::new();
    assert_eq!(ids(&scene, "--user 7:8"), "7 7 7 7 8 8 8 8");
    assert_eq!(ids(&scene, "--user 7"), "7 7 7 7 7 7 7 7");
    assert_eq!(ids(&scene, "--user 7:8 --groups 10,9"), "7 7 7 7 8 8 8 8 9 10");
}

#[test]
fn without_a_user_the_callers_stays() {
    let scene = Scene::new();
    assert_eq!(ids(&scene, ""), "0 0 0 0 0 0 0 0 4 5 6");
    assert_eq!(ids(&scene, "--groups 9"), "0 0 0 0 0 0 0 0 9");
}

#[test]
fn names_are_those_of_the_commands_own_root() {
    let scene = Scene::new();
    root(&scene, "nobody:x:70:71::/:/bin/sh\nme:x:72:73::/:/bin/sh\n", "ours:x:74:\n");
    assert_eq!(in_root(&scene, "nobody").as_deref(), Ok("70 71 71"));
    assert_eq!(in_root(&scene, "me:ours").as_deref(), Ok("72 74 74"));
    let unknown = "priv-drop: user daemon: not in /etc/passwd; write a number, or a name that is there";
    assert_eq!(in_root(&scene, "daemon"), Err(unknown.into()));
    let unknown = "priv-drop: group daemon: not in /etc/group; write a number, or a name that is there";
    assert_eq!(in_root(&scene, "me:daemon"), Err(unknown.into()));
}

#[test]
fn a_name_that_a_hostile_root_gives_to_root_is_refused() {
    let scene = Scene::new();
    root(&scene, "nobody:x:0:0::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n", "");
    let refused = "priv-drop: user nobody: /etc/passwd says that it is root; write 0 if that is meant";
    assert_eq!(in_root(&scene, "nobody"), Err(refused.into()));
    assert_eq!(in_root(&scene, "root").as_deref(), Ok("0 0 0"));
}

#[test]
fn lines_that_are_none_are_skipped() {
    let scene = Scene::new();
    root(&scene, "me\nme:x:-1:0:::\nme:x:0:0\n\n::::::\nme:x:4294967295:0:::\nme:x:5:6:::", "");
    assert_eq!(in_root(&scene, "me").as_deref(), Ok("5 6 6"));
}

#[test]
fn a_hostile_passwd_file_is_refused_and_nobody_waits_for_it() {
    let scene = Scene::new();
    let root = root(&scene, "", "");
    let passwd = root.join("etc/passwd");
    let replace = |make: &dyn Fn(&Path)| {
        fs::remove_file(&passwd).expect("remove");
        make(&passwd);
        in_root(&scene, "me").expect_err("refused")
    };
    let fifo = replace(&|path| mkfifo(path, Mode::S_IRWXU).expect("mkfifo"));
    assert_eq!(fifo, "priv-drop: user me: /etc/passwd: not a regular file");
    let device = replace(&|path| symlink("/dev/zero", path).expect("symlink"));
    assert_eq!(device, "priv-drop: user me: /etc/passwd: not a regular file");
    let huge = replace(&|path| fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("file"));
    assert_eq!(huge, "priv-drop: user me: /etc/passwd: larger than 4 MiB; write a number");
    let circle = replace(&|path| symlink("passwd", path).expect("symlink"));
    assert_eq!(circle, "priv-drop: user me: /etc/passwd: Too many levels of symbolic links");
    let missing = replace(&|path| symlink("/no/such", path).expect("symlink"));
    assert!(
        missing.ends_with("No such file or directory; write a number, which needs no such file"),
        "{missing}"
    );
}

#[test]
fn a_link_to_an_open_file_of_the_caller_is_not_followed() {
    let scene = Scene::new();
    let root = root(&scene, "", "");
    fs::write(scene.path("secret"), "me:x:5:6:::\n").expect("write");
    fs::remove_file(root.join("etc/passwd")).expect("remove");
    symlink("/proc/self/fd/0", root.join("etc/passwd")).expect("symlink");
    let run = scene.script("root-enter root -- priv-drop --user me -- id < secret").assert();
    run.code(125).stdout("").stderr("priv-drop: user me: /etc/passwd: Too many levels of symbolic links\n");
}

#[test]
fn a_link_within_the_root_is_followed() {
    let scene = Scene::new();
    let root = root(&scene, "", "");
    fs::remove_file(root.join("etc/passwd")).expect("remove");
    fs::write(root.join("etc/accounts"), "me:x:5:6:::\n").expect("write");
    symlink("/etc/accounts", root.join("etc/passwd")).expect("symlink");
    assert_eq!(in_root(&scene, "me").as_deref(), Ok("5 6 6"));
}

#[test]
fn an_ordinary_user_cannot_become_another_and_is_told_what_would_help() {
    let scene = Scene::new();
    let run = scene.script_as_user("priv-drop --groups 5 -- echo ran").assert().code(125).stdout("");
    run.stderr(
        "priv-drop: set the supplementary groups {5}: Operation not permitted; \
         run as root, or in a new user namespace: ns-enter user -- priv-drop\n",
    );
    let run = scene.script_as_user("priv-drop --user 5 -- echo ran").assert().code(125).stdout("");
    run.stderr(
        "priv-drop: become group 5: Operation not permitted; \
         run as root, or in a new user namespace: ns-enter user -- priv-drop\n",
    );
}

#[test]
fn a_number_that_the_user_namespace_lacks_is_told() {
    let scene = Scene::new();
    let run =
        scene.script("ns-enter user=0:0:10 -- priv-drop --user 11 -- echo ran").assert().code(125).stdout("");
    run.stderr(
        "priv-drop: become group 11: Invalid argument; \
         the user namespace has no such number; see /proc/self/uid_map and gid_map\n",
    );
}
