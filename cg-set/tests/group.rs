//! The life of a group: transient ones leave nothing behind, named ones stay until they are removed.

use std::io::Write;

use chain_testing::{ORDINARY_USER, Scene, on_v2, skip};

use common::{NAME, SHOWN};

mod common;

/// Gives the group below $own to the ordinary user (cgroups(7), "Cgroups delegation").
const DELEGATE: &str = "cd $own/chainbox-test; \
                        for file in . cgroup.procs cgroup.threads cgroup.subtree_control; do \
                            [ ! -e $file ] || chown 54321 $file; \
                        done";

#[test]
fn what_the_command_left_running_is_killed_and_the_status_is_its_own() {
    let scene = Scene::new();
    let script = "for i in 1 2 3; do (trap '' TERM HUP; exec sleep 1000) & done; setsid sleep 1000 & exit 7";
    // The scene finds a process or a group that is left.
    scene.tool("cg-set").args(["pids=50", "--", "bash", "-c", script]).assert().code(7).stderr("");
    scene.tool("cg-set").args(["mem=64M", "--", "bash", "-c", script]).assert().code(7).stderr("");
}

#[test]
fn more_processes_than_descriptors_are_killed_all_the_same() {
    let scene = Scene::new();
    let script = "ulimit -n 40; cg-set pids=100 -- bash -c 'for i in {1..80}; do sleep 1000 & done; exit 7'";
    scene.script(script).assert().code(7).stderr("");
}

#[test]
fn groups_made_inside_the_group_go_with_it() {
    let scene = Scene::new();
    let script = "cg-set --name inner/most pids=10; \
                  cg-set --name inner/most | awk '$1 == \"pids\" && $NF == \"inner/most\" { print $2 }'";
    // The scene finds a group that is left.
    scene.tool("cg-set").args(["pids=50", "--", "bash", "-c", script]).assert().success().stdout("10\n");
}

#[test]
fn a_launch_that_fails_leaves_no_group() {
    let scene = Scene::new();
    for words in [&["pids=5"][..], &["--name", NAME, "pids=5", "mem=64M"]] {
        scene.tool("cg-set").args(words).args(["--", "no-such-command"]).assert().code(127);
    }
}

#[test]
fn the_group_is_below_the_callers_own() {
    let scene = Scene::new();
    let script = "cg-set pids=50 -- bash -c 'outer=$(group pids); inner=$(cg-set pids=5 -- bash -c \"group pids\"); \
                  echo ${inner#$outer}'";
    let run = scene.script(script).assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(output.starts_with("/cg-set.") && output.matches('/').count() == 1, "{output}");
}

#[test]
fn a_named_group_is_made_set_shown_and_removed() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; set -e; cg-set --name {NAME} mem=64M pids=10; cg-set --name {NAME} cpu=0.25 pids=20; \
         shown {NAME}; cg-set --name {NAME} --remove; cg-set --name {NAME}"
    );
    let run = scene.script(&script).assert().code(125);
    run.stdout("mem=64M\ncpu=0.25\npids=20\n").stderr(format!(
        "cg-set: group {NAME}: there is none of this name below the caller's own; \
             make it with a setting, such as cg-set --name {NAME} mem=max\n"
    ));
}

/// The list of system calls that container engines share has no clone3(2).
#[test]
fn where_clone3_is_refused_the_command_joins_its_group_itself() {
    let scene = Scene::new();
    let filter = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#;
    scene.tree("filter", &[("no-clone3.json", filter)]);
    let script = "for words in 'mem=64M' '--stat pids=5'; do priv-drop --caps all --seccomp filter/no-clone3.json -- \
                      cg-set $words -- sh -c 'sed s/^.*:// /proc/self/cgroup | grep -c /cg-set.' 2>&- | sed 's/[1-9]/in it/'; done";
    scene.script(script).assert().success().stdout("in it\nin it\n");
}

