//! Boxes whose network leads out, as that of net-link does.

#[path = "../../net-link/tests/lab/mod.rs"]
mod lab;

use chain_testing::Scene;
use lab::{WORLD, script, script_alone, script_as_user};

#[test]
fn a_box_with_a_link_has_lo_and_eth0_and_one_without_has_lo_alone() {
    let scene = Scene::new();
    let look = "box-run --chdir / $link -- ip -brief address | tr -s ' ' | sed 's/@[^ ]*//'";
    let text = format!(
        "link=; {look}; link='--lan lab --link ip=10.9.0.2/24'; {look} | sed 's/ [UD][A-Z]*//'
         link='--link ip=10.9.0.2/24'; {look} | sed 's/ [UD][A-Z]*//'; ip -brief link | cut -d ' ' -f 1"
    );
    let with_link = "lo 127.0.0.1/8 ::1/128 \neth0 10.9.0.2/24 \n";
    let expected = format!("lo UNKNOWN 127.0.0.1/8 ::1/128 \n{with_link}{with_link}lo\n");
    script(&scene, &text).success().stderr("").stdout(expected.clone());
    script_as_user(&scene, &text).success().stderr("").stdout(expected);
}

#[test]
fn boxes_of_a_lan_get_what_others_serve_until_they_are_cut_off() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    std::fs::write(root.join("page"), "hello\n").expect("write");
    let run = script(
        &scene,
        r#"tool=box-run
           begin --root root --lan lab --link "name=web ip=10.9.0.1/24" -- sh -c "
               { until busybox wget -qO /dev/null http://127.0.0.1/page 2>/dev/null; do :; done; echo ready; } & exec busybox httpd -f -p 80 -h /"
           get() { box-run --chdir / --lan lab --link name=client --link ip=10.9.0.2/24 $1 -- curl -sS -m 2 http://10.9.0.1/page 2>&1 | cut -d : -f 2 | cut -c 1-6; }
           get
           get "--link down"
           net-link --set lab/web blackhole; get
           net-link --set lab/web up; get
           finish"#,
    );
    run.success().stderr("").stdout("hello\n (28) \n (28) \nhello\n");
}

#[test]
fn boxes_find_each_other_by_name() {
    let scene = Scene::new();
    scene.rootfs("root");
    let run = script(
        &scene,
        r#"tool=box-run
           begin --chdir / --lan lab --link "name=web ip=10.9.0.1/24" -- sh -c "echo ready; exec sleep 60"
           names() { box-run "$@" --lan lab --link "name=client ip=10.9.0.2/24" -- cat /etc/hosts | tr -s ' ' | grep ^10.9; }
           names --chdir /; names --chdir / --root root --tmp --net-files; names --chdir / --no-hosts; names --chdir / --root root --tmp --net-files --no-hosts
           finish"#,
    );
    let both = "10.9.0.1 web \n10.9.0.2 client \n";
    run.success().stderr("").stdout(both.repeat(2));
}

#[test]
fn a_box_leads_out_to_the_world_and_a_port_into_it() {
    let scene = Scene::new();
    let run = script(
        &scene,
        &format!(
            r#"{WORLD}
               box-run --chdir / --up -- $get http://192.0.2.2/page
               box-run --chdir / --up --link out.blackhole -- curl -s -m 1 http://192.0.2.2/page; echo $?
               tool=box-run begin --ro . --allow-env --up --publish 8080:80 -- bash -c "$serve"
               $get http://127.0.0.1:8080/page; finish"#
        ),
    );
    run.success().stderr("").stdout("hello\n28\nhello\n");
}

/// A box of an ordinary user is in a user namespace of its own. The LAN is in the machine's network, in which no packet is.
#[test]
fn boxes_of_an_ordinary_user_meet_however_they_are_made() {
    let scene = Scene::new();
    let mut run = scene.script_as_user(
        r#"export LC_ALL=C.UTF-8; lan=meet-$$; cd /
           chain() { (eval "exec $(box-run --print "$@")"); }
           begin() { exec {ready}< <(exec "$@"); read -r <&"$ready"; echo "$REPLY"; }
           begin box-run --lan $lan --link ip=10.9.0.1/24 -- sh -c "echo ready; exec sleep 60"; first=$!
           begin bash -c 'eval "exec $(box-run --print "$@")"' - --lan $lan --link ip=10.9.0.2/24 -- sh -c "echo ready; exec sleep 60"; second=$!
           box-run --lan $lan --link ip=10.9.0.3/24 -- ip -brief address show eth0 | tr -s " " | cut -d " " -f 3
           ping="--link ip=10.9.0.3/24 -- busybox ping -c 1 -W 5"
           reached() { "$@" >/dev/null && echo reached; }
           reached box-run --lan $lan --caps net_raw $ping 10.9.0.2
           reached chain --lan $lan --caps net_raw $ping 10.9.0.1
           # Who holds the LAN is neither in the group of the first box nor one of its processes.
           kill $first; wait $first
           reached chain --lan $lan --caps net_raw $ping 10.9.0.2
           net-link --show $lan | grep -c "^- "
           kill $second; wait $second
           while net-link --show $lan 2>/dev/null >&2; do :; done; net-link --list"#,
    );
    let run = run.assert().success().stderr("");
    run.stdout("ready\nready\n10.9.0.3/24\nreached\nreached\nreached\n1\n");
}

#[test]
fn what_cannot_be_had_is_told() {
    let scene = Scene::new();
    let mut run = scene.script_as_user("cd /; box-run --link loss=5% -- echo ran");
    let run = run.assert().code(125).stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(
        said.contains("Operation not permitted; without --lan a link leads to the caller's network"),
        "{said}"
    );
}

#[test]
fn what_passed_the_link_and_what_the_group_used_are_told_apart() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree(".", &[("steps", "at 0s out.loss=100%\n")]);
    let run = script(
        &scene,
        r#"tool=box-run
           begin --root root --lan lab --link ip=10.9.0.1/24 -- sh -c "echo ready; exec sleep 60"
           box-run --root root --lan lab --link ip=10.9.0.2/24 --link-script steps --link-report link --report group \
               --link-stat --pcap frames --caps net_raw -- busybox ping -c 1 -W 1 10.9.0.1 2>table >/dev/null
           grep -c "\"link\":\[\"out.loss=100%\"\].*\"lost\":[1-9]" link
           grep -c "\"memory\"\|\"mem" group
           head -n 1 table | cut -d " " -f 1
           tcpdump -nr frames arp 2>/dev/null | grep -c "who-has 10.9.0.1"
           finish"#,
    );
    let run = run.success();
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..3], ["1", "1", "DIRECTION"], "{said}");
    assert_ne!(lines[3], "0");
}

