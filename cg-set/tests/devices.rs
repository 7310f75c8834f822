//! `devices=`: which devices may be opened and made.

use chain_testing::{ORDINARY_USER, Scene, on_v2};

use common::{NAME, SHOWN};

mod common;

/// Functions for bash: `may` says for each device whether it can be read and written, `can_make` whether
/// a node of these numbers can be made.
const TRY: &str = "may() { \
        for device; do \
            how=; \
            (: < /dev/$device) && how=r; (: > /dev/$device) && how=${how}w; \
            echo $device:$how; \
        done 2>&-; \
    }; \
    can_make() { mknod node $* 2>&- && rm node && echo made $* || echo not made $*; }; \
    export -f may can_make";

/// What a command says that tries devices in a group of this setting.
fn tried(scene: &Scene, setting: &str, command: &str) -> String {
    let script = format!("{TRY}; cg-set {setting} -- bash -c '{command}'");
    let run = scene.script(&script).assert().success().stderr("");
    String::from_utf8_lossy(&run.get_output().stdout).into_owned()
}

#[test]
fn only_what_is_listed_can_be_opened() {
    let scene = Scene::new();
    let command = "may null zero full";
    assert_eq!(tried(&scene, "pids=50", command), "null:rw\nzero:rw\nfull:rw\n");
    assert_eq!(tried(&scene, "devices=none,+/dev/null:rw,+c1:7:rw", command), "null:rw\nzero:\nfull:rw\n");
    assert_eq!(tried(&scene, "devices=none", command), "null:\nzero:\nfull:\n");
}

#[test]
fn without_a_first_word_nothing_else_is_allowed() {
    let scene = Scene::new();
    assert_eq!(tried(&scene, "devices=+/dev/zero:rw", "may null zero"), "null:\nzero:rw\n");
}

#[test]
fn reading_and_writing_are_told_apart() {
    let scene = Scene::new();
    let devices = "devices=none,+/dev/zero:r,+/dev/null:w,+/dev/full:r,+c1:7:w";
    assert_eq!(tried(&scene, devices, "may zero null full"), "zero:r\nnull:w\nfull:rw\n");
}

#[test]
fn several_are_named_by_one_number_or_none() {
    let scene = Scene::new();
    let command = "may null zero tty; can_make b 7 0; can_make c 1 3";
    let all_of_a_driver = tried(&scene, "devices=none,+c1:*:rw,+b*:*:m", command);
    assert_eq!(all_of_a_driver, "null:rw\nzero:rw\ntty:\nmade b 7 0\nnot made c 1 3\n");
}

#[test]
fn a_node_is_made_only_where_m_allows_it() {
    let scene = Scene::new();
    let command = "can_make c 1 3; can_make c 1 5; can_make b 1 3";
    let made = tried(&scene, "devices=none,+/dev/null:m,+/dev/zero:rw", command);
    assert_eq!(made, "made c 1 3\nnot made c 1 5\nnot made b 1 3\n");
}

#[test]
fn the_standard_ones_are_those_that_programs_take_for_granted() {
    let scene = Scene::new();
    let nodes = "can_make c 1 5; can_make c 5 2; can_make c 136 7; can_make c 10 229; can_make b 7 0";
    let command = format!("may null zero full random urandom ptmx kmsg; {nodes}");
    assert_eq!(
        tried(&scene, "devices=std", &command),
        "null:rw\nzero:rw\nfull:rw\nrandom:rw\nurandom:rw\nptmx:rw\nkmsg:\n\
         made c 1 5\nmade c 5 2\nmade c 136 7\nnot made c 10 229\nnot made b 7 0\n"
    );
    assert!(tried(&scene, "devices=std,+/dev/kmsg:r", "may null kmsg").ends_with("null:rw\nkmsg:r\n"));
}

