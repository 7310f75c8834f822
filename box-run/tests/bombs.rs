//! Commands that take all that they can get, of anything: the box holds them, and ends.

use std::time::Instant;

use chain_testing::Scene;

fn said(scene: &Scene, script: &str) -> String {
    let output = scene.script(script).output().expect("bash");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const BOX: &str = "box-run --root root";

#[test]
fn processes_are_at_most_as_many_as_is_usual_or_asked_for() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "busybox cat /tmp/pids/pids.max /tmp/pids.max 2>/dev/null";
    for (option, most) in [("", "1024\n"), ("--pids 20", "20\n")] {
        assert_eq!(said(&scene, &format!("{BOX} --cgroup=/tmp {option} -- sh -c '{look}'")), most);
    }
    // A shell that is refused a process ends.
    let bomb = "trap \"echo /proc/[0-9]*\" EXIT; while sleep 1000 & do :; done";
    let seen = said(&scene, &format!("timeout 60 {BOX} --pids 20 -- sh -c '{bomb}' 2>/dev/null"));
    assert!((10..=20).contains(&seen.split(' ').count()), "{seen}");
}

#[test]
fn a_disk_bomb_fills_what_it_was_given_and_no_more() {
    let scene = Scene::new();
    scene.rootfs("root");
    let write = "busybox dd if=/dev/zero of=/big bs=64K 2>/dev/null || echo full; busybox stat -c %s /big";
    let seen = said(&scene, &format!("{BOX} --tmp=4M -- sh -c '{write}'"));
    let (full, size) = seen.split_once('\n').expect("two lines");
    let size: u64 = size.trim().parse().expect("a size");
    assert!(full == "full" && (3 << 20..=4 << 20).contains(&size), "{seen}");
    let in_home = "dd if=/dev/zero of=$HOME/big bs=64K 2>/dev/null || stat -c %s $HOME/big";
    let seen = said(&scene, &format!("HOME=/root box-run --ro . -- bash -c '{in_home}'"));
    assert_eq!(seen, format!("{}\n", 64 << 20));
}

#[test]
fn an_inode_bomb_is_stopped_too() {
    let scene = Scene::new();
    scene.rootfs("root");
    let fill = "i=0; while : >/tmp/$i; do i=$((i+1)); [ $i -lt 5000 ] || break; done 2>/dev/null; echo $i";
    for kind in ["--tmp=4M", "--tmpfs /tmp:size=4M"] {
        let made: u32 = said(&scene, &format!("{BOX} {kind} -- sh -c '{fill}'")).trim().parse().unwrap_or(0);
        assert!(made <= 1100, "{kind}: {made}");
    }
}

#[test]
fn a_descriptor_bomb_is_stopped() {
    let scene = Scene::new();
    let open = "perl -e 'my @all; while (open(my $file, \"<\", \"/dev/null\")) { push @all, $file } print scalar(@all), \"\\n\"'";
    let opened: u32 = said(&scene, &format!("box-run --ro . --rlimit nofile=64 -- {open}"))
        .trim()
        .parse()
        .expect("a number");
    assert!((32..64).contains(&opened), "{opened}");
}

#[test]
fn a_memory_bomb_is_killed_and_named() {
    let scene = Scene::new();
    scene.rootfs("root");
    let output = scene.script(&format!("{BOX} --mem 8M -- tail /dev/zero")).assert().code(137);
    let error = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(error.starts_with("box-run: cg-set: mem=8M: tail (pid "), "{error}");
}

#[test]
fn a_log_bomb_waits_for_its_slow_reader_and_ends_with_its_time() {
    let scene = Scene::new();
    scene.rootfs("root");
    // The reader takes one line, and no more until the box has ended.
    let script = format!(
        "mkfifo pipe; {BOX} --mem 8M --timeout 500ms -- sh -c 'while :; do echo line; done' >pipe & box=$!; \
         exec 3<pipe; read line <&3; wait $box; echo $? $line; wc -c <&3"
    );
    let seen = said(&scene, &script);
    let (first, rest) = seen.split_once('\n').expect("two lines");
    assert_eq!(first, "124 line");
    // No more than a pipe takes.
    assert!(rest.trim().parse::<u32>().expect("a number") <= 1 << 17, "{rest}");
}

#[test]
fn a_command_that_ignores_every_signal_ends_with_its_time() {
    let scene = Scene::new();
    scene.rootfs("root");
    let stubborn = "for s in $(busybox seq 1 31); do trap \"\" $s; done 2>/dev/null; while :; do sleep 1000 & wait; done";
    for option in ["", "--no-init"] {
        let script = format!("{BOX} {option} --timeout 200ms --kill-after 100ms -- sh -c '{stubborn}'");
        let began = Instant::now();
        scene.script(&script).assert().code(124);
        assert!(began.elapsed().as_secs() < 30);
    }
}

#[test]
fn a_child_that_holds_the_output_open_ends_with_the_command() {
    let scene = Scene::new();
    scene.rootfs("root");
    // Whoever reads the output to its end would else wait for the child.
    assert_eq!(said(&scene, &format!("{BOX} -- sh -c 'sleep 1000 & echo done' | cat")), "done\n");
}

#[test]
fn a_box_whose_command_is_another_user_ends_with_its_supervisor() {
    let scene = Scene::new();
    scene.rootfs("root");
    for options in ["--user 1000", "", "--user 1000 --new-session"] {
        // The next group clears what the killed one has left.
        let script = format!(
            "exec 3< <(exec {BOX} {options} -- sh -c 'echo ready; trap \"\" HUP TERM; while :; do sleep 1000; done'); \
             box=$!; read line <&3; kill -9 $box; cat <&3; cg-set pids=9 -- true; echo ended"
        );
        assert_eq!(said(&scene, &script), "ended\n", "{options}");
    }
}
