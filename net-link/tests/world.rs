//! The way out to the world, which here is another network namespace: no packet reaches the machine's interfaces.

mod lab;

use chain_testing::Scene;
use lab::{Lab, WORLD, script};

#[test]
fn a_box_reaches_the_world_also_without_a_privilege_in_the_callers_network() {
    Lab::each(|lab| {
        let run = lab.script(&format!(
            r#"{WORLD}
               net-link --up -- $get http://192.0.2.2/page
               ns-enter user -- net-link --up -- $get http://192.0.2.2/page
               net-link --up ip=10.9.0.2/24 ip=fd09::2/64 gw=10.9.0.1 -- $get http://192.0.2.2/page "http://[fd02::2]/page"
               net-link --up ip=10.9.0.2/32 ip=fd09::2/128 -- $get http://192.0.2.2/page "http://[fd02::2]/page"
               ip -brief link | cut -d " " -f 1 | cut -d @ -f 1 | sort"#
        ));
        // Nothing was made in the caller's network.
        run.success().stderr("").stdout(format!("{}d0\nlo\n", "hello\n".repeat(6)));
    });
}

#[test]
fn what_a_link_does_to_packets_it_does_to_those_of_the_world() {
    Lab::each(|lab| {
        let run = lab.script(&format!(
            r#"{WORLD}
               for word in out.blackhole in.loss=100% unreachable reset; do
                   net-link --up $word -- curl -s -m 1 http://192.0.2.2/page; echo "$word $?"
               done
               net-link --up --report report delay=1ms -- $get http://192.0.2.2/page
               grep -c '"delayed":[1-9].*"delayed":[1-9]' report"#
        ));
        let said = "out.blackhole 28\nin.loss=100% 28\nunreachable 7\nreset 7\nhello\n1\n";
        run.success().stderr("").stdout(said);
    });
}

#[test]
fn frames_of_the_world_are_recorded() {
    let scene = Scene::new();
    let run = script(
        &scene,
        &format!(
            r#"{WORLD}
               net-link --up --pcap link.pcap -- $get http://192.0.2.2/page
               tcpdump -nr link.pcap "host 192.0.2.2 and tcp port 80" 2>/dev/null | sed -n "1,3s/.*Flags \([^,]*\),.*/\1/p""#
        ),
    );
    run.success().stdout("hello\n[S]\n[S.]\n[.]\n");
}

#[test]
fn a_box_of_a_lan_has_both_and_the_others_have_no_way_out_by_it() {
    Lab::each(|lab| {
        let run = lab.script(&format!(
            r#"{WORLD}
               begin --lan lab --up --publish 8080:80 name=web -- bash -c "$serve"
               net-link --lan lab --up name=client -- $get http://web/page http://192.0.2.2/page
               net-link --lan lab -- bash -c '
                   ip route add default via 169.254.86.1 dev eth0 onlink
                   ip neigh add 169.254.86.1 lladdr 02:cc:00:00:00:01 dev eth0
                   curl -s -m 1 http://192.0.2.2/page; echo $?'
               net-link --set lab partition=web; $get http://127.0.0.1:8080/page
               net-link --set lab/web down; curl -s -m 1 http://127.0.0.1:8080/page; echo $?
               net-link --show lab | tail -n +2 | wc -l
               finish"#
        ));
        run.success().stderr("").stdout("hello\nhello\n28\nhello\n28\n1\n");
    });
}

#[test]
fn a_port_that_is_published_leads_into_the_box_and_is_open_where_that_was_said() {
    Lab::each(|lab| {
        let run = lab.script(&format!(
            r#"{WORLD}
               begin --up --publish 8080:80 --publish 192.0.2.1:8081:80 --publish 5000:53/udp -- bash -c '
                   perl -MSocket -e "socket S, AF_INET, SOCK_DGRAM, 0; bind S, sockaddr_in(53, INADDR_ANY); recv S, \$_, 9, 0; print" >datagram & '"$serve"
               ss -Htuln | tr -s " " | cut -d " " -f 1,5 | sort
               $get http://127.0.0.1:8080/page http://192.0.2.1:8081/page
               nsenter --target "$outside" --net $get http://192.0.2.1:8081/page
               until [[ -s datagram ]]; do echo hello >/dev/udp/127.0.0.1/5000; done; head -1 datagram
               net-link --up --publish 8080 -- echo ran; echo $?
               finish; ss -Htuln"#
        ));
        let open = "tcp 127.0.0.1:8080\ntcp 192.0.2.1:8081\nudp 127.0.0.1:5000\n";
        let run = run.success().stdout(format!("{open}hello\nhello\nhello\nhello\n125\n"));
        let why =
            "Address already in use; another program has the port, which ss -tulnp shows; choose another one";
        run.stderr(format!("net-link: --publish 127.0.0.1:8080:8080: {why}\n"));
    });
}

