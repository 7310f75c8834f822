//! What the kernel's netem and tbf do where they are asked for, most of it on a link to the caller, where no packet
//! passes us; the user's engine is held to the same. What a LAN does is in failures.rs.

mod lab;

use chain_testing::{Scene, slowness};
use lab::{ANSWERED, MANY, PING, RoundTrips, has_netem, script, script_as_user};

/// The engines that this kernel has.
fn engines() -> Vec<&'static str> {
    if has_netem() { vec!["user", "kernel"] } else { vec!["user"] }
}

/// What a script says in a network namespace of its own, where `link WORDS` makes a box with this engine,
/// and `field NAME` is the last value of this name in iperf3's answer.
#[track_caller]
fn said(engine: &str, text: &str) -> String {
    let scene = Scene::new();
    let run = script(
        &scene,
        &format!(
            r#"ip link set lo up
               link() {{ net-link --engine {engine} "$@"; }}
               field() {{ sed -n "s/.*\"$1\":[[:space:]]*\([0-9.]*\).*/\1/p" | tail -1; }}
               {text}"#
        ),
    );
    String::from_utf8_lossy(&run.success().stderr("").get_output().stdout).into_owned()
}

#[track_caller]
fn number(engine: &str, text: &str) -> f64 {
    let said = said(engine, text);
    said.trim().parse().unwrap_or_else(|_| panic!("no number: {said}"))
}

#[track_caller]
fn assert_within(value: f64, asked: f64, percent: f64) {
    assert!((value - asked).abs() <= asked * percent / 100.0, "{value} is more than {percent}% off {asked}");
}

/// A server of iperf3 for the caller, until the script ends.
const SERVER: &str =
    "iperf3 -s >/dev/null 2>&1 & server=$!; disown; trap 'kill $server' EXIT; ready_at 5201 >/dev/null;";

#[test]
fn of_a_link_to_the_caller_as_many_packets_are_lost_as_asked() {
    // Where all takes long, what a process of ours does is measured in a LAN.
    let is_wanted = |engine: &&str| slowness() == 1 || *engine == "kernel";
    for engine in engines().into_iter().filter(is_wanted) {
        for word in ["out.loss=10%", "out.loss=burst:2%,18%"] {
            let lost = MANY - number(engine, &format!("link ip=10.9.0.2/24 {word} -- {ANSWERED}"));
            // Of a burst's losses, ten in a row in the mean, fewer are independent.
            let percent = if word.contains("burst") { 25.0 } else { 10.0 };
            eprintln!("{engine}: {word}: {lost} of {MANY}");
            assert_within(lost, MANY / 10.0, percent);
        }
    }
}

#[test]
fn a_link_to_the_caller_is_as_slow_as_asked() {
    // What a process of ours does in time is measured in a LAN.
    for engine in engines().into_iter().filter(|engine| *engine == "kernel") {
        for (direction, reverse) in [("out", ""), ("in", "-R")] {
            let got = number(
                engine,
                &format!(
                    "{SERVER} link ip=10.9.0.2/24 {direction}.rate=4mbit -- iperf3 -c 10.9.0.1 {reverse} -t 3 -O 1 --json | field bits_per_second"
                ),
            );
            eprintln!("{engine}: {direction}.rate=4mbit: {got}");
            // Of each frame of 1514 bytes TCP carries 1448. While the machine stands still nothing leaves.
            let (got, asked) = (got * 1514.0 / 1448.0, 4_000_000.0);
            let less = 0.05 * f64::from(slowness());
            assert!(got <= asked * 1.05 && got >= asked * (1.0 - less), "{direction}: {got}, not {asked}");
        }
    }
}

#[test]
fn a_link_to_the_caller_is_as_late_as_asked() {
    for engine in engines().into_iter().filter(|engine| *engine == "kernel") {
        let pinged = |words: &str| {
            RoundTrips::read(&said(engine, &format!("link ip=10.9.0.2/24 {words} -- {PING} 10.9.0.1")))
        };
        let without = pinged("");
        let fixed = pinged("out.delay=30ms");
        fixed.assert_later(&without, 30.0);
        pinged("in.delay=30ms±5ms:normal").assert_as_late_as(&fixed);
        let both = pinged("delay=20ms");
        both.assert_later(&without, 40.0);
        pinged("delay=20ms±5ms").assert_as_late_as(&both);
    }
}