#[test]
fn a_link_is_said_in_a_file_and_counts_more_than_the_network_of_a_preset() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree(
        ".",
        &[("file", "lan = \"lab\"\nlink = [\"ip=10.9.0.2/24 loss=1%\", \"mtu=1300\"]\nroot = \"root\"\n")],
    );
    let run = scene
        .script(
            r#"front() { sed "s/ -- .*//"; }
           box-run --config file --print | front
           box-run --config file --link "loss=2% down" --link-stat --print | front
           box-run --config file --preset service --print | front
           box-run --root root --preset service --print | front
           box-run --config file --preset service --print-config | grep "^lan\|^link\|net"
           box-run --config file --allow-net -- echo ran"#,
        )
        .assert();
    run.code(125)
        .stdout(
            "net-link --lan lab ip=10.9.0.2/24 loss=1% mtu=1300\n\
             net-link --lan lab --stat ip=10.9.0.2/24 mtu=1300 loss=2% down\n\
             net-link --lan lab ip=10.9.0.2/24 loss=1% mtu=1300\n\
             cg-set pids=1024\n\
             lan = \"lab\"\nlink = [\"ip=10.9.0.2/24 loss=1%\", \"mtu=1300\"]\ncaps = \"net_bind_service\"\nnet-files = true\n",
        )
        .stderr("box-run: --allow-net, --lan: two networks; a box with a link has one of its own; leave one of them out\n");
}

#[test]
fn the_chain_of_an_ordinary_user_makes_the_user_namespace_first() {
    let scene = Scene::new();
    let mut run = scene.script_as_user(
        "cd /; box-run --ns all,uts=web,user=0 --lan lab --print -- true | grep -o '^.* -- root-enter '",
    );
    let known = std::path::Path::new("/proc/self/ns/time").exists();
    let time = if known { "time," } else { "" };
    run.assert().success().stdout(format!(
        "ns-enter user -- net-link --lan lab -- ns-enter --no-proc --init uts=web,ipc,cgroup,{time}pid,mnt -- root-enter \n"
    ));
    let mut run = scene.script("cd /; box-run --ns user=0:100000:65536 --lan lab --print -- true");
    run.assert().code(125).stdout("").stderr(
        "box-run: --print --ns user: the LAN of a chain would be another user's, or its link have no way to the caller; \
         leave out --print, or the link\n",
    );
}

#[test]
fn whatever_of_a_box_is_killed_nothing_is_left() {
    let scene = Scene::new();
    scene.rootfs("root");
    let run = script_alone(
        &scene,
        r#"for victim in supervisor first command holder; do
                   exec {ready}< <(exec box-run --root root --lan lab --link-stat -- sh -c "echo ready; exec sleep 60" 2>/dev/null)
                   box=$!; read -r <&"$ready"
                   echo "$victim $(namespaces)"
                   holder=$(pgrep -x net-link-lan)
                   first=$(pgrep -P $box | grep -vx "$holder")
                   case $victim in
                       supervisor) kill -KILL $box ;;
                       first) kill -KILL "$first" ;;
                       command) kill -KILL "$(pgrep -P "$first")" ;;
                       holder) kill -KILL "$holder"; while pgrep -x net-link-lan >/dev/null; do :; done; kill $box ;;
                   esac
                   wait $box
                   # Who is orphaned is reaped by the first process here.
                   left
               done"#,
    );
    let left = "2\n0\nlo\n1\n";
    let expected: String =
        ["supervisor", "first", "command", "holder"].map(|victim| format!("{victim} {left}")).concat();
    run.success().stdout(expected);
}
