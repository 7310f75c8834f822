//! What a box's network is, and where it leads.

mod lab;

use chain_testing::Scene;
use lab::{script, script_as_user};

#[test]
fn a_box_has_lo_and_one_interface_with_its_addresses() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"net-link --lan lab ip=10.9.0.2/24 ip=fd00::2/64 gw=10.9.0.1 mtu=1400 -- bash -c '
            ip -brief address; ip route; ip link show eth0 | grep -o "mtu [0-9]*\|ether [^ ]*"'"#,
    );
    let run = run.success().stderr("");
    let text = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let words: Vec<&str> = text.split_whitespace().collect();
    let expected = "lo UNKNOWN 127.0.0.1/8 ::1/128 eth0 UNKNOWN 10.9.0.2/24 fd00::2/64 \
                    default via 10.9.0.1 dev eth0 proto static \
                    10.9.0.0/24 dev eth0 proto kernel scope link src 10.9.0.2 mtu 1400 ether 02:cb:0a:09:00:02";
    assert_eq!(words.join(" "), expected);
}

#[test]
fn a_box_can_have_an_mtu_that_is_too_small_for_ipv6() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"for lan in '--lan lab' ''; do
               net-link $lan ip=10.9.0.2/24 mtu=68 -- bash -c 'ip link show eth0 | grep -o "mtu [0-9]*"; ip -brief -4 address show eth0 | tr -s " "'
           done"#,
    );
    run.success().stdout("mtu 68\neth0 UNKNOWN 10.9.0.2/24 \n".repeat(2)).stderr("");
}

#[test]
fn boxes_whose_addresses_end_alike_reach_each_other() {
    let scene = Scene::new();
    let run = script(
        &scene,
        "begin --lan lab name=a ip=fd00:0:0:1::5/48 -- bash -c 'echo ready; exec sleep 60'
         net-link --lan lab ip=fd00:0:0:2::5/48 -- busybox ping -q -c 1 -W 9 a | grep -o '1 packets received'
         finish",
    );
    run.success().stdout("1 packets received\n").stderr("");
}

#[test]
fn a_network_of_two_addresses_has_the_other_one_as_its_gateway() {
    let scene = Scene::new();
    let run = script(
        &scene,
        "ip link set lo up
         for ip in 10.9.0.2 10.9.0.3; do net-link ip=$ip/31 -- ip route show default | cut -d ' ' -f 1-3; done",
    );
    run.success().stdout("default via 10.9.0.3\ndefault via 10.9.0.2\n").stderr("");
}

#[test]
fn settings_end_at_the_dashes() {
    let scene = Scene::new();
    let run = script(
        &scene,
        "for lan in '--lan lab' ''; do net-link $lan -- ip -brief link show lo | cut -d ' ' -f 1; done
         net-link -- up 2>&1; echo $?",
    );
    run.success().stdout("lo\nlo\nnet-link: run up: No such file or directory\n127\n").stderr("");
}

#[test]
fn frames_are_not_recorded_through_a_link() {
    let scene = Scene::new();
    scene.tree(".", &[("precious", "precious\n")]);
    let run = script(
        &scene,
        "ln -s precious link; net-link --lan lab --pcap link -- echo ran 2>&1; echo $?; cat precious",
    );
    run.success().stdout(
        "net-link: --pcap link: Too many levels of symbolic links; it is a link, which is not followed; name the file itself\n125\nprecious\n",
    );
}

#[test]
fn boxes_of_a_lan_get_what_others_serve() {
    let scene = Scene::new();
    scene.tree(".", &[("page", "hello\n")]);
    let run = script(
        &scene,
        r#"begin --lan lab name=web ip=10.9.0.1/24 -- bash -c "$serve"
           net-link --lan lab ip=10.9.0.2/24 -- curl -sS http://10.9.0.1/page
           net-link --lan lab ip=fd00::2/64 -- curl -sS -m 1 http://10.9.0.1/page 2>/dev/null || echo no way
           finish"#,
    );
    run.success().stdout("hello\nno way\n");
}

