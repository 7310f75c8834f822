//! What is left of a LAN: nothing, however its boxes end. Each scene looks for it.

mod lab;

use chain_testing::{Scene, slowness};
use lab::{script, script_alone};

#[test]
fn many_boxes_of_one_lan_come_and_go_and_are_killed() {
    let scene = Scene::new();
    let count = if slowness() > 1 { 20 } else { 100 };
    let run = script(
        &scene,
        &format!(
            r#"for box in {{1..{count}}}; do begin --lan lab -- bash -c 'echo ready; exec sleep 60'; done
               net-link --show lab | grep -c "^- "
               # Where one box is reached from, all are.
               net-link --lan lab -- busybox ping -c 1 10.86.0.{count} >/dev/null && echo reached
               for box in {{0..9}}; do kill -KILL "${{boxes[box]}}"; done
               until [[ $(net-link --show lab | grep -c "^- ") -eq $(({count} - 10)) ]]; do :; done
               kill -KILL "${{boxes[@]:10}}"
               while net-link --show lab 2>/dev/null >&2; do :; done"#
        ),
    );
    run.success().stdout(format!("{count}\nreached\n"));
}

#[test]
fn a_lan_that_ends_is_begun_anew_by_who_comes_at_that_moment() {
    let scene = Scene::new();
    let rounds = if slowness() > 1 { 20 } else { 100 };
    let run = script(
        &scene,
        &format!(
            "come() {{ for round in {{1..{rounds}}}; do net-link --lan lab -- true || echo failed; done; }}
             come & come & come & wait; net-link --list"
        ),
    );
    run.success().stdout("").stderr("");
}

#[test]
fn who_holds_the_lan_is_missed_when_it_is_killed() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"mkfifo go
           exec 3< <(exec net-link --lan lab --stat -- bash -c '
               echo ready; read -r <go; ip -brief link | cut -d " " -f 1; exit 7' 2>&1)
           read -r <&3
           kill -KILL "$(pgrep -x -P $! net-link-lan)"
           # It is said while the box goes on, whose interface is gone; and only once.
           read -r <&3; echo "$REPLY"
           echo >go; cat <&3
           wait $!; echo $?"#,
    );
    let said = "net-link: the network: the process that held it has ended; the box has no link any more\n";
    run.success().stderr("").stdout(format!("{said}lo\n7\n"));
}

#[test]
fn who_holds_the_lan_is_missed_when_it_is_killed_just_before_the_end() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"exec 3< <(exec net-link --lan lab --stat -- bash -c 'echo ready; exec sleep 60' 2>&1)
           read -r <&3
           kill -STOP $!
           kill -KILL "$(pgrep -x -P $! net-link-lan)" "$(pgrep -x -P $! sleep)"
           kill -CONT $!
           cat <&3"#,
    );
    let said = "net-link: the network: the process that held it has ended; the box has no link any more\n";
    run.success().stderr("").stdout(said);
}

#[test]
fn a_launch_that_fails_leaves_no_lan() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"net-link --lan lab -- no-such-command; echo $?
           net-link --lan lab gw=10.1.1.1 -- true; echo $?
           net-link -- no-such-command; echo $?
           net-link --lan lab --pcap no/such/file -- true; echo $?
           echo old > report; net-link --lan lab --report report --script no-such-file -- true; echo $?; cat report
           net-link --list; ip -brief link | cut -d " " -f 1"#,
    );
    run.success().stdout("127\n125\n127\n125\n125\nlo\n");
}

#[test]
fn a_lan_has_room_for_more_boxes_than_its_first_one_may_open_files() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"most=$(ulimit -Hn)
           ulimit -Sn 24; begin --lan lab -- bash -c 'echo ready; exec sleep 60'
           ulimit -Sn "$most"; for box in {1..20}; do begin --lan lab -- bash -c 'echo ready; exec sleep 60'; done
           net-link --show lab | grep -c "^- "
           finish"#,
    );
    run.success().stdout("21\n").stderr("");
}

#[test]
fn who_reads_a_record_of_frames_too_slowly_does_not_hold_the_lan_up() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"mkfifo pipe
           net-link --lan lab --pcap pipe -- echo ran; echo $?
           exec 3<>pipe
           begin --lan lab ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
           net-link --lan lab --pcap pipe ip=10.9.0.2/24 -- busybox ping -c 100 -i 0.001 -s 1400 10.9.0.1 |
               grep -o "100 packets received"
           finish"#,
    );
    run.success().stdout("125\n100 packets received\n").stderr(
        "net-link: --pcap pipe: No such device or address; nobody reads it\n\
         net-link: --pcap: who reads it is too slow; what came then is missing\n",
    );
}

#[test]
fn two_first_boxes_that_come_at_the_same_moment_are_in_one_lan() {
    let scene = Scene::new();
    let rounds = if slowness() > 1 { 10 } else { 50 };
    let run = script(
        &scene,
        &format!(
            r#"for round in {{1..{rounds}}}; do
                   for box in 0 1 2; do
                       exec {{ready[box]}}< <(exec net-link --lan lab -- bash -c 'echo ready; exec sleep 60')
                       boxes[box]=$!
                   done
                   for box in 0 1 2; do read -r <&"${{ready[box]}}"; exec {{ready[box]}}<&-; done
                   net-link --show lab | grep -c "^- "
                   finish
               done | sort | uniq -c | tr -s " ""#
        ),
    );
    run.success().stdout(format!(" {rounds} 3\n")).stderr("");
}

#[test]
fn whoever_is_killed_nothing_is_left() {
    let scene = Scene::new();
    let run = script_alone(
        &scene,
        r#"for victim in supervisor command holder; do
                   for box in 0 1; do
                       exec {ready}< <(exec net-link --lan lab -- bash -c "echo ready; exec sleep 60" 2>/dev/null)
                       boxes[box]=$!; read -r <&"$ready"
                   done
                   echo "$victim $(namespaces)"
                   holder=$(pgrep -x net-link-lan)
                   case $victim in
                       supervisor) kill -KILL "${boxes[@]}" ;;
                       command) pkill -KILL -x -P "${boxes[0]}" sleep; pkill -KILL -x -P "${boxes[1]}" sleep ;;
                       holder) kill -KILL "$holder"
                               # The first of them is its parent, and goes on.
                               while pgrep -x net-link-lan >/dev/null; do :; done
                               kill "${boxes[@]}" ;;
                   esac
                   wait "${boxes[@]}"
                   left
               done"#,
    );
    let left = "3\n0\nlo\n1\n";
    let expected: String =
        ["supervisor", "command", "holder"].map(|victim| format!("{victim} {left}")).concat();
    run.success().stdout(expected);
}
