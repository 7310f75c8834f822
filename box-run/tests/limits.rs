//! A whole box: what runs in it is held to its limits, by the fused box and by the chain.

use chain_testing::Scene;

/// The two ways to start the same box with these options.
fn two_ways(options: &str) -> [String; 2] {
    [format!("box-run {options} --"), format!("eval \"$(box-run {options} --print -- sh -c \"$0\")\" #")]
}

fn output(scene: &Scene, way: &str, command: &str) -> (String, String, Option<i32>) {
    let script = format!("{way} sh -c \"$0\"");
    let mut bash = scene.command("bash");
    let output = bash.args(["-c", &script, command]).output().expect("bash");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn it_is_alone_with_process_1_and_its_own_host_name() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "echo $$; hostname; busybox ls /sys 2>/dev/null | busybox wc -l; echo /proc/[0-9]*; \
                busybox readlink /proc/self/root";
    for (option, seen) in [("", "2\nweb\n0\n/proc/1 /proc/2\n/\n"), ("--no-init", "1\nweb\n0\n/proc/1\n/\n")]
    {
        for way in two_ways(&format!("--root root --tmp --hostname web {option}")) {
            assert_eq!(output(&scene, &way, look), (seen.into(), String::new(), Some(0)), "{way}");
        }
    }
}

#[test]
fn memory_past_the_limit_is_killed_and_said() {
    let scene = Scene::new();
    scene.rootfs("root");
    for way in two_ways("--root root --tmp --mem 16M") {
        let (_, stderr, status) = output(&scene, &way, "tail /dev/zero; echo $? >&2; exit 5");
        assert_eq!(status, Some(5), "{way}: {stderr}");
        assert!(stderr.contains("137\n"), "{stderr}");
        assert!(
            stderr.contains("mem=16M: tail (pid ") && stderr.contains("was killed for passing it"),
            "{stderr}"
        );
    }
}

#[test]
fn files_in_memory_count_against_the_limit() {
    let scene = Scene::new();
    scene.rootfs("root");
    for way in two_ways("--root root --tmp --mem 16M") {
        for file in ["/file", "/dev/shm/file"] {
            let fill = format!("busybox dd if=/dev/zero of={file} bs=1M count=32 2>/dev/null; echo $?");
            let (stdout, stderr, _) = output(&scene, &way, &fill);
            assert_ne!(stdout, "0\n", "{way} {file}");
            assert!(stderr.contains("mem=16M: "), "{way} {file}: {stderr}");
        }
    }
}

#[test]
fn a_fork_bomb_is_stopped_and_gone() {
    let scene = Scene::new();
    scene.rootfs("root");
    for way in two_ways("--root root --tmp --pids 32 --cgroup=/mnt") {
        // That the limit holds is shown first, by processes that do nothing.
        let harmless = "while :; do sleep 1000 & done 2>/dev/null";
        let (_, stderr, status) = output(&scene, &way, harmless);
        assert_ne!(status, Some(0), "{way}: {stderr}");
        // /proc could show more, as some die and others come while it is read.
        let bomb = "count=/mnt/pids/pids.current; [ -e $count ] || count=/mnt/pids.current; most=0; i=0; \
                    bomb() { bomb | bomb & }; (bomb) 2>/dev/null; \
                    while [ $i -lt 1000 ]; do read -r n <$count; [ $n -le $most ] || most=$n; i=$((i+1)); done; \
                    [ $most -gt 16 ] && [ $most -le 32 ] && echo held || echo $most";
        assert_eq!(output(&scene, &way, bomb).0, "held\n", "{way}");
    }
}

#[test]
fn a_busy_loop_is_held_to_half_a_core() {
    let scene = Scene::new();
    scene.rootfs("root");
    let script = r#"
        exec 3< <(exec 4>&1; box-run --root root --tmp --cpu 0.5 --hostname busy -- sh -c 'echo ready; while :; do :; done')
        box=$!
        read ready <&3
        child=$(cat /proc/$box/task/$box/children)
        [ "$(cat /proc/${child% }/comm)" = sh ] || child=$(cat /proc/${child% }/task/${child% }/children)
        group=/sys/fs/cgroup/cpuacct$(sed -n 's/^[0-9]*:[^:]*\bcpuacct\b[^:]*://p' /proc/${child% }/cgroup)
        used() { cat $group/cpuacct.usage; }
        if [ ! -e $group/cpuacct.usage ]; then
            group=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/${child% }/cgroup)
            used() { echo $(sed -n 's/^usage_usec //p' $group/cpu.stat)000; }
        fi
        now() { read up _ < /proc/uptime; echo "${up/./}0000000 $(used)"; }
        read t0 u0 < <(now)
        read -t 2 _ <> <(:)
        read t1 u1 < <(now)
        kill $box
        echo $(( 1000 * (u1 - u0) / (t1 - t0) ))
    "#;
    let run = scene.script(script).assert().success();
    let share: i32 = String::from_utf8_lossy(&run.get_output().stdout).trim().parse().expect("a number");
    assert!((425..=575).contains(&share), "{share} thousandths of a core instead of 500");
}