#[test]
fn a_group_inside_cannot_have_more_than_the_one_around_it() {
    let scene = Scene::new();
    let inner = "cg-set devices=$list -- bash -c \"may null zero\"";
    let inside = |list: &str, outer: &str| {
        let script = format!("{TRY}; export list={list}; cg-set {outer} -- bash -c '{inner}'");
        let run = scene.script(&script).assert();
        String::from_utf8_lossy(&run.get_output().stdout).into_owned()
    };
    let wide = "none,+/dev/null:rw,+/dev/zero:rw";
    assert_eq!(inside(wide, "pids=50"), "null:rw\nzero:rw\n");
    // On v1 it is an error to ask for it.
    let held = if on_v2() { "null:rw\nzero:\n" } else { "" };
    assert_eq!(inside(wide, "devices=none,+/dev/null:rw"), held);
    assert_eq!(inside("all", "devices=none,+/dev/null:rw"), held);
    assert_eq!(inside("none,+/dev/null:r", "devices=std"), "null:r\nzero:\n");
}

#[test]
fn a_named_group_that_is_set_again_has_the_new_list_alone() {
    let scene = Scene::new();
    let tried = format!("cg-set --name {NAME} -- bash -c 'may null zero full'");
    let script = format!(
        "{TRY}; {SHOWN}; set -e; trap 'cg-set --name {NAME} --remove' EXIT; \
         cg-set --name {NAME} devices=none,+/dev/null:rw,+/dev/zero:rw; {tried}; \
         cg-set --name {NAME} devices=none,+/dev/full:rw,+/dev/zero:r; {tried}; shown {NAME}; \
         cg-set --name {NAME} devices=all; {tried}; shown {NAME} | grep -c devices || true"
    );
    let run = scene.script(&script).assert().success().stderr("");
    run.stdout(
        "null:rw\nzero:rw\nfull:\n\
         null:\nzero:r\nfull:rw\ndevices=none,+c1:5:r,+c1:7:rw\n\
         null:rw\nzero:rw\nfull:rw\n0\n",
    );
}

#[test]
fn a_change_holds_for_what_runs_in_the_group_already() {
    let scene = Scene::new();
    let script = format!(
        "{TRY}; set -e; mkfifo ready go; \
         cg-set --name {NAME} devices=none,+/dev/null:rw -- bash -c 'may null zero; : > ready; read < go; may null zero' & \
         : < ready; cg-set --name {NAME} devices=none,+/dev/zero:rw; echo > go; wait $!; \
         cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success().stderr("");
    run.stdout("null:rw\nzero:\nnull:\nzero:rw\n");
}

#[test]
fn a_named_groups_list_is_shown_by_number_with_the_standard_ones_as_a_word() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; set -e; trap 'cg-set --name {NAME} --remove' EXIT; \
         for list in none std none,+c1:3:m,+/dev/zero:wr std,+b8:*:rw,+c*:*:m,+c10:229:rw; do \
             cg-set --name {NAME} devices=$list; shown {NAME} | grep devices; \
         done; \
         cg-set --name {NAME} --json | grep -o '.\"setting\":\"devices\"[^}}]*'"
    );
    scene.script(&script).assert().success().stderr("").stdout(format!(
        "devices=none\ndevices=std\ndevices=none,+c1:3:m,+c1:5:rw\ndevices=std,+c*:*:m,+c10:229:rw,+b8:*:rw\n\
         {{\"setting\":\"devices\",\"value\":\"std,+c*:*:m,+c10:229:rw,+b8:*:rw\",\"group\":\"{NAME}\"\n"
    ));
}

#[test]
fn a_list_with_groups_below_is_changed_too() {
    let scene = Scene::new();
    let script = format!(
        "{TRY}; set -e; trap 'cg-set --name {NAME} --remove' EXIT; \
         cg-set --name {NAME} devices=none,+/dev/null:rw,+/dev/zero:rw; cg-set --name {NAME}/below devices=+c1:3:rw,+c1:5:rw; \
         cg-set --name {NAME} devices=none,+/dev/zero:r,+/dev/full:r; \
         cg-set --name {NAME} -- bash -c 'may null zero full'; cg-set --name {NAME}/below -- bash -c 'may null zero full'"
    );
    let run = scene.script(&script).assert().success().stderr("");
    run.stdout("null:\nzero:r\nfull:r\nnull:\nzero:r\nfull:\n");
}

