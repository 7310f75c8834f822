//! Who does not answer, or asks for what cannot be had, keeps nobody waiting for ever.

mod lab;

use chain_testing::Scene;
use lab::script;

/// `silent` stops the process that holds the LAN. `held PID` waits until a supervisor holds its signals back.
const SILENT: &str = r#"
    silent() { holder=$(pgrep -x -P "${boxes[0]}" net-link-lan); kill -STOP "$holder"; }
    held() { until grep -q "^SigBlk:.*fffffffe7ffbfeff" /proc/$1/status; do :; done; }
    said() { sed "s/process [0-9][0-9]*/process N/"; }
"#;

#[test]
fn a_launch_that_waits_for_a_stopped_holder_ends_by_a_signal() {
    let scene = Scene::new();
    let run = script(
        &scene,
        &format!(
            r#"{SILENT}
               begin --lan lab -- bash -c 'echo ready; exec sleep 60'; silent
               for signal in TERM INT; do
                   # A shell lets what it runs beside itself ignore SIGINT.
                   perl -e '$SIG{{INT}} = "DEFAULT"; exec @ARGV' net-link --lan lab -- true & waits=$!
                   held $waits; kill -$signal $waits; wait $waits; echo $?
               done
               # Who is to take no notice of it waits on.
               (trap "" HUP; exec net-link --lan lab -- echo ran) & waits=$!
               held $waits; kill -HUP $waits; kill -CONT "$holder"; wait $waits; echo $?
               finish"#
        ),
    );
    run.success().stderr("").stdout("143\n130\nran\n0\n");
}

#[test]
fn a_box_whose_holder_is_stopped_ends_by_a_signal_and_by_itself() {
    let scene = Scene::new();
    let run = script(
        &scene,
        &format!(
            r#"{SILENT}
               mkfifo go
               exec 3< <(exec net-link --lan lab -- bash -c 'echo ready; exec sleep 60' 2>&1); boxes=($!); read -r <&3
               exec 4< <(exec net-link --lan lab -- bash -c 'echo ready; read -r <go; exit 7' 2>&1); boxes+=($!); read -r <&4
               silent
               kill "${{boxes[0]}}"; wait "${{boxes[0]}}"; echo $?; said <&3
               echo >go; wait "${{boxes[1]}}"; echo $?; said <&4
               kill -KILL "$holder""#
        ),
    );
    let said =
        "net-link: talk to the process that holds the LAN: it does not answer; is process N stopped?\n";
    run.success().stderr("").stdout(format!("143\n{said}7\n{said}"));
}

#[test]
fn lans_are_listed_though_one_does_not_answer() {
    let scene = Scene::new();
    let run = script(
        &scene,
        &format!(
            r#"{SILENT}
               begin --lan lab -- bash -c 'echo ready; exec sleep 60'
               begin --lan other -- bash -c 'echo ready; exec sleep 60'
               silent
               net-link --list 2>silence; said <silence
               kill -CONT "$holder"; finish"#
        ),
    );
    let said = "net-link: LAN lab: talk to the process that holds the LAN: it does not answer; is process N stopped?\n";
    run.success().stderr("").stdout(format!("other\n{said}"));
}

#[test]
fn a_way_out_that_does_not_answer_is_left_by_a_signal_and_nothing_stays() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"mkdir bin; printf '%s\n' '#!/bin/bash' 'echo $$ >pid; exec sleep 60' >bin/passt; chmod +x bin/passt
           here=$PWD; sed -i "s|>pid|>$here/pid|" bin/passt
           for signal in TERM KILL; do
               PATH=$PWD/bin:$PATH net-link --up -- true & waits=$!
               until [[ -s pid ]]; do :; done; passt=$(<pid); rm pid
               kill -$signal $waits; wait $waits; echo $?
               while [[ -e /proc/$passt ]] && ! grep -q "^State:.*Z" /proc/$passt/status 2>/dev/null; do :; done
           done
           while pgrep -x net-link-lan >/dev/null; do :; done"#,
    );
    run.success().stdout("143\n137\n");
}

#[test]
fn a_holder_without_a_free_descriptor_sleeps_and_takes_in_who_waits_when_there_is_one() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"(ulimit -n 16; exec net-link --lan lab -- bash -c 'echo ready; exec sleep 60') >ready &
           boxes+=($!); until [[ -s ready ]]; do :; done
           holder=$(pgrep -x -P "${boxes[0]}" net-link-lan)
           # Connections that ask nothing take what there is.
           perl -MSocket -e '
               $| = 1; my @all;
               for (1 .. 30) {
                   socket my $one, AF_UNIX, SOCK_SEQPACKET, 0 or die; fcntl $one, 2, 1;
                   connect $one, pack("S a*", AF_UNIX, "\0chainbox-lan/0/lab") or die; push @all, $one
               }
               print "ready\n"; sleep 60' >taken & taken=$!
           until [[ -s taken ]]; do :; done
           until [[ $(ls /proc/$holder/fd | wc -l) -eq 16 ]]; do :; done
           for look in {1..200}; do
               sed -n "s/^State:.\(.\).*/\1/p" /proc/$holder/status; read -rt 0.005 <> <(:)
           done | grep -c S >asleep
           [[ $(<asleep) -ge 150 ]] && echo sleeps
           net-link --lan lab -- echo ran & waits=$!
           kill $taken; wait $waits; echo $?
           finish"#,
    );
    run.success().stdout("sleeps\nran\n0\n");
}

#[test]
fn who_holds_a_lan_has_no_privilege_but_that_over_networks() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"begin --lan lab -- bash -c 'echo ready; exec sleep 60'
           grep -E "^(Cap(Inh|Prm|Eff)|NoNewPrivs)" /proc/$(pgrep -x -P "${boxes[0]}" net-link-lan)/status | tr -s "\t" " "
           finish"#,
    );
    let caps = |kind, set| format!("Cap{kind}: 000000000000{set}\n");
    let said = [caps("Inh", "0000"), caps("Prm", "1000"), caps("Eff", "1000"), "NoNewPrivs: 1\n".into()];
    run.success().stderr("").stdout(said.concat());
}
