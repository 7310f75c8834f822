//! A link to the caller is beside the networks that the caller has, which can be such a link itself.

mod lab;

use chain_testing::Scene;
use lab::{Lab, script};

#[test]
fn a_box_in_a_box_reaches_its_caller_and_not_itself() {
    Lab::each(|lab| {
        let run = lab.script(
            r#"net-link -- net-link "${engine[@]}" -- bash -c '
                   ip -4 -brief address show dev eth0 | tr -s " " | cut -d " " -f 3
                   gateway=$(ip route show default | cut -d " " -f 3); echo "$gateway"
                   busybox ping -c 1 -W 5 "$gateway" >/dev/null && echo reached'"#,
        );
        run.success().stderr("").stdout("10.87.16.2/30\n10.87.16.1\nreached\n");
    });
}

#[test]
fn a_network_of_the_callers_is_refused_for_a_link_to_it_and_nothing_is_made() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"ip link add d0 type veth peer name d1; ip addr add 10.9.0.1/24 dev d0; ip addr add fd09::1/64 dev d0
           for ip in 10.9.0.1/24 10.9.0.2/24 10.0.0.7/8 fd09::2/64; do net-link ip=$ip -- echo ran; done
           net-link ip=10.10.0.2/24 -- echo ran
           net-link --lan lab ip=10.9.0.2/24 -- echo ran
           ip -brief link | cut -d " " -f 1 | cut -d @ -f 1 | sort"#,
    );
    let refused = |ip: &str, own: &str| {
        format!(
            "net-link: ip={ip}: the caller has {own}, and this link leads to the caller; choose another network, or add --lan\n"
        )
    };
    let v4 = ["10.9.0.1/24", "10.9.0.2/24", "10.0.0.7/8"].map(|ip| refused(ip, "10.9.0.1/24")).concat();
    run.success().stdout("ran\nran\nd0\nd1\nlo\n").stderr(v4 + &refused("fd09::2/64", "fd09::1/64"));
}

#[test]
fn a_link_that_is_told_no_address_has_one_that_no_route_of_the_callers_leads_to() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"address='ip -4 -brief address show dev eth0'
           ip link add d0 type veth peer name d1; ip link set d0 up; ip link set d1 up; ip addr add 192.0.2.1/24 dev d0
           ip route add default via 192.0.2.2; ip route add 10.0.0.0/8 via 192.0.2.2
           net-link -- $address | tr -s " " | cut -d " " -f 3
           ip route add 192.168.0.0/16 via 192.0.2.2
           net-link -- $address; echo $?"#,
    );
    run.success().stdout("192.168.87.2/30\n125\n").stderr(
        "net-link: ip: the caller's networks leave no room in 10.87.0.0/16, nor in 192.168.87.0/24; name one that is free: ip=ADDRESS/PREFIX\n",
    );
}