#[test]
fn a_box_without_an_address_gets_one_that_is_free() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"begin --lan lab -- bash -c 'echo ready; exec sleep 60'
           begin --lan lab ip=10.86.0.2/16 -- bash -c 'echo ready; exec sleep 60'
           net-link --lan lab -- bash -c 'ip -brief address show eth0 | tr -s " " | cut -d " " -f 3; busybox ping -c 1 10.86.0.1 >/dev/null && echo reached'
           finish"#,
    );
    run.success().stdout("10.86.0.3/16\nreached\n");
}

#[test]
fn without_a_lan_the_link_leads_to_the_caller() {
    let scene = Scene::new();
    scene.tree(".", &[("page", "hello\n")]);
    let run = script(
        &scene,
        r#"ip link set lo up; busybox httpd -f -p 80 -h . & server=$!; ready_at 80
           net-link -- bash -c 'gw=$(ip route | sed -n "s/default via \([^ ]*\) .*/\1/p"); curl -sS http://$gw/page'
           net-link ip=192.168.7.9/24 mtu=1300 -- bash -c 'curl -sS http://192.168.7.1/page; ip route | grep -c "via 192.168.7.1"'
           net-link ip=10.5.0.1/30 gw=10.5.0.2 -- curl -sS http://10.5.0.2/page
           ip -brief link | cut -d " " -f 1
           kill $server"#,
    );
    run.success().stdout("ready\nhello\nhello\n1\nhello\nlo\n").stderr("");
}

#[test]
fn an_ordinary_user_has_all_of_it_in_a_user_namespace() {
    let scene = Scene::new();
    scene.tree(".", &[("page", "hello\n")]);
    let run = script_as_user(
        &scene,
        r#"begin --lan lab ip=10.9.0.1/24 -- bash -c "$serve"
           net-link --lan lab ip=10.9.0.2/24 loss=5% delay=1ms -- curl -sS http://10.9.0.1/page
           net-link --set lab/10.9.0.1 down
           net-link --lan lab ip=10.9.0.2/24 -- curl -sS -m 1 http://10.9.0.1/page 2>/dev/null; echo $?
           net-link -- busybox ping -c 1 10.87.0.1 >/dev/null && echo reached
           finish"#,
    );
    run.success().stdout("hello\n28\nreached\n").stderr("");
    for way in ["--lan lab", "--up"] {
        let refused = scene.script_as_user(&format!("net-link {way} -- true")).assert().code(125).stdout("");
        let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        let advice = "Operation not permitted; run as root, or behind ns-enter user --\n";
        assert!(said.ends_with(advice), "{said}");
    }
    // It is only in the caller's own network that nobody has a right.
    let refused = scene.script_as_user("net-link -- true").assert().code(125).stdout("");
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(
        said.contains("Operation not permitted; without --lan a link leads to the caller's network"),
        "{said}"
    );
}

#[test]
fn lans_of_one_name_but_of_other_users_are_apart() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"begin --lan lab ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
           as_user() { setpriv --reuid 54321 --regid 54321 --clear-groups "$@"; }
           as_user net-link --list
           as_user ns-enter user -- net-link --lan lab ip=10.9.0.2/24 -- busybox ping -c 1 -W 1 10.9.0.1 >/dev/null || echo not reached
           as_user net-link --show lab
           net-link --list
           finish
           net-link --list"#,
    );
    let run = run.success().stdout("not reached\nlab\n");
    run.stderr("net-link: LAN lab: there is none; --list shows those that there are\n");
}

#[test]
fn as_many_users_as_like_have_a_lan_of_one_name() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"tool=setpriv
           for user in {54301..54320}; do
               begin --reuid $user --regid $user --clear-groups ns-enter user -- net-link --lan lab -- bash -c 'echo ready; exec sleep 60'
           done
           net-link --list
           tool=net-link begin --lan lab -- bash -c 'echo ready; exec sleep 60'
           net-link --lan lab -- true
           net-link --show lab | grep -c "^- "
           setpriv --reuid 54320 --regid 54320 --clear-groups net-link --show lab | grep -c "^- "
           finish"#,
    );
    run.success().stdout("1\n1\n").stderr("");
}

