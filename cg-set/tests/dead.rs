//! Groups of a cg-set that was killed.

use chain_testing::Scene;

/// Kills a cg-set outright and says how many directories of its group are left.
const KILL: &str = "left() { find /sys/fs/cgroup -type d -name \"cg-set.$1.*\" | wc -l; }; \
                    die() { mkfifo ready; cg-set pids=20 mem=64M -- bash -c 'setsid sleep 1000 & echo >ready; wait' & tool=$!; \
                            read -r line <ready; rm ready; kill -KILL $tool; wait $tool 2>/dev/null; }";

#[test]
fn it_goes_with_the_next_run_and_so_does_what_runs_in_it() {
    let scene = Scene::new();
    // In another tree than that of the next one's setting, too.
    let script =
        format!("{KILL}; die; [ $(left $tool) != 0 ] && echo left; cg-set cpu=1 -- true; left $tool");
    // The scene finds a process or a group that is left.
    scene.script(&script).assert().success().stdout("left\n0\n");
}

#[test]
fn a_group_whose_cg_set_lives_is_not_touched() {
    let scene = Scene::new();
    let script = "mkfifo ready go; \
                  cg-set pids=20 -- bash -c 'echo >ready; read -r line <go; cat $(group pids)/pids.max' & tool=$!; \
                  read -r line <ready; for i in 1 2 3; do cg-set pids=10 -- true; done; echo >go; wait $tool";
    scene.script(script).assert().success().stdout("20\n").stderr("");
}

#[test]
fn it_is_found_among_many_that_live() {
    let scene = Scene::new();
    let script = format!(
        "{KILL}; mkfifo go up; exec 4<>up; \
         for i in {{1..40}}; do cg-set pids=10 -- sh -c 'echo >up; read -r line <go' & tools+=($!); done; \
         for i in {{1..40}}; do read -r line <&4; done; \
         die; [ $(left $tool) != 0 ] && echo left; cg-set pids=10 -- true; left $tool; exec 5<>go; \
         for i in {{1..40}}; do echo >&5; done; for tool in ${{tools[@]}}; do wait $tool || echo $?; done"
    );
    scene.script(&script).assert().success().stdout("left\n0\n").stderr("");
}

#[test]
fn all_are_found_though_there_are_processes_of_their_pids() {
    let scene = Scene::new();
    let script = "for i in {1..40}; do mkdir $(group pids)/cg-set.$$.$i; done; cg-set pids=10 -- true; \
                  find $(group pids) -name \"cg-set.$$.*\" | wc -l";
    scene.script(script).assert().success().stdout("0\n").stderr("");
}

#[test]
fn nobody_who_only_sees_it_can_keep_it() {
    let scene = Scene::new();
    // By a lock of the one kind or the other.
    let read_lock = "my $whole = pack \"ssx4qqix4\", 0, 0, 0, 0, 0; fcntl($file, 37, $whole) and print \"held\\n\"; <STDIN>";
    let script = format!(
        "{KILL}; die; for dir in $(find /sys/fs/cgroup -type d -name \"cg-set.$tool.*\"); do \
             exec {{fd}}<$dir; flock -s $fd; \
         done; coproc {{ exec perl -e '$| = 1; open my $file, \"<\", $ARGV[0]; {read_lock}' $dir/cgroup.procs; }}; \
         read -r line <&${{COPROC[0]}}; echo $line; cg-set cpu=1 -- true; left $tool"
    );
    scene.script(&script).assert().success().stdout("held\n0\n").stderr("");
}

#[test]
fn two_hundred_at_once_do_not_disturb_each_other_though_many_are_killed() {
    let scene = Scene::new();
    let script = "for ((round = 1; round <= ${CROWD_ROUNDS:-20}; round++)); do \
                      tools=(); \
                      for i in {1..200}; do cg-set pids=10 -- grep -q /cg-set /proc/self/cgroup & tools+=($!); done; \
                      for i in {1..25}; do kill -KILL ${tools[RANDOM % 200]} 2>/dev/null; done; \
                      for tool in ${tools[@]}; do wait $tool 2>/dev/null; echo $?; done; \
                  done | sort | uniq -c; cg-set pids=10 -- true";
    let run = scene.script(script).assert().success();
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let said: Vec<_> = said.lines().filter(|line| line.starts_with("cg-set")).collect();
    assert!(said.is_empty(), "{said:?}");
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let ends: Vec<_> = output.split_whitespace().skip(1).step_by(2).collect();
    // Each was in a group of its own, or was killed, and some were.
    assert_eq!(ends, ["0", "137"], "{output}");
}
