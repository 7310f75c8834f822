//! What is left of a LAN: nothing, however its boxes end. Each scene looks for it.

mod lab;

use chain_testing::{Scene, slowness};
use lab::script;

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
        r#"begin --lan lab name=web -- bash -c 'echo ready; read -r; ip -brief link show eth0 | grep -c NO-CARRIER; exec sleep 60' < <(exec sleep 60)
           holder=$(grep -lx net-link-lan /proc/[0-9]*/comm | cut -d / -f 3)
           kill -KILL $holder
           # It says so on stderr, and then the box goes on.
           kill "${boxes[0]}"; finish 2>/dev/null"#,
    );
    run.success()
        .stderr("net-link: the network: the process that held it has ended; the box has no link any more\n");
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
           net-link --lan lab --script no-such-file -- true; echo $?
           net-link --list; ip -brief link | cut -d " " -f 1"#,
    );
    run.success().stdout("127\n125\n127\n125\n125\nlo\n");
}
