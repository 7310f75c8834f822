//! `cpu=` and `pids=`.

use chain_testing::Scene;

#[test]
fn a_busy_loop_gets_the_part_of_a_core_that_it_may_have() {
    let scene = Scene::new();
    // The group's own account of processor time, over two seconds of the clock, both read together.
    let measure = r#"
        used() {
            if [ -e $1/cpuacct.usage ]; then cat $1/cpuacct.usage; else
                while read key value; do [ $key != usage_usec ] || echo ${value}000; done < $1/cpu.stat
            fi
        }
        group=$(group cpuacct)
        (while :; do :; done) &
        now() { read up _ < /proc/uptime; echo "${up/./}0000000 $(used $group)"; }
        read t0 u0 < <(now)
        read -t 2 _ <> <(:)
        read t1 u1 < <(now)
        echo $(( 1000 * (u1 - u0) / (t1 - t0) ))
    "#;
    let run = scene.tool("cg-set").args(["cpu=0.5", "--", "bash", "-c", measure]).assert().success();
    let share: i32 = String::from_utf8_lossy(&run.get_output().stdout).trim().parse().expect("a number");
    assert!((425..=575).contains(&share), "{share} thousandths of a core instead of 500");
}

#[test]
fn a_fork_past_the_limit_fails() {
    let scene = Scene::new();
    let script = "while :; do sleep 1000 & done";
    let run = scene.tool("cg-set").args(["pids=20", "--", "busybox", "sh", "-c", script]).assert().failure();
    let output = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(output.contains("can't fork: Resource temporarily unavailable"), "{output}");
}

#[test]
fn a_fork_bomb_stops_at_the_limit_and_is_gone_afterwards() {
    // That the limit holds is shown by the test above, with processes that do nothing.
    a_fork_past_the_limit_fails();
    let scene = Scene::new();
    let bomb = "group=$1; \
                bomb() { bomb | bomb & }; (bomb) 2>/dev/null; \
                hits=0; while [ $hits = 0 ]; do \
                    read n < $group/pids.current; [ $n -le 32 ] || echo passed $n; \
                    read key hits < $group/pids.events; \
                done; echo held";
    let start = ["pids=32", "--", "bash", "-c", "exec busybox sh -c \"$0\" sh $(group pids)", bomb];
    scene.tool("cg-set").args(start).assert().stdout("held\n");
}