#[test]
fn the_first_list_on_v1_comes_before_the_groups_below() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} devices=all; cg-set --name {NAME}/below devices=all; cg-set --name {NAME} devices=none; \
         echo $?; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success().stdout(if on_v2() { "0\n" } else { "125\n" });
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let why = "devices.deny: Invalid argument; the group has groups below it; \
               remove them, or set its devices before they are made\n";
    assert!(said.is_empty() == on_v2() && (on_v2() || said.ends_with(why)), "{said}");
}

#[test]
fn a_change_that_fails_half_way_leaves_the_list_that_was_there() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; cg-set --name {NAME} devices=none,+/dev/null:rw; \
         cg-set --name {NAME} devices=none,+/dev/zero:rw memory.no_such_file=1 && echo changed; shown {NAME} | grep devices; \
         cg-set --name {NAME} devices=all; \
         cg-set --name {NAME} devices=none,+/dev/zero:rw memory.no_such_file=1 && echo changed; shown {NAME} | grep -c devices; \
         cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout("devices=none,+c1:3:rw\n0\n");
}

#[test]
fn what_is_no_device_is_refused_before_anything_is_made() {
    let scene = Scene::new();
    for (list, why) in [
        ("none,+/dev/no-such:rw", "/dev/no-such: No such file or directory"),
        (
            "std,+/dev/pts:rw",
            "/dev/pts: not a device node; several are named by their numbers, such as +c136:*:rw for all of /dev/pts",
        ),
    ] {
        for words in [&["-n"][..], &[], &["--name", NAME]] {
            let setting = format!("devices={list}");
            let run = scene.tool("cg-set").args(words).args([&setting, "--", "echo", "ran"]).assert();
            run.code(125).stdout("").stderr(format!("cg-set: {setting}: {why}\n"));
        }
    }
    scene.script(&format!("cg-set --name {NAME}")).assert().code(125);
}

#[test]
fn an_ordinary_user_is_told_that_only_root_can() {
    let scene = Scene::new();
    scene.script_as_user("true").assert().success();
    let script = format!(
        "set -e; cg-set --name {NAME} devices=all; trap 'cg-set --name {NAME} --remove' EXIT; own=$(group devices)/{NAME}; \
         chown {ORDINARY_USER} $own $own/cgroup.procs; \
         cg-set --name {NAME} -- setpriv --reuid {ORDINARY_USER} --regid {ORDINARY_USER} --clear-groups \
         env PATH={}:$PATH cg-set devices=std -- echo ran",
        scene.path("bin").display()
    );
    let run = scene.script(&script).assert().code(125).stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let why = if on_v2() {
        ": Operation not permitted; run as root: it needs CAP_BPF and CAP_NET_ADMIN, and not only in a user namespace\n"
    } else {
        "/devices.deny: Operation not permitted; run as root\n"
    };
    assert!(said.starts_with("cg-set: devices=std: ") && said.ends_with(why), "{said}");
}

#[test]
fn a_box_with_devices_of_its_own_is_made_with_the_standard_ones() {
    let scene = Scene::new();
    scene.rootfs("root");
    let boxed = |devices: &str| {
        format!(
            "cg-set {devices} pids=50 -- ns-enter pid,mnt -- root-enter root -- sh -c \
             'echo lost > /dev/null && echo null; busybox mknod /dev/kmsg c 1 11 2>/dev/null && echo made; true'"
        )
    };
    scene.script(&boxed("")).assert().success().stdout("null\nmade\n");
    scene.script(&boxed("devices=std")).assert().success().stdout("null\n");
}