#[test]
fn running_processes_are_moved_in_and_seen_there() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; set -e; cg-set --name {NAME} pids=10; sleep 1000 & a=$!; sleep 1000 & b=$!; \
         trap 'kill $a $b; wait; cg-set --name {NAME} --remove' EXIT; \
         cg-set --name {NAME} --pid $a $b mem=64M; shown {NAME} | sed \"s/$a/A/; s/$b/B/\"; \
         cg-set --name {NAME} --remove || echo $?"
    );
    let run = scene.script(&script).assert().success();
    run.stdout("mem=64M\npids=10\nprocess=A sleep\nprocess=B sleep\n125\n").stderr(format!(
        "cg-set: remove the group {NAME}: it has 2 processes; cg-set --name {NAME} shows them\n"
    ));
}

#[test]
fn another_users_shell_is_moved_in_by_root_and_held_from_then_on() {
    let scene = Scene::new();
    let mut shell = scene.command("setpriv");
    let user = ORDINARY_USER.to_string();
    shell.args(["--reuid", &user, "--regid", &user, "--clear-groups", "bash"]);
    let mut shell = shell.stdin(std::process::Stdio::piped()).spawn().expect("shell");
    let pid = shell.id().to_string();
    scene.tool("cg-set").args(["--name", NAME, "--pid", &pid, "mem=4M"]).assert().success();
    shell.stdin.take().expect("pipe").write_all(b"tail /dev/zero\nexit $?\n").expect("write");
    assert_eq!(shell.wait().expect("ends").code(), Some(137));
    scene.tool("cg-set").args(["--name", NAME, "--remove"]).assert().success();
}

#[test]
fn a_command_joins_a_named_group_which_stays() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; set -e; cg-set --name {NAME} pids=7 -- bash -c 'own=$(group pids); echo ${{own##*/}}'; \
         shown {NAME}; cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout(format!("{NAME}\npids=7\n"));
}

#[test]
fn an_ordinary_user_without_a_delegated_group_is_told_so() {
    let scene = Scene::new();
    let run = scene.script_as_user("cg-set pids=5 -- echo ran").assert().code(125).stdout("");
    let output = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(
        output.contains("Permission denied; run as root, or in a group that is delegated to you"),
        "{output}"
    );
}

#[test]
fn an_ordinary_user_works_in_a_delegated_group() {
    let scene = Scene::new();
    let delegate = format!(
        "set -e; cg-set --name {NAME} pids=100; own=$(group pids); \
         {DELEGATE}"
    );
    scene.script(&delegate).assert().success();
    // Copies of the programs where the user reaches them, then as that user in the delegated group.
    scene.script_as_user("true").assert().success();
    let inner = "cg-set pids=5 -- bash -c \"group pids\"";
    let script = format!(
        "cg-set --name {NAME} -- setpriv --reuid {ORDINARY_USER} --regid {ORDINARY_USER} --clear-groups \
         env PATH={}:$PATH bash -c '{inner}'; cg-set --name {NAME} --remove",
        scene.path("bin").display()
    );
    let run = scene.script(&script).assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let (_, own) = output.rsplit_once('/').expect("a path");
    assert!(own.starts_with("cg-set."), "{output}");
}

/// On v1 a process is moved by `tasks` where that may be written.
#[test]
fn an_ordinary_user_joins_a_group_of_which_only_the_list_of_processes_was_delegated() {
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return;
    }
    let scene = Scene::new();
    scene.script_as_user("true").assert().success();
    let inner = "cg-set --name low -- bash -c 'own=$(group pids); echo ${own##*/}; cat $own/pids.max'";
    let script = format!(
        "set -e; cg-set --name {NAME}/low pids=7; own=$(group pids); chown {ORDINARY_USER} $own/{NAME}/low/cgroup.procs; \
         cg-set --name {NAME} -- setpriv --reuid {ORDINARY_USER} --regid {ORDINARY_USER} --clear-groups \
         env PATH={}:$PATH {inner}; cg-set --name {NAME} --remove",
        scene.path("bin").display()
    );
    scene.script(&script).assert().success().stdout("low\n7\n");
}

#[test]
fn two_of_the_same_pid_in_two_pid_namespaces_do_not_collide() {
    let scene = Scene::new();
    let script = "for i in $(seq 40); do ns-enter pid -- cg-set pids=5 mem=64M -- echo ran & done; wait";
    scene.script(script).assert().success().stdout("ran\n".repeat(40)).stderr("");
}