#[test]
fn more_than_the_queue_is_dropped_and_told() {
    for engine in engines() {
        // 100 packets of 1042 bytes at once, of which 10 may wait at this rate.
        let told = said(
            engine,
            r"link --report report ip=10.9.0.2/24 out.rate=100kbit out.queue=10420 -- bash -c '
                   # To nobody, who answers nothing.
                   ip neighbour add 10.9.0.3 lladdr 02:00:00:00:00:03 dev eth0
                   exec 3<>/dev/udp/10.9.0.3/9; for number in {1..100}; do printf %1000s >&3; done'
               cat report",
        );
        let report: serde_json::Value = serde_json::from_str(&told).expect("a report");
        let overflowed = report["sent"]["overflowed"].as_u64().expect("a number");
        assert!((60..=89).contains(&overflowed), "{engine}: {told}");
        assert_eq!(report["sent"]["lost"], 0, "{engine}: {told}");
    }
}

#[test]
fn the_kernels_counts_are_told_and_what_it_does_not_count_is_not() {
    if !has_netem() {
        return;
    }
    let told = said(
        "kernel",
        r"link --stat --report report ip=10.9.0.2/24 out.loss=100% -- busybox ping -c 3 -i 0.1 -W 1 10.9.0.1 >/dev/null 2>stat
           link --stat -- true 2>&1 | tail -1 | tr -s ' '
           cat report",
    );
    let (table, report) = told.split_once('\n').expect("two lines");
    assert_eq!(table, "received 0 0 0 0 0 0 - - - 0");
    let report: serde_json::Value = serde_json::from_str(report).expect("a report");
    assert!(report["sent"]["lost"].as_u64() > Some(0), "{report}");
    assert_eq!((report["sent"]["packets"].as_u64(), report["sent"]["cut"].as_u64()), (Some(0), Some(0)));
    for count in ["delayed", "duplicated", "corrupted"] {
        assert!(report["sent"][count].is_null(), "{report}");
    }
}

#[test]
fn a_script_changes_the_kernels_queues_at_its_times() {
    // Where all takes long there must be time for a good beginning.
    let slow = slowness().min(9);
    for engine in engines() {
        let got = said(
            engine,
            &format!(
                r"printf '%s\n' 'at {}ms blackhole' 'at {}ms up delay=1ms' >steps
                  link --script steps --report report ip=10.9.0.2/24 -- \
                      busybox ping -c 150 -i 0.0{} -W 1 10.9.0.1 | sed -n 's/.*seq=\([0-9]*\) .*/\1/p'
                  cat report",
                500 * slow,
                1000 * slow,
                slow
            ),
        );
        let (report, got): (Vec<_>, Vec<_>) = got.lines().partition(|line| line.starts_with('{'));
        let got: Vec<u32> = got.iter().map(|line| line.parse().expect("a number")).collect();
        // It is answered, then not for half a second where the time between packets is kept, and then again.
        let gap = got.windows(2).map(|pair| pair[1] - pair[0]).max();
        assert!(gap > Some(10), "{engine}: {got:?}");
        let report: serde_json::Value = serde_json::from_str(report[0]).expect("a report");
        assert!(
            report["sent"]["cut"].as_u64() > Some(0) && report["sent"]["lost"] == 0,
            "{engine}: {report}"
        );
    }
}

#[test]
fn a_cable_to_the_caller_that_was_out_is_in_again_for_both_families() {
    // Where all takes long there must be time to see it.
    let slow = slowness();
    for engine in engines() {
        let got = said(
            engine,
            &format!(
                r#"printf '%s\n' 'at {slow}s down' 'at {}s up' >steps
               link --script steps ip=10.9.0.2/24 ip=fd00::2/64 -- timeout 60 bash -c '
                   carrier() {{ until ip -brief link show eth0 | grep -q "$1"; do :; done; echo "$1"; }}
                   carrier LOWER_UP; carrier NO-CARRIER; carrier LOWER_UP
                   for address in 10.9.0.1 fd00::1; do
                       until busybox ping -c 1 -W 1 $address >/dev/null; do :; done
                   done'"#,
                2 * slow
            ),
        );
        assert_eq!(got, "LOWER_UP\nNO-CARRIER\nLOWER_UP\n", "{engine}");
    }
}