#[test]
fn who_is_nobody_in_a_user_namespace_has_no_lan() {
    let scene = Scene::new();
    let run = script(&scene, "ns-enter user=none -- net-link --show lab");
    run.code(125).stderr(
        "net-link: --lan: this user namespace has no number for the caller, by which whose a LAN is is told; \
         make one that has: ns-enter user --\n",
    );
}

#[test]
fn two_boxes_of_one_name_or_address_are_refused() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r"begin --lan lab name=web ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
           net-link --lan lab ip=10.9.0.1/24 -- echo ran; echo $?
           net-link --lan lab name=web -- echo ran; echo $?
           finish",
    );
    let run = run.success().stdout("125\n125\n");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let lines: Vec<_> =
        said.lines().map(|line| line.trim_end_matches(|byte: char| byte.is_ascii_digit())).collect();
    let expected =
        |what| format!("net-link: {what}: another box of the LAN has it; its supervisor is process ");
    assert_eq!(lines, [expected("10.9.0.1"), expected("web")]);
}

#[test]
fn a_gateway_that_is_not_there_is_refused() {
    let scene = Scene::new();
    let run = script(&scene, "net-link --lan lab ip=10.9.0.2/24 gw=10.8.0.1 -- echo ran");
    let run = run.code(125).stdout("");
    run.stderr("net-link: gw=10.8.0.1: Network is unreachable; no address of the box is in its network\n");
}

#[test]
fn the_boxes_of_a_lan_are_shown() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"begin --lan lab name=web ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
           begin --lan lab ip=10.9.0.2/24 in.loss=2.5% delay=5ms+-1ms down -- bash -c 'echo ready; exec sleep 60'
           net-link --show lab | sed "s/ ${boxes[0]} / PID /; s/ ${boxes[1]} / PID /" | tr -s " "
           net-link --show lab --json | grep -o '"name":"web","addresses":\["10.9.0.1/24"\]'
           net-link --list; net-link --list --json
           net-link --dry-run --set lab/web loss=1%
           finish"#,
    );
    run.success().stderr("").stdout(
        "NAME ADDRESS PID SENT RECEIVED LOST PART LINK\n\
         web 10.9.0.1/24 PID 0 0 0 - up\n\
         - 10.9.0.2/24 PID 0 0 0 - down delay=5ms±1ms in.loss=2.5%\n\
         \"name\":\"web\",\"addresses\":[\"10.9.0.1/24\"]\n\
         lab\n[\"lab\"]\nnet-link: change the link of web in lab: loss=1%\n",
    );
}

#[test]
fn the_parts_of_a_lan_are_shown() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"for name in a b c; do begin --lan lab name=$name -- bash -c 'echo ready; exec sleep 60'; done
           net-link --set lab partition=c/a
           net-link --show lab | tr -s " " | cut -d " " -f 1,7
           net-link --show lab --json | grep -o '"part":[^,]*'
           net-link --set lab heal; net-link --show lab --json | grep -o '"part":[^,]*' | uniq
           finish"#,
    );
    run.success()
        .stderr("")
        .stdout("NAME PART\na 2\nb 0\nc 1\n\"part\":2\n\"part\":0\n\"part\":1\n\"part\":null\n");
}

#[test]
fn a_script_that_names_a_box_that_is_not_there_says_so_and_goes_on() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"printf '%s\n' 'at 0s partition=a/b' 'at 0s partition=a/later delay=1ms' >steps
           mkfifo go
           net-link --lan lab --script steps name=a -- bash -c 'echo >go; read -r <go; exit 7' & box=$!
           read -r <go
           begin --lan lab name=later -- bash -c 'echo ready; exec sleep 60'
           until net-link --show lab | grep -q 'delay=1ms'; do :; done
           net-link --show lab | tr -s " " | cut -d " " -f 1,7
           echo >go; wait $box; echo $?
           finish"#,
    );
    run.success().stdout("NAME PART\na 1\nlater 2\n7\n").stderr(
        "net-link: --script: partition=a/b: no box of the LAN is called b yet\n\
         net-link: --script: partition=a/later: no box of the LAN is called later yet\n",
    );
}