#[test]
fn a_group_is_not_removed_in_part_while_one_below_it_has_processes() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; set -e; cg-set --name {NAME} mem=64M pids=10; cg-set --name {NAME}/b pids=5; sleep 1000 & \
         cg-set --name {NAME}/b --pid $!; cg-set --name {NAME} --remove || echo $?; shown {NAME}; \
         kill $!; wait; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    run.stdout("125\nmem=64M\npids=10\n").stderr(format!(
        "cg-set: remove the group {NAME}: {NAME}/b below it has a process; cg-set --name {NAME}/b shows it\n"
    ));
}

#[test]
fn a_change_with_a_missing_process_changes_nothing() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; cg-set --name {NAME} pids=10; sleep 1000 & cg-set --name {NAME} --pid $! 4194304 pids=50 mem=64M; \
         shown {NAME}; kill $!; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success().stdout("pids=10\n");
    run.stderr("cg-set: move process 4194304 into the group: No such process; it has ended\n");
}

#[test]
fn of_several_processes_none_is_moved_if_one_cannot_be() {
    if std::fs::read_to_string("/proc/2/comm").ok().as_deref() != Some("kthreadd\n") {
        return skip("no kernel thread is seen here");
    }
    let scene = Scene::new();
    let script = format!(
        "sleep 1000 & cat /proc/$!/cgroup >before; cg-set --name {NAME} --pid $! 2 mem=64M; diff before /proc/$!/cgroup; \
         kill $!; wait 2>/dev/null; cg-set --name {NAME} 2>&- || echo gone"
    );
    let run = scene.script(&script).assert().success().stdout("gone\n");
    run.stderr(
        "cg-set: move process 2 into the group: Invalid argument; a kernel thread cannot be moved, nor a real-time \
         process without a budget\n",
    );
}

#[test]
fn another_users_process_that_may_not_be_killed_is_named_and_not_waited_for() {
    let scene = Scene::new();
    let script = format!(
        "set -e; cg-set --name {NAME} pids=100; own=$(group pids); \
         {DELEGATE}"
    );
    scene.script(&script).assert().success();
    scene.script_as_user("true").assert().success();
    // Root's process comes into the user's group from outside.
    let inner = "cg-set pids=5 -- bash -c 'touch ready; read < go'";
    let script = format!(
        "own=$(group pids); own=$own/{NAME}; chmod 777 .; \
         mkfifo go; chmod 666 go; cg-set --name {NAME} -- setpriv --reuid {ORDINARY_USER} --regid {ORDINARY_USER} \
         --clear-groups env PATH={}:$PATH {inner} & tool=$!; until [ -e ready ]; do sleep 0.01; done; \
         sleep 1000 & echo $! > $(echo $own/cg-set.[0-9]*)/cgroup.procs; echo > go; wait $tool; \
         kill $! 2>/dev/null; wait; rmdir $own/cg-set.* 2>/dev/null; cg-set --name {NAME} --remove",
        scene.path("bin").display()
    );
    let run = scene.script(&script).assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    // On v2 who may write to cgroup.kill ends whatever is in the group.
    let ends_all = on_v2();
    assert!(ends_all || output.contains(" is another user's; the group "), "{output}");
    assert!(!ends_all || !output.contains("cg-set: "), "{output}");
}

#[test]
fn the_mode_of_a_group_does_not_depend_on_the_umask() {
    let scene = Scene::new();
    let script = format!(
        "umask 077; cg-set --name {NAME} pids=10; own=$(group pids); \
         stat -c %a $own/{NAME}; cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout("755\n");
}

#[test]
fn a_group_is_removed_with_what_runs_in_it_if_that_is_asked_for() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} pids=10; cg-set --name {NAME}/below pids=5; sleep 1000 & a=$!; setsid sleep 1000 & b=$!; \
         cg-set --name {NAME}/below --pid $a $b; \
         cg-set -n --name {NAME} --remove --kill; cg-set --name {NAME} --remove --kill; echo $?; \
         kill $a $b 2>/dev/null; wait $a 2>/dev/null; echo $?; wait $b 2>/dev/null; echo $?; cg-set --name {NAME} --kill"
    );
    let run = scene.script(&script).assert().code(125);
    run.stdout(format!(
        "cg-set: kill what runs in the group {NAME}\ncg-set: remove the group {NAME}\n0\n137\n137\n"
    ));
}