#[test]
fn of_a_link_to_the_caller_nothing_is_left_however_it_ends() {
    if !has_netem() {
        return;
    }
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"engine=(--engine kernel)
           names() { ip -brief link | cut -d '@' -f 1 | cut -d ' ' -f 1 | paste -s -d ' '; }
           net-link "${engine[@]}" -- true; names
           net-link "${engine[@]}" -- no-such-command 2>/dev/null; names
           net-link "${engine[@]}" gw=10.1.1.1 -- true 2>/dev/null; names
           begin -- bash -c 'echo ready; exec sleep 60'
           begin -- bash -c 'echo ready; exec sleep 60'
           names
           kill -KILL "${boxes[@]}"
           # The kernel takes a namespace apart when it comes to it.
           until [[ $(names) == lo ]]; do :; done; names"#,
    );
    run.success().stderr("").stdout("lo\nlo\nlo\nlo nlink0 nlink1\nlo\n");
}

#[test]
fn a_link_to_the_caller_stays_as_it_is_when_the_process_that_changes_it_is_killed() {
    if !has_netem() {
        return;
    }
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"mkfifo go
           exec 3< <(exec net-link --engine kernel ip=10.9.0.2/24 -- bash -c '
               echo ready; read -r <go; busybox ping -c 1 -W 5 10.9.0.1 >/dev/null && echo reached; exit 7' 2>&1)
           read -r <&3
           kill -KILL "$(pgrep -x -P $! net-link-lan)"
           read -r <&3; echo "$REPLY"
           echo >go; cat <&3
           wait $!; echo $?"#,
    );
    let said = "net-link: the network: the process that held it has ended; its link stays as it is\n";
    run.success().stderr("").stdout(format!("{said}reached\n7\n"));
}

#[test]
fn a_change_that_the_kernel_cannot_make_is_refused_and_changes_nothing() {
    if !has_netem() {
        return;
    }
    let scene = Scene::new();
    let run = script(
        &scene,
        r"begin --lan lab name=one ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
           begin --lan lab --engine kernel name=two ip=10.9.0.2/24 -- bash -c 'echo ready; exec sleep 60'
           net-link --set lab delay=1ms reorder=5% rate=1mbit; echo $?
           net-link --show lab | tr -s ' ' | cut -d ' ' -f 1,8-
           net-link --set lab delay=1ms reorder=5%; echo $?
           net-link --show lab | tr -s ' ' | cut -d ' ' -f 1,8-
           echo 'at 1s rate=1mbit' >steps
           net-link --engine kernel --script steps delay=1ms reorder=5% -- echo ran
           finish",
    );
    let why = "reorder=5%: what the kernel sends before others does not keep to the rate=; --engine user can";
    run.code(0).stderr(format!("net-link: {why}\nnet-link: --script: at 1s: {why}\n")).stdout(
        "125\nNAME LINK\none up\ntwo up\n0\nNAME LINK\none delay=1ms reorder=5%\ntwo delay=1ms reorder=5%\n",
    );
}

#[test]
fn an_ordinary_user_has_the_kernels_engine_in_a_user_namespace() {
    if !has_netem() {
        return;
    }
    let scene = Scene::new();
    let run = script_as_user(
        &scene,
        r"net-link --engine kernel delay=1ms -- busybox ping -c 1 10.87.0.1 >/dev/null && echo reached
          begin --lan lab --engine kernel ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
          net-link --lan lab --engine kernel ip=10.9.0.2/24 loss=100% -- busybox ping -c 1 -W 1 10.9.0.1 >/dev/null || echo lost
          net-link --set lab/10.9.0.1 down; net-link --set lab/10.9.0.1 up delay=2ms
          net-link --lan lab ip=10.9.0.2/24 -- busybox ping -c 1 -W 5 10.9.0.1 >/dev/null && echo reached
          finish",
    );
    run.success().stdout("reached\nlost\nreached\n").stderr("");
}

#[test]
fn a_box_that_has_deleted_its_interface_is_named_and_the_others_are_changed() {
    if !has_netem() {
        return;
    }
    let scene = Scene::new();
    let run = script(
        &scene,
        r"engine=(--engine kernel)
           begin --lan lab name=a ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
           begin --lan lab name=b ip=10.9.0.2/24 -- bash -c 'ip link del eth0; echo ready; exec sleep 60'
           begin --lan lab name=c ip=10.9.0.3/24 -- bash -c 'echo ready; exec sleep 60'
           net-link --set lab delay=1ms; echo $?
           net-link --show lab | tr -s ' ' | cut -d ' ' -f 1,8-
           finish 2>/dev/null",
    );
    let said = "net-link: the link of b: --engine kernel: queue packets with netem and tbf: No such device\n";
    let told = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(told.starts_with(said), "{told}");
    run.stdout("125\nNAME LINK\na delay=1ms\nb up\nc delay=1ms\n");
}
