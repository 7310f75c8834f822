//! Namespaces that are kept on files.

use chain_testing::Scene;

#[test]
fn a_kept_namespace_outlives_its_processes_and_is_joined_by_its_file() {
    let scene = Scene::new();
    // In a mount namespace of the test's own.
    let script = "ns-enter mnt -- bash -ec '
        for kind in uts net ipc cgroup user time pid; do
            ns-enter --keep $kind=./$kind $kind -- readlink /proc/self/ns/$kind > made
            [ $kind = pid ] || ns-enter $kind@./$kind -- readlink /proc/self/ns/$kind > joined
            [ $kind = pid ] || cmp made joined
            umount $kind
            [ ! -s $kind ] && rm $kind
        done; echo kept'";
    scene.script(script).assert().success().stdout("kept\n");
}

#[test]
fn names_of_ip_netns_work_both_ways() {
    let scene = Scene::new();
    let script = "ns-enter mnt -- bash -ec '
        mount -t tmpfs none /run; mkdir /run/netns; mount --bind /run/netns /run/netns; mount --make-shared /run/netns
        ns-enter --keep net=/run/netns/ours net -- true; ip netns exec ours ip -o link show lo | grep -c UP
        ip netns add theirs; ns-enter net@/run/netns/theirs -- ip -o link | grep -c LOOPBACK; ip netns del theirs; ip netns del ours'";
    scene.script(script).assert().success().stdout("1\n1\n");
}

#[test]
fn a_launch_that_fails_keeps_nothing() {
    let scene = Scene::new();
    let script = "ns-enter mnt -- bash -c 'ns-enter --keep uts=file uts -- no-such-command; echo $?; ls; grep -c $PWD /proc/self/mountinfo'";
    scene.script(script).assert().stdout("127\n0\n");
}

#[test]
fn a_file_that_keeps_one_already_is_refused() {
    let scene = Scene::new();
    let script = "ns-enter mnt -- bash -c 'ns-enter --keep uts=file uts -- true; ns-enter --keep uts=file uts -- echo ran'";
    let run = scene.script(script).assert().code(125).stdout("");
    run.stderr("ns-enter: keep the uts namespace on file: a namespace is kept there already; end it with umount file\n");
}