/// Functions for bash: take a named group's turn, as a cg-set that changes it does, wait until a cg-set waits for it,
/// and give it back.
const TURN: &str = "take() { coproc holder { exec perl -e '$| = 1; open my $file, \"+<\", $ARGV[0]; \
                        my $whole = pack \"ssx4qqix4\", 1, 0, 0, 0, 0; fcntl($file, 37, $whole) and print \"held\\n\"; <STDIN>' $1/cgroup.procs; }; \
                        exec 8<&${holder[0]} 9>&${holder[1]}; read -r _ <&8; }; \
                    waits() { for i in {1..300}; do grep -q '^SigBlk:.*[1-9a-f]' /proc/$1/status && break; sleep 0.01; done; sleep 0.1; }; \
                    give() { echo >&9; exec 8<&- 9>&-; }; ";

#[test]
fn a_signal_ends_a_change_only_when_it_is_whole() {
    let scene = Scene::new();
    let script = format!(
        "{TURN} {SHOWN}; cg-set --name {NAME} pids=10; take $(group pids)/{NAME}; cg-set --name {NAME} mem=64M & tool=$!; \
         waits $tool; kill $tool; give; wait $tool; echo $?; shown {NAME}; cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout("143\nmem=64M\npids=10\n");
}

#[test]
fn what_a_setting_keeps_is_what_the_one_before_it_has_set() {
    let scene = Scene::new();
    let script = format!(
        "{TURN} {SHOWN}; cg-set --name {NAME} mem=64M swap=1M; dir=$(group memory)/{NAME}; take $dir; \
         cg-set --name {NAME} mem=32M & tool=$!; waits $tool; \
         echo 70M 2>&- >$dir/memory.memsw.limit_in_bytes || echo 6M >$dir/memory.swap.max; give; wait $tool; \
         shown {NAME}; cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout("mem=32M\nswap=6M\n");
}

#[test]
fn who_may_only_read_keeps_nobody_from_changing_a_group() {
    let scene = Scene::new();
    let lock = "$| = 1; open my $file, \"<\", $ARGV[0]; my $whole = pack \"ssx4qqix4\", 0, 0, 0, 0, 0; \
                fcntl($file, 37, $whole) and print \"held\\n\"; <STDIN>";
    let script = format!(
        "cg-set --name {NAME} pids=10; coproc {{ exec perl -e '{lock}' $(group pids)/{NAME}/cgroup.procs; }}; \
         read -r line <&${{COPROC[0]}}; echo $line; cg-set --name {NAME} pids=20; echo $?; \
         cat $(group pids)/{NAME}/pids.max; cg-set --name {NAME} --remove; echo $?"
    );
    let run = scene.script(&script).assert().success().stdout("held\n0\n20\n0\n");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let why =
        "a process that may only read it has locked it, so another cg-set could change it at the same time\n";
    assert!(said.starts_with("cg-set: change the group ") && said.ends_with(why), "{said}");
}

#[test]
fn a_group_is_not_removed_while_another_changes_it() {
    let scene = Scene::new();
    let script = format!(
        "{TURN} cg-set --name {NAME} pids=10; take $(group pids)/{NAME}; cg-set --name {NAME} --remove --kill & tool=$!; \
         waits $tool; cat $(group pids)/{NAME}/pids.max; give; wait $tool; echo $?"
    );
    scene.script(&script).assert().success().stdout("10\n0\n");
}

#[test]
fn a_group_below_that_a_live_cg_set_has_made_keeps_it_from_being_removed() {
    let scene = Scene::new();
    // As it is before its command is in it.
    let script = format!(
        "{TURN} cg-set --name {NAME} pids=10; own=$(group pids)/{NAME}; mkdir $own/cg-set.1.1; take $own/cg-set.1.1; \
         cg-set --name {NAME} --remove; echo $?; cat $own/pids.max; give; wait; cg-set --name {NAME} --remove; echo $?"
    );
    let run = scene.script(&script).assert().success().stdout("125\n10\n0\n");
    run.stderr(format!(
        "cg-set: remove the group {NAME}: a cg-set runs a command in {NAME}/cg-set.1.1; \
         wait for its end, or add --kill\n"
    ));
}

#[test]
fn a_group_whose_cg_set_runs_a_command_is_removed_with_that_if_it_is_asked_for() {
    let scene = Scene::new();
    let script = format!(
        "mkfifo ready; cg-set --name {NAME} pids=10; \
         cg-set --parent {NAME} pids=5 -- sh -c 'echo >ready; exec sleep 1000' & tool=$!; \
         read -r _ <ready; cg-set --name {NAME} --remove --kill; echo $?; wait $tool 2>/dev/null; echo $?"
    );
    scene.script(&script).assert().success().stdout("0\n137\n");
}

#[test]
fn what_is_frozen_is_killed_too() {
    let scene = Scene::new();
    let script = "sleep 1000 & cg-set --name below --pid $! freeze=1 pids=5; exit 7";
    scene
        .tool("cg-set")
        .args(["pids=50", "freeze=0", "--", "bash", "-c", script])
        .assert()
        .code(7)
        .stderr("");
    let script = format!(
        "cg-set --name {NAME} freeze=0; sleep 1000 & cg-set --name {NAME} --pid $!; cg-set --name {NAME} freeze=1; \
         cg-set --name {NAME} --remove --kill; wait $! 2>/dev/null; echo $?"
    );
    scene.script(&script).assert().success().stdout("137\n");
}

#[test]
fn a_group_that_a_group_above_keeps_stopped_is_said_to_be() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; cg-set --name {NAME}/in freeze=0 pids=5; cg-set --name {NAME} freeze=1; \
         cg-set --name {NAME}/in freeze=0; shown {NAME}/in; cg-set --name {NAME}/in | grep ^freeze | tr -s ' '; \
         cg-set --name {NAME} freeze=0; cg-set --name {NAME}/in freeze=0; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    let shown = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert_eq!(shown, format!("pids=5\nfreeze 1 - - - {NAME}\n"));
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let why = format!("/{NAME} has freeze=1, so that what is below it stays stopped\n");
    assert!(said.starts_with("cg-set: freeze=0: the group /sys/fs/cgroup") && said.ends_with(&why), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn without_a_v2_tree_what_forks_all_the_time_is_stopped_to_be_killed() {
    if on_v2() {
        return skip("cgroup v2 can kill a group at once");
    }
    let scene = Scene::new();
    // Each process is gone soon after it can be found, and has left another.
    let chain = "grep -c :freezer:.*/cg-set[.] /proc/self/cgroup; next() { (next &) ; }; next; exit 7";
    let script = format!(
        "umount /sys/fs/cgroup/unified; memory=$(group memory); cg-set mem=64M -- busybox sh -c '{chain}' 2>/dev/null; \
         echo $?; ls -d $memory/cg-set.[0-9]* 2>/dev/null"
    );
    let run = scene.tool("ns-enter").args(["mnt", "--", "bash", "-c", &script]).assert();
    run.stdout("1\n7\n").stderr("");
}

#[test]
fn the_own_group_is_found_from_a_cgroup_namespace_that_sees_above_its_root() {
    let scene = Scene::new();
    let inner = "cg-set pids=10 mem=64M -- ns-enter cgroup -- cg-set pids=5 mem=32M -- bash -c \"cat /proc/self/cgroup\"";
    let script = format!("cg-set pids=20 -- bash -c '{inner} | grep :pids: || {inner}'");
    let run = scene.script(&script).assert().success();
    let shown = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let (_, path) = shown.trim_end().rsplit_once(':').expect("a group");
    assert!(path.starts_with("/cg-set.") && path.matches('/').count() == 1, "{shown}");
}

#[test]
fn other_users_processes_are_moved_out_of_the_way_only_if_that_is_asked_for() {
    if !on_v2() {
        return skip("on cgroup v1 nothing is in the way");
    }
    let scene = Scene::new();
    let other = format!(
        "setpriv --reuid {ORDINARY_USER} --clear-groups sh -c \"echo; exec sleep 1000\" >ready & read -r _ <ready"
    );
    let script = format!(
        "mkfifo ready; cg-set --name {NAME} pids=50 -- bash -c '{other}; cg-set pids=5 -- echo ran; \
         ls -d $(group pids)/cg-set.home 2>&-; cg-set --move-self pids=5 -- echo ran; cut -d: -f3 /proc/$!/cgroup; kill $!'; \
         cg-set --name {NAME} --remove --kill"
    );
    let run = scene.script(&script).assert().success();
    let shown = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert_eq!(shown, format!("ran\n/{NAME}/cg-set.home\n"));
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.contains(" in it is another user's; --move-self moves it too, to a group below"), "{said}");
}

#[test]
fn a_change_that_fails_half_way_leaves_what_was_there() {
    let scene = Scene::new();
    // The kernel refuses a process that is not there last, and memory that is in use before that.
    let script = format!(
        "{SHOWN}; cg-set --name {NAME} mem=64M swap=1M pids=10 cpu.weight=50; \
         cg-set --name {NAME} mem=32M pids=20 cpu=0.5 cpu.weight=70 freeze=1 cpus=999 && echo changed; shown {NAME}; \
         cg-set --name {NAME} mem=32M pids=20 cpu=0.5 cpu.weight=70 -- no-such-command; shown {NAME}; \
         cg-set --name {NAME} pids=11 -- true; shown {NAME}; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    let before = "mem=64M\nswap=1M\ncpu.weight=50\npids=10\n";
    let shown = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    // A tree in which it has got a directory meanwhile, and lost it again, is not shown.
    assert_eq!(shown, before.repeat(2) + &before.replace("10", "11"));
}

#[test]
fn a_command_joins_the_groups_of_a_process() {
    let scene = Scene::new();
    // One of them in more trees than the other.
    for settings in ["mem=64M pids=9", "cpu=0.5"] {
        let script = format!(
            "exec 3< <(exec cg-set {settings} -- bash -c 'echo $$; exec sleep 1000'); read pid <&3; \
             cat /proc/$pid/cgroup >theirs; cg-set --of $pid -- cat /proc/self/cgroup >ours; echo $?; \
             diff theirs ours && echo the same; diff -q /proc/self/cgroup ours | grep -c differ; kill $pid"
        );
        scene.script(&script).assert().success().stdout("0\nthe same\n1\n");
    }
    let run = scene.script("cg-set --of 4194304 -- echo ran").assert().code(125).stdout("");
    run.stderr("cg-set: --of 4194304: there is no such process\n");
    let run = scene.script("cg-set --of $$ mem=5M -- echo ran").assert().code(125).stdout("");
    run.stderr("cg-set: mem=5M: with --of nothing is set\n");
}

/// What the groups of a process are called in the trees of some controllers, without what differs between runs.
const GROUPS: &str = "groups() { for tree in memory pids cpu; do \
                          path=$(sed -n \"s/^[0-9]*:\\([^:]*,\\)\\?$tree\\(,[^:]*\\)\\?://p\" /proc/$1/cgroup); \
                          [ -n \"$path\" ] || path=$(sed -n s/^0:://p /proc/$1/cgroup); echo $tree ${path##*chainbox-test}; done; }";

#[test]
fn what_is_set_on_a_group_above_holds_in_trees_where_the_one_below_has_nothing() {
    let scene = Scene::new();
    let look = "groups self | sed 's/cg-set[.][0-9.]*/OWN/'";
    let script = format!(
        "{GROUPS}; export -f groups; cg-set --name {NAME} mem=64M pids=20; cg-set --name {NAME}/below cpu=0.5; \
         cg-set --name {NAME}/below -- bash -c '{look}'; cg-set --parent {NAME} cpu=0.5 -- bash -c '{look}'; \
         sleep 1000 & other=$!; cg-set --name {NAME}/below --pid $other; groups $other; kill $other; wait 2>/dev/null; \
         cg-set --name {NAME}/below --remove; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    let seen = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let expected = "memory /below\npids /below\ncpu /below\nmemory /OWN\npids /OWN\ncpu /OWN\n\
                    memory /below\npids /below\ncpu /below\n";
    assert_eq!(seen, expected);
}

#[test]
fn what_is_set_later_holds_for_those_that_are_in_the_group_already() {
    let scene = Scene::new();
    let script = format!(
        "{GROUPS}; cg-set --name {NAME} mem=64M; sleep 1000 & first=$!; cg-set --name {NAME} --pid $first; \
         cg-set --name {NAME} pids=20; groups $first | head -n 2; \
         cg-set --name {NAME} cpu=0.5 -- true; groups $first; kill $first; wait 2>/dev/null; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    run.stdout("memory\npids\nmemory\npids\ncpu\n").stderr("");
}

#[test]
fn what_is_set_later_holds_for_those_that_are_in_a_group_below_already() {
    let scene = Scene::new();
    let script = format!(
        "{GROUPS}; cg-set --name {NAME}/in mem=64M; sleep 1000 & first=$!; cg-set --name {NAME}/in --pid $first; \
         cg-set --name {NAME} pids=20 2>&-; groups $first | sed -n 2p; kill $first; wait 2>/dev/null; \
         cg-set --name {NAME} --remove"
    );
    // On v2 it is in the group below in the one tree that there is.
    let expected = if on_v2() { "pids /in\n" } else { "pids\n" };
    scene.script(&script).assert().success().stdout(expected).stderr("");
}

#[test]
fn a_process_of_another_pid_namespace_that_a_new_limit_would_not_hold_is_an_error() {
    if on_v2() {
        return skip("on cgroup v2 there is one directory for all");
    }
    let scene = Scene::new();
    // cgroup v1 does not list it, so it is in the v2 tree beside.
    let script = format!(
        "cg-set --name {NAME} cgroup.max.depth=5; sleep 1000 & cg-set --name {NAME} --pid $!; \
         ns-enter pid -- cg-set --name {NAME} pids=20; ls -d $(group pids)/{NAME} 2>&-; kill $!; wait 2>/dev/null; \
         cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success().stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.ends_with("/chainbox-test: it has processes of another pid namespace\n"), "{said}");
}

#[test]
fn on_v2_processes_and_groups_with_limits_below_them_do_not_go_together() {
    if !on_v2() {
        return skip("cgroup v1 lets a group have both");
    }
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} mem=50M; sleep 1000 & other=$!; cg-set --name {NAME} --pid $other; \
         for setting in pids=3 mem=9M; do cg-set --name {NAME}/in $setting; done; cat /sys/fs/cgroup/{NAME}/cgroup.type; \
         kill $other; wait 2>/dev/null; cg-set --name {NAME}/in mem=10M; \
         cg-set --name {NAME} -- echo ran; cg-set --name {NAME} --pid $$; cg-set --name {NAME}/in -- echo ran; \
         cg-set --name {NAME}/in --remove; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success().stdout("domain\nran\n");
    let shared = |what: &str| {
        format!(
            "cg-set: share out the {what} controller of the group /sys/fs/cgroup/{NAME}: Device or resource busy; \
             on cgroup v2 a group with processes has no groups with limits below it\n"
        )
    };
    let held = format!(
        "cg-set: the group /sys/fs/cgroup/{NAME}: it has groups with limits below it, and so no processes of its own \
         on cgroup v2; name one of those below it, or another, such as GROUP/NAME\n"
    );
    run.stderr(shared("pids") + &shared("memory") + &held + &held);
}

#[test]
fn a_named_group_can_be_used_again_after_a_command_in_it_has_used_cg_set() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} mem=64M pids=20; cg-set --name {NAME} -- cg-set pids=5 -- true; \
         cg-set --name {NAME} -- cg-set pids=5 -- echo ran; sleep 1000 & cg-set --name {NAME} --pid $!; echo $?; \
         kill $!; wait 2>/dev/null; cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout("ran\n0\n").stderr("");
}

#[test]
fn what_cannot_be_measured_for_lack_of_a_group_is_null_and_no_error() {
    if on_v2() {
        skip("on cgroup v2 there is one group for all");
        return;
    }
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} mem=64M pids=20; for tree in memory pids; do \
             dir=/sys/fs/cgroup/$tree$(sed -n \"s/^[0-9]*:[^:]*$tree[^:]*://p\" /proc/self/cgroup)/{NAME}; \
             chown {ORDINARY_USER} $dir $dir/tasks $dir/cgroup.procs; done; \
         cg-set --name {NAME} -- setpriv --reuid {ORDINARY_USER} --regid {ORDINARY_USER} --clear-groups cg-set --report - mem=32M -- true; \
         cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    let told = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(told.contains("\"exit\":0") && told.contains("\"io_read_bytes\":null"), "{told}");
    assert!(!told.contains("\"memory_peak_bytes\":null"), "{told}");
}

#[test]
fn what_is_in_a_group_is_moved_into_a_directory_that_another_run_has_made() {
    let scene = Scene::new();
    let script = format!(
        "{GROUPS}; cg-set --name {NAME} mem=64M; sleep 1000 & first=$!; cg-set --name {NAME} --pid $first; \
         [ -d /sys/fs/cgroup/pids ] && cg-set --parent {NAME} pids=5 -- true; cg-set --name {NAME} pids=20; \
         groups $first | head -n 2; kill $first; wait 2>/dev/null; cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout("memory\npids\n").stderr("");
}

#[test]
fn what_forks_all_the_time_is_held_by_what_is_set_later_too() {
    let scene = Scene::new();
    // Each has a child and ends, so that none is there for long.
    let chain = "perl -e 'my $forks = 0; while ($forks++ < 100000) { my $child = fork; exit if $child }'";
    let script = format!(
        "cg-set --name {NAME} mem=64M; cg-set --name {NAME} -- {chain}; cg-set --name {NAME} pids=20; \
         for i in {{1..20}}; do wc -l <$(group pids)/{NAME}/cgroup.procs; done | sort -n | tail -n 1 | sed 's/[1-9]/held/'; \
         cg-set --name {NAME} --remove --kill"
    );
    scene.script(&script).assert().success().stdout("held\n").stderr("");
}

#[test]
fn a_limit_that_others_count_on_is_not_taken_back() {
    let scene = Scene::new();
    let script = format!(
        "mkfifo up go; cg-set --name {NAME} pids=20 -- sh -c 'echo >up; read -r line <go' & read -r line <up; \
         cg-set --name {NAME} pids=9 -- not-a-command 2>&-; cat $(group pids)/{NAME}/pids.max; echo >go; wait; \
         cg-set --name {NAME} pids=5 -- not-a-command 2>&-; cat $(group pids)/{NAME}/pids.max; cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout("9\n9\n");
}

#[test]
fn what_another_has_set_meanwhile_is_not_taken_back() {
    let scene = Scene::new();
    let script = format!(
        "for i in {{1..20}}; do cg-set --name {NAME} pids=20 -- not-a-command 2>&- & cg-set --name {NAME} pids=30; wait; \
             cat $(group pids)/{NAME}/pids.max; cg-set --name {NAME} --remove; done | uniq -c"
    );
    scene.script(&script).assert().success().stdout("     20 30\n").stderr("");
}

#[test]
fn the_groups_of_a_process_that_has_ended_are_not_joined() {
    let scene = Scene::new();
    let script = "perl -e 'my $c = fork; exit unless $c; while (1) { open my $stat, \"<\", \"/proc/$c/stat\"; last if <$stat> =~ /\\) Z / } \
                  system \"cg-set\", \"--of\", $c, \"--\", \"echo\", \"ran\"; print $? >> 8, \"\\n\"'";
    let run = scene.script(script).assert().success().stdout("125\n");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.starts_with("cg-set: --of ") && said.ends_with(": it has ended\n"), "{said}");
}

#[test]
fn a_name_of_several_parts_is_not_made_by_a_command_without_settings() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} pids=9; cg-set --name {NAME}/typo -- echo ran; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success().stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.starts_with(&format!("cg-set: group {NAME}/typo: there is none of this name")), "{said}");
}
