//! What a link does to packets, measured by programs that know nothing of it.

mod lab;

use chain_testing::{skip, slowness};
use lab::{ANSWERED, Lab, MANY, PING, RoundTrips};

#[track_caller]
fn assert_within(value: f64, asked: f64, percent: f64) {
    assert!((value - asked).abs() <= asked * percent / 100.0, "{value} is more than {percent}% off {asked}");
}

/// The kernel's engine is measured on a link to the caller even so.
const UNMEASURED: &str =
    "where all takes long, the process that holds a LAN is not as fast as its links are to be";

/// A box that iperf3(1) can be called in, and `field NAME`, which is the last value of this name in its answer.
const IPERF: &str = r#"
    begin --lan lab ip=10.9.0.1/24 -- bash -c "ready_at 5201 & exec iperf3 -s >/dev/null"
    field() { sed -n "s/.*\"$1\":[[:space:]]*\([0-9.]*\).*/\1/p" | tail -1; }
"#;

#[test]
fn as_many_packets_are_lost_as_asked() {
    Lab::each(|lab| {
        let seed = lab.seed("2").unwrap_or_default();
        let answered = lab.number(&format!(
            "begin --lan lab ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 300'
             net-link --lan lab ip=10.9.0.2/24 out.loss=10% {seed} -- {ANSWERED}
             finish"
        ));
        assert_within(MANY - answered, MANY / 10.0, 10.0);
    });
}

#[test]
fn a_rate_is_kept() {
    if slowness() > 1 {
        return skip(UNMEASURED);
    }
    Lab::each(|lab| {
        // Of each frame of 1514 bytes TCP carries 1448.
        for asked in [2.0, 20.0] {
            let got = lab.number(&format!(
                "{IPERF} net-link --lan lab ip=10.9.0.2/24 out.rate={asked}mbit -- \
                 iperf3 -c 10.9.0.1 -t 3 -O 1 --json | field bits_per_second; finish"
            ));
            assert_within(got * 1514.0 / 1448.0, asked * 1_000_000.0, 5.0);
        }
    });
}

#[test]
fn a_delay_is_kept() {
    if slowness() > 1 {
        return skip(UNMEASURED);
    }
    Lab::each(|lab| {
        let pinged = |words: &str| {
            RoundTrips::read(&lab.said(&format!(
                "begin --lan lab ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
                 net-link --lan lab ip=10.9.0.2/24 {words} -- {PING} 10.9.0.1
                 finish"
            )))
        };
        let without = pinged("");
        pinged("out.delay=30ms").assert_later(&without, 30.0);
        let fixed = pinged("delay=20ms");
        fixed.assert_later(&without, 40.0);
        pinged("delay=20ms±5ms").assert_as_late_as(&fixed);
    });
}

#[test]
fn the_same_seed_gives_the_same_losses_and_another_one_others() {
    Lab::each(|lab| {
        let Some(seed) = lab.seed("") else { return };
        let lost = |number: u32| {
            lab.said(&format!(
                "begin --lan lab ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
                 net-link --lan lab ip=10.9.0.2/24 loss=30% duplicate=10% {seed}{number} -- \
                     busybox ping -c 100 -i 0.002 -W 1 10.9.0.1 | sed -n 's/.*seq=\\([0-9]*\\) .*time.*/\\1/p'
                 finish"
            ))
        };
        let once = lost(7);
        assert!((20..80).contains(&once.lines().count()), "{once}");
        assert_eq!(once, lost(7));
        assert_ne!(once, lost(8));
    });
}

#[test]
fn a_link_that_goes_down_in_the_middle_goes_on_when_it_is_up_again() {
    Lab::each(|lab| {
        // What is served is as much as takes a second at this rate.
        let run = lab.script(
            r#"head -c 1000000 /dev/urandom > page
           begin --lan lab name=web ip=10.9.0.1/24 -- bash -c "$serve"
           mkfifo half
           net-link --lan lab name=client ip=10.9.0.2/24 in.rate=8mbit -- bash -c '
               curl -sS http://10.9.0.1/page | { head -c 300000; echo > half; cat; } > got' &
           read -r < half
           net-link --set lab/client down
           net-link --show lab | tr -s " " | grep -c "^client 10.9.0.2/24 .* down in.rate=8mbit"
           [[ $(stat -c %s got) -lt 1000000 ]] && echo not all
           net-link --set lab/client up
           wait $!; cmp page got && echo all
           finish"#,
        );
        run.success().stdout("1\nnot all\nall\n").stderr("");
    });
}

#[test]
fn a_cable_that_is_out_is_seen_in_the_box() {
    Lab::each(|lab| {
        let run = lab.script(
            r#"state='ip -brief link show eth0 | grep -o LOWER_UP || echo out'
           net-link --lan lab down -- bash -c "$state"
           net-link --lan lab -- bash -c "$state""#,
        );
        run.success().stdout("out\nLOWER_UP\n").stderr("");
    });
}

