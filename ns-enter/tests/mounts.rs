//! New mount namespaces: what goes over their border, and where their proc is.

use chain_testing::Scene;

/// Enters a new mount namespace by the words of its command line, and tells what of two mounts, one that
/// was shared before and one that was not, is in it, and which later ones cross the border.
const CROSS: &str = r#"
set -e
kind() { grep " $PWD/$1 " /proc/self/mountinfo | cut -d" " -f7 | sed "s/:.*//; s/^-$/private/"; }
inside() {
    mount -t tmpfs none shared/inside
    echo mounted
    read line
    echo inside they are $(kind shared) and $(kind private)
    ! mountpoint -q shared/outside || echo seen inside
}
[ $1 != inside ] || { inside; exit; }
mkdir shared private
mount -t tmpfs none shared
mount -t tmpfs none private
mount --make-shared shared
mkdir shared/inside shared/outside
coproc box { "$@" -- bash cross inside; }
exec 3<&${box[0]} 4>&${box[1]}
read line <&3
mount -t tmpfs none shared/outside
! mountpoint -q shared/inside || echo seen outside
echo go >&4
cat <&3
wait
umount -R shared private
rmdir shared private
"#;

#[test]
fn propagation_says_which_mounts_cross_the_border() {
    let scene = Scene::new();
    std::fs::write(scene.path("cross"), CROSS).expect("write");
    for (option, expected) in [
        ("", "inside they are private and private\n"),
        ("--propagation private", "inside they are private and private\n"),
        ("--propagation slave", "inside they are master and private\n seen inside\n"),
        ("--propagation shared", "seen outside\n inside they are shared and shared\n seen inside\n"),
        ("--propagation unchanged", "seen outside\n inside they are shared and private\n seen inside\n"),
    ] {
        let expected = expected.replace("\n ", "\n");
        for way in ["ns-enter", "unshare"] {
            let kind = if way == "ns-enter" { "mnt" } else { "--mount" };
            // In a mount namespace of the test's own.
            let script = format!("ns-enter mnt -- bash cross {way} {option} {kind}");
            scene.script(&script).assert().success().stdout(expected.clone()).stderr("");
        }
    }
}

#[test]
fn propagation_needs_a_new_mount_namespace() {
    let scene = Scene::new();
    let run = scene.script("ns-enter --propagation slave uts -- echo ran").assert().code(125).stdout("");
    run.stderr("ns-enter: --propagation: there is no new mnt namespace; add mnt\n");
}

#[test]
fn the_new_proc_is_where_it_was_asked_for_and_the_old_one_stays() {
    let scene = Scene::new();
    scene.tree("proc", &[]);
    let look = "readlink /proc/self/ns/pid proc/self/ns/pid | uniq | wc -l; echo proc/[0-9]*; \
                [ -e /proc/self/mountinfo ] && [ ! /proc/1 -ef proc/1 ] && echo the old one";
    let run = scene.script(&format!("ns-enter --proc proc pid,mnt -- bash -c '{look}'")).assert().success();
    // The first line counts the namespaces that the two name: one, by different pids.
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(output.starts_with("1\nproc/1") && output.ends_with("\nthe old one\n"), "{output}");
}

#[test]
fn a_place_for_proc_that_is_not_there_is_named() {
    let scene = Scene::new();
    scene.tree("files", &[("plain", "text\n")]);
    for (place, why) in [("missing", "No such file or directory"), ("files/plain", "Not a directory")] {
        let run = scene.script(&format!("ns-enter --proc {place} pid,mnt -- echo ran")).assert();
        run.code(125).stdout("").stderr(format!("ns-enter: mount a new proc on {place}: {why}\n"));
    }
}

#[test]
fn without_a_new_proc_the_old_one_is_seen() {
    let scene = Scene::new();
    let (own, look) =
        (std::process::id(), "echo $$; [ -e /proc/$0/comm ] && [ $(readlink /proc/self) != 1 ]");
    let script = format!("ns-enter --no-proc pid,mnt -- bash -c '{look} && echo outside' {own}");
    scene.script(&script).assert().success().stdout("1\noutside\n");
}
