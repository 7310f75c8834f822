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
    run.stderr("ns-enter: keep the uts namespace on file: a namespace is kept there already; end it with umount(8)\n");
}

#[test]
fn one_file_keeps_one_namespace() {
    let scene = Scene::new();
    let script = "ns-enter mnt -- bash -c 'ns-enter --keep uts=file --keep net=file uts,net -- echo ran; \
                  ns-enter --keep uts=file --keep net=./file uts,net -- echo ran; ls; grep -c $PWD /proc/self/mountinfo'";
    let run = scene.script(script).assert().stdout("0\n");
    run.stderr(
        "ns-enter: --keep net=file: the file is given twice\n\
         ns-enter: keep the net namespace on ./file: a namespace is kept there already; end it with umount(8)\n",
    );
}

#[test]
fn a_launch_that_is_ended_before_its_command_keeps_nothing() {
    let scene = Scene::new();
    let script = "ns-enter mnt -- bash -c 'mkfifo go info; \
                  ns-enter --keep uts=file --info-fd 4 --wait-fd 3 uts -- echo ran 3<>go 4>info & box=$!; \
                  read -r line <info; kill $box; wait $box; echo $?; ls; grep -c $PWD/file /proc/self/mountinfo'";
    scene.script(script).assert().stdout("143\ngo\ninfo\n0\n");
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let scene = Scene::new();
    let script = "ns-enter mnt -- bash -c 'touch real; ln -s real link; ns-enter --keep uts=link uts -- echo ran; \
                  [ -L link ] && grep -c $PWD /proc/self/mountinfo'";
    let run = scene.script(script).assert().stdout("0\n");
    run.stderr("ns-enter: keep the uts namespace on link: it is a symbolic link; name the file itself\n");
}

#[test]
fn what_proc_shows_must_be_the_own_processes() {
    let scene = Scene::new();
    let script = "ns-enter pid,mnt -- ns-enter --no-proc pid,mnt -- bash -c 'for words in \"--keep net=file net\" \"--info-fd 1 net\" user=0:0:10; do \
                  ns-enter $words -- echo ran; echo $?; done; ls'";
    let run = scene.script(script).assert().success().stdout("125\n125\n125\n");
    let line = "ns-enter: find the child in /proc: /proc is missing, or is that of another pid namespace; \
                mount one of this: where the pid namespace was made, add mnt\n";
    run.stderr(line.repeat(3));
}

#[test]
fn a_kept_pid_namespace_ends_with_its_process_1_and_that_is_said() {
    let scene = Scene::new();
    let script = "ns-enter mnt -- bash -c 'ns-enter --keep pid=file pid -- true; ns-enter pid@file -- echo ran; umount file'";
    let run = scene.script(script).assert().success().stdout("");
    run.stderr("ns-enter: make a child: Cannot allocate memory; process 1 of the pid namespace has ended, so no other can start in it\n");
}