#[test]
fn parts_of_a_lan_are_cut_off_and_joined_again() {
    Lab::each(|lab| {
        lab.file("page", "hello\n");
        let run = lab.script(
        r#"mkfifo asks answers
           begin --lan lab name=web ip=10.9.0.1/24 -- bash -c "$serve"
           begin --lan lab name=other ip=10.9.0.3/24 -- bash -c 'echo ready; exec sleep 60'
           begin --lan lab name=client ip=10.9.0.2/24 -- bash -c '
               echo ready; while read -r host; do curl -sS -m 1 "http://$host/page" 2>&1 | cut -c 1-10; done <asks >answers' 
           exec 3>asks 4<answers
           ask() { echo "$1" >&3; read -r <&4; echo "$REPLY"; }
           ask 10.9.0.1
           net-link --set lab partition=web/client,other; ask 10.9.0.1
           net-link --set lab partition=other; ask 10.9.0.1
           net-link --set lab partition=web; net-link --set lab heal; ask 10.9.0.1
           net-link --set lab partition=nobody
           exec 3>&-; finish"#,
    );
        let run = run.success().stdout("hello\ncurl: (28)\nhello\nhello\n");
        run.stderr("net-link: partition=nobody: no box of the LAN is called nobody\n");
    });
}

#[test]
fn an_unreachable_host_and_a_reset_are_told_at_once_and_a_blackhole_never() {
    Lab::each(|lab| {
        let run = lab.script(
            r#"begin --lan lab ip=10.9.0.1/24 ip=fd00::1/64 -- bash -c "$serve"
               for address in 10.9.0.1 fd00::1; do
                   for word in up unreachable reset blackhole out.blackhole; do
                       net-link --lan lab ip=10.9.0.2/24 ip=fd00::2/64 $word -- \
                           timeout 2 bash -c ": <>/dev/tcp/$address/80" 2>&1 | sed -n "s/.*\/80: //p"
                       echo "$word ${PIPESTATUS[0]}"
                   done
               done
               finish"#,
        );
        let told = "up 0\nNo route to host\nunreachable 1\nConnection refused\nreset 1\n\
                    blackhole 124\nout.blackhole 124\n";
        run.success().stdout(told.repeat(2)).stderr("");
    });
}

#[test]
fn a_connection_that_is_there_is_reset_at_both_ends() {
    Lab::each(|lab| {
        // Not bash, which reads a file of settings if its input is a socket. Who only looks whether the server is
        // there closes in order, of which it has nothing to say.
        let run = lab.script(
            r#"mkfifo begun go end
               begin --lan lab name=server ip=10.9.0.1/24 -- bash -c '
                   ready_at 7 & exec busybox nc -ll -p 7 -e sh -c "
                       said=\$(cat 2>&1 >/dev/null) || echo \"server: \$said\" >end"'
               net-link --lan lab name=client ip=10.9.0.2/24 -- bash -c '
                   exec 3<>/dev/tcp/10.9.0.1/7; echo >&3; echo >begun
                   read -r <go; echo more >&3; cat <&3 2>&1 | sed "s/^/client: /"' &
               read -r <begun
               net-link --set lab/client reset
               echo >go
               read -r <end; echo "$REPLY"
               wait $!
               finish"#,
        );
        let run = run.success().stderr("");
        let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
        let mut said: Vec<_> = said.lines().collect();
        said.sort_unstable();
        // The server's shell and what it calls are busybox's.
        let reset = "Connection reset by peer";
        assert_eq!(said, [format!("client: cat: -: {reset}"), format!("server: cat: read error: {reset}")]);
    });
}

#[test]
fn a_script_changes_the_link_at_its_times() {
    Lab::each(|lab| {
        // Where all takes long there must be time for a good beginning.
        let slow = slowness().min(9);
        let (from, to) = (500 * slow, 1000 * slow);
        lab.file("steps", &format!("# a bad moment\nat {from}ms loss=100%\nat {to}ms loss=0% delay=1ms\n"));
        let got = lab.said(&format!(
            "begin --lan lab ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
         net-link --lan lab --script steps ip=10.9.0.2/24 -- busybox ping -c 150 -i 0.0{slow} -W 1 10.9.0.1 |
             sed -n 's/.*seq=\\([0-9]*\\) .*/\\1/p'
         finish"
        ));
        let got: Vec<u32> = got.lines().map(|line| line.parse().expect("a number")).collect();
        // It begins and ends well; in between is a gap, of half a second where the time between packets is kept.
        assert_eq!((got.first(), got.last()), (Some(&0), Some(&149)));
        let gaps: Vec<_> = got.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 1).collect();
        assert_eq!(gaps.len(), 1, "{got:?}");
    });
}

#[test]
fn what_has_passed_is_told() {
    Lab::each(|lab| {
        let run = lab.script(
        r#"begin --lan lab ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
           net-link --lan lab --stat --report report name=client ip=10.9.0.2/24 out.loss=100% -- \
               busybox ping -c 3 -i 0.1 -W 1 10.9.0.1 >/dev/null
           grep -o '"name":"client","addresses":\["10.9.0.2/24"\],"pid":[1-9][0-9]*,"link":\["out.loss=100%"\]' report | sed "s/[0-9]*,\"link/N,\"link/"
           grep -c '"sent":{"packets":0,"bytes":0,"lost":[1-9][0-9]*,.*"received":{"packets":0,' report
           net-link --lan lab --report - -- true 2>&1 >/dev/null | grep -c '^{"name":null,"addresses"'
           finish"#,
    );
        let run = run.success();
        let out = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
        assert_eq!(
            out,
            "\"name\":\"client\",\"addresses\":[\"10.9.0.2/24\"],\"pid\":N,\"link\":[\"out.loss=100%\"]\n1\n1\n"
        );
        let told = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..4], ["DIRECTION", "PACKETS", "BYTES", "LOST"]);
        assert_eq!(
            (lines[1][0], lines[1][1], lines[2][..2].join(" ")),
            ("sent", "0", "received 0".to_owned())
        );
    });
}