#[test]
fn what_listens_on_the_callers_loopback_is_not_reached() {
    let scene = Scene::new();
    // The second box sends packets for loopback by its interface, as a program with the right to do so can.
    let run = script(
        &scene,
        &format!(
            r#"{WORLD}
               busybox httpd -f -p 127.0.0.1:81 -h . & here=$!
               $get http://127.0.0.1:81/page
               net-link --up -- curl -s -m 1 http://169.254.86.1:81/page; echo $?
               net-link --up -- bash -c '
                   ip addr flush dev lo; echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
                   ip route add 127.0.0.1 via 169.254.86.1 dev eth0 onlink
                   ip -brief route get 127.0.0.1 | grep -o "dev eth0"; curl -s -m 1 http://127.0.0.1:81/page; echo $?'
               kill $here"#
        ),
    );
    run.success().stdout("hello\n28\ndev eth0\n28\n");
}

#[test]
fn nothing_is_left_of_a_way_out_whoever_is_killed() {
    Lab::each(|lab| {
        let run = lab.script(&format!(
            r#"{WORLD}
               a_box() {{ begin --up --publish 8080:80 -- bash -c 'echo ready; exec sleep 60'; passt=$(passt_of "${{boxes[-1]}}"); }}
               a_box; kill -KILL "${{boxes[-1]}}"; gone "$passt"; ss -Htln
               a_box; kill -KILL "$(pgrep -x -P "${{boxes[-1]}}" net-link-lan)"; while [[ $(ss -Htln) ]]; do :; done
               kill "${{boxes[-1]}}"; gone "${{boxes[-1]}}"; gone "$passt"
               a_box; kill -STOP "$passt"; kill "${{boxes[-1]}}"; gone "${{boxes[-1]}}"; ss -Htln
               net-link --up -- no-such-program; ss -Htln; pgrep -P $$ -l passt"#
        ));
        run.stdout("");
    });
}

#[test]
fn the_end_of_what_leads_out_is_told_and_the_box_goes_on() {
    Lab::each(|lab| {
        let run = lab.script(&format!(
            r#"{WORLD}
               mkfifo go
               exec 3< <(exec net-link --up -- bash -c 'echo ready; read -r <go; exit 7' 2>&1)
               box=$!; read -r <&3
               kill -KILL "$(passt_of $box)"
               read -r <&3; echo "$REPLY"
               echo >go; cat <&3; wait $box; echo $?"#
        ));
        run.success().stdout("net-link: --up: passt has ended; the box has no way out any more\n7\n");
    });
}

#[test]
fn a_way_out_that_there_is_not_is_told() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"mkdir bin; ln -s "$(which net-link)" bin
           PATH=bin net-link --up -- true; echo $?
           (net_link=$(which net-link); unset PATH; "$net_link" --up -- true; echo $?)
           net-link --up --publish 203.0.113.9:80 -- true; echo $?
           net-link --up -- true; echo $?
           net-link --list; ip -brief link | cut -d " " -f 1"#,
    );
    run.success().stdout("125\n125\n125\n125\nlo\n").stderr(
        "net-link: --up: the program passt is not installed; on Debian: apt install passt\n\
         net-link: --up: PATH is not set, by which the program passt is found; set it, such as PATH=/usr/bin:/bin\n\
         net-link: --publish 203.0.113.9:80:80: Cannot assign requested address; no interface of the caller has the \
         address; 0.0.0.0 is all of them\n\
         net-link: --up: passt: No external routable interface for IPv4, External interface not usable; is there a \
         default route?\n",
    );
}

/// Answers each question of one name with 192.0.2.2, for one second (RFC 1035).
const RESOLVER: &str = r#"
    use Socket;
    socket S, AF_INET, SOCK_DGRAM, 0 or die;
    bind S, sockaddr_in(53, inet_aton("127.0.0.53")) or die;
    while ($from = recv S, $_, 512, 0) {
        $question = substr $_, 12, index($_, "\0", 12) + 5 - 12;
        send S, substr($_, 0, 2) . "\x81\x80\0\1\0\1\0\0\0\0$question\xc0\x0c\0\1\0\1\0\0\0\1\0\4\xc0\0\2\2", 0, $from;
    }
"#;

#[test]
fn names_are_resolved_by_who_listens_on_the_callers_loopback() {
    let scene = Scene::new();
    scene.tree(
        ".",
        &[
            ("resolver", RESOLVER),
            ("resolv", "nameserver 127.0.0.53\noptions timeout:1 attempts:9\n"),
            ("other", "nameserver 192.0.2.53\n"),
        ],
    );
    let run = script(
        &scene,
        &format!(
            r#"{WORLD}
               perl resolver & here=$!
               ns-enter mnt -- bash -c '
                   mount --bind resolv /etc/resolv.conf
                   net-link --up -- getent ahostsv4 web.example | cut -d " " -f 1 | uniq
                   net-link --up -- head -1 /etc/resolv.conf
                   mount --bind other /etc/resolv.conf
                   net-link --up -- cat /etc/resolv.conf
                   readlink /proc/self/ns/mnt | cmp - <(net-link --up -- readlink /proc/self/ns/mnt)'
               kill $here"#
        ),
    );
    run.success().stdout("192.0.2.2\nnameserver 169.254.86.1\nnameserver 192.0.2.53\n");
}
