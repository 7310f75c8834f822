//! Boxes of a LAN find each other by name, as the C library's resolver looks for it.

mod lab;

use chain_testing::{Scene, slowness};
use lab::{Lab, script};

/// A box that is asked for names by `ask NAME`, which says the addresses that it finds.
const ASKED: &str = r#"
    mkfifo asks answers
    begin --lan lab name=client ip=10.9.0.1/24 ip=fd00::1/64 -- bash -c '
        echo ready; while read -r who; do getent ahosts "$who" | cut -d " " -f 1 | uniq; echo .; done <asks >answers'
    exec 3>asks 4<answers
    ask() { echo "$1" >&3; while read -r <&4 && [[ $REPLY != . ]]; do echo "$1 is $REPLY"; done; }
    gone() { while net-link --set "lab/$1" up 2>/dev/null; do :; done; }
"#;

#[test]
fn boxes_find_each_other_by_name_and_miss_who_has_gone() {
    Lab::each(|lab| {
        let run = lab.script(&format!(
            r#"{ASKED}
               ask web; ask client
               begin --lan lab name=web ip=10.9.0.2/24 ip=fd00::2/64 -- bash -c 'getent hosts client >found; echo ready; exec sleep 60'
               tr -s " " <found
               begin --lan lab name=db -- bash -c 'echo ready; exec sleep 60'
               ask web; ask WEB; ask db
               kill -KILL "${{boxes[1]}}"; unset 'boxes[1]'; gone web; ask web; ask db
               begin --lan lab name=web ip=10.9.0.4/24 -- bash -c 'echo ready; exec sleep 60'; ask web
               exec 3>&-; finish"#
        ));
        run.success().stderr("").stdout(
            "client is fd00::1\nclient is 10.9.0.1\nfd00::1 client\nweb is fd00::2\nweb is 10.9.0.2\nWEB is fd00::2\nWEB is 10.9.0.2\n\
             db is 10.86.0.1\ndb is 10.86.0.1\nweb is 10.9.0.4\n",
        );
    });
}

#[test]
fn a_name_is_one_boxs_whatever_its_capitals() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"begin --lan lab name=web -- bash -c 'echo ready; exec sleep 60'
           net-link --lan lab name=Web -- true 2>&1 | sed "s/[0-9]*$/N/"
           finish"#,
    );
    run.success().stdout("net-link: Web: another box of the LAN has it; its supervisor is process N\n");
}

#[test]
fn boxes_in_user_namespaces_of_their_own_find_each_other() {
    Lab::each(|lab| {
        let run = lab.script(
            r#"mkfifo told
           ns-enter user -- net-link --lan lab name=web ip=10.9.0.1/24 -- bash -c 'echo >told; exec sleep 60' &
           read -r <told
           ns-enter user -- net-link --lan lab name=client -- getent hosts web | tr -s " "
           kill $!; wait"#,
        );
        run.success().stdout("10.9.0.1 web\n").stderr("");
    });
}

#[test]
fn a_root_of_its_own_has_the_names_too_and_those_that_come_later() {
    Lab::each(|lab| {
        lab.rootfs("root");
        for tools in [
            "ns-enter pid,mnt -- root-enter --net-files root --",
            "box-run --allow-net --root root --net-files --",
            // The host's root, without what is private in it.
            "box-run --allow-net --chdir / --",
        ] {
            let run = lab.script(&format!(
                r#"rm -f go; mkfifo go
                   exec 3< <(exec net-link --lan lab name=client ip=10.9.0.1/24 -- {tools} sh -c '
                       echo ready; read -r go; grep -o "^10[^ ]* [a-z]*" /etc/hosts; echo x 2>/dev/null >/etc/hosts; exit 0' <go)
                   exec 4>go
                   read -r <&3
                   begin --lan lab name=web ip=10.9.0.2/24 -- bash -c 'echo ready; exec sleep 60'
                   echo >&4; cat <&3; finish"#
            ));
            run.success().stderr("").stdout("10.9.0.1 client\n10.9.0.2 web\n");
        }
    });
}

#[test]
fn a_crowd_knows_each_other() {
    let scene = Scene::new();
    let count = if slowness() > 1 { 20 } else { 100 };
    let run = script(
        &scene,
        &format!(
            r#"begin --lan lab name=first -- bash -c 'echo ready; exec sleep 60'
               for box in {{2..{count}}}; do begin --lan lab name=box$box -- bash -c 'echo ready; exec sleep 60'; done
               for pid in "${{boxes[0]}}" "${{boxes[-1]}}"; do
                   grep -c "^10.86.0.*[a-z]" "/proc/$(pgrep -x -P "$pid" sleep)/root/etc/hosts"
               done
               kill -KILL "${{boxes[@]}}"
               while net-link --show lab 2>/dev/null >&2; do :; done"#
        ),
    );
    run.success().stdout(format!("{count}\n{count}\n"));
}

#[test]
fn who_has_ended_that_held_the_lan_leaves_the_names_as_they_were() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"mkfifo go
           begin --lan lab name=web ip=10.9.0.1/24 -- bash -c 'echo ready; read -r <go; getent hosts web | tr -s " " >&2' 2>said
           kill -KILL "$(pgrep -x -P "${boxes[0]}" net-link-lan)"
           echo >go; while [[ -e /proc/${boxes[0]} ]]; do :; done; grep web said"#,
    );
    run.success().stdout("10.9.0.1 web\n");
}

#[test]
fn the_hosts_own_file_and_mounts_stay_as_they_are_if_that_is_asked() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r"readlink /proc/self/ns/mnt >ours
           net-link --lan lab --no-hosts name=web -- bash -c 'readlink /proc/self/ns/mnt; cat /etc/hosts' | diff - <(cat ours /etc/hosts)
           net-link -- readlink /proc/self/ns/mnt | diff - ours
           net-link --lan lab name=web -- readlink /proc/self/ns/mnt | cmp -s - ours || echo another",
    );
    run.success().stdout("another\n").stderr("");
}

#[test]
fn a_host_without_such_a_file_is_told_of() {
    let scene = Scene::new();
    let run = script(
        &scene,
        r#"ns-enter mnt -- bash -c 'mount -t tmpfs none /etc; net-link --lan lab -- echo ran; echo $?
               net-link --lan lab --no-hosts -- echo ran
               touch /etc/real; ln -s real /etc/hosts; net-link --lan lab name=web ip=10.9.0.1/24 -- grep -o "^10[^ ]* web" /etc/real
               [[ ! -s /etc/real ]] && echo untouched'"#,
    );
    run.success().stdout("125\nran\n10.9.0.1 web\nuntouched\n").stderr(
        "net-link: read /etc/hosts: No such file or directory; the names of boxes are told there; make an empty \
         one, or add --no-hosts\n",
    );
}