#[test]
fn a_change_that_would_do_nothing_is_refused() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r"begin --lan lab name=a mtu=9000 rate=2mbit -- bash -c 'echo ready; exec sleep 60'
           for words in reorder=5% 'reorder=5% delay=5ms' queue=4K queue=64K rate=max loss=1% queue=9K; do
               net-link --set lab $words; echo $?
           done
           net-link --show lab | grep -o 'up$\|delay=.*'
           echo 'at 1s reorder=5%' | net-link --lan lab --script - -- echo ran; echo $?
           finish",
    );
    let run = run.success();
    run.stdout("125\n0\n125\n0\n0\n0\n125\ndelay=5ms queue=64K reorder=5%\n125\n").stderr(
        "net-link: the link of a: reorder=5%: nothing is late that could be overtaken; add a delay, such as delay=50ms\n\
         net-link: the link of a: queue=4K: a packet of the size that mtu= allows does not fit; the least is 9014, its Ethernet header included\n\
         net-link: the link of a: queue=9K: nothing waits where no rate is; add one, such as rate=2mbit\n\
         net-link: --script: at 1s: reorder=5%: nothing is late that could be overtaken; add a delay, such as delay=50ms\n",
    );
}

#[test]
fn a_script_can_be_stdin_and_as_long_as_a_script_may_be() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r"mkfifo go
           { yes 'at 0s loss=50%' | head -n 60000; echo 'at 0s loss=0% delay=1ms'; } |
               net-link --lan lab --script - -- bash -c 'wc -c; echo >go; read -r <go' &
           read -r <go
           until net-link --show lab | grep -o 'delay=.*'; do :; done
           echo >go; wait",
    );
    run.success().stdout("0\ndelay=1ms\n").stderr("");
}

#[test]
fn frames_are_recorded_as_other_programs_read_them() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"begin --lan lab ip=10.9.0.1/24 -- bash -c 'echo ready; exec sleep 60'
           net-link --lan lab --pcap link.pcap ip=10.9.0.2/24 -- busybox ping -c 3 10.9.0.1 >/dev/null
           tcpdump -nr link.pcap icmp 2>/dev/null | sed "s/.*IP //; s/, id .*//"
           finish"#,
    );
    let echo = "10.9.0.2 > 10.9.0.1: ICMP echo request\n10.9.0.1 > 10.9.0.2: ICMP echo reply\n";
    run.success().stdout(echo.repeat(3));
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let scene = Scene::new();
    scene.tree(".", &[("steps", "at 2s loss=50%\n")]);
    let mut run = scene.script("net-link -n --lan lab --script steps loss=5% -- true");
    run.assert().success().stdout(
        "net-link: make a new net namespace, with its loopback interface up\n\
         net-link: make an interface eth0 in it, which leads to the LAN lab, which is begun if it is not there\n\
         net-link: give it and its link loss=5%\n\
         net-link: make a new mnt namespace\n\
         net-link: show /etc/hosts with the names of the LAN's boxes in it\n\
         net-link: after 2s change the link: loss=50%\n\
         run true\n",
    );
}

#[test]
fn what_a_command_has_sent_last_arrives_though_it_has_ended() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"ip link set lo up
           perl -MSocket -e 'socket S, AF_INET, SOCK_DGRAM, 0; bind S, sockaddr_in(5000, INADDR_ANY); recv S, $_, 9, 0; print' >got & gets=$!
           until [[ $(ss -Huln "sport = 5000") ]]; do :; done
           net-link ip=10.9.0.2/24 out.delay=400ms -- bash -c '
               until busybox ping -c 1 10.9.0.1 >/dev/null; do :; done; echo last >/dev/udp/10.9.0.1/5000'
           read -rt 20 < <(tail -f --pid=$gets got); cat got; kill $gets 2>/dev/null
           # It is not waited for longer than a second, nor when it is ended.
           net-link ip=10.9.0.2/24 out.delay=1m -- busybox ping -c 1 -W 1 10.9.0.1 >/dev/null; echo $?"#,
    );
    run.success().stdout("last\n1\n");
}
