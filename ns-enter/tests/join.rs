//! Joining namespaces that exist.

use chain_testing::{Holder, Scene};

#[test]
fn the_host_name_of_another_namespace_is_seen_by_its_pid() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "ns-enter uts=joined --");
    let target = format!("uts@{}", holder.pid);
    scene.tool("ns-enter").args([&target, "--", "hostname"]).assert().success().stdout("joined\n");
}

#[test]
fn a_namespace_is_joined_by_its_file_and_mixed_with_new_ones() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "ns-enter uts=kept --");
    let target = format!("uts@/proc/{}/ns/uts,pid,mnt", holder.pid);
    let run = scene
        .tool("ns-enter")
        .args([&target, "--", "bash", "-c", "hostname; echo $$; echo /proc/[0-9]*"])
        .assert();
    run.success().stdout("kept\n1\n/proc/1\n");
}

#[test]
fn a_pid_namespace_is_joined_by_a_child() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "ns-enter pid,mnt --");
    let target = format!("pid@{0},mnt@{0}", holder.pid);
    let run = scene
        .tool("ns-enter")
        .args([&target, "--", "bash", "-c", "echo $$; echo /proc/[0-9]*"])
        .assert()
        .success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let (own, all) = output.split_once('\n').expect("two lines");
    assert_ne!(own, "1");
    assert_eq!(all.trim(), format!("/proc/1 /proc/{own}"));
}

#[test]
fn a_file_that_is_no_namespace_of_the_kind_is_refused() {
    let scene = Scene::new();
    let script = "mkfifo fifo; for file in /proc/self/ns/uts fifo /etc/passwd none; do \
                  ns-enter -n net@$file -- true; echo $?; done";
    let no_namespace =
        "it is no namespace; name a file of /proc/PID/ns, or one that a namespace is kept on\n";
    let run = scene.script(script).assert().stdout("125\n125\n125\n125\n");
    run.stderr(format!(
        "ns-enter: join the net namespace /proc/self/ns/uts: it is a uts namespace\n\
         ns-enter: join the net namespace fifo: {no_namespace}\
         ns-enter: join the net namespace /etc/passwd: {no_namespace}\
         ns-enter: join the net namespace none: No such file or directory\n"
    ));
}

#[test]
fn who_has_no_name_in_a_box_becomes_its_root_whatever_its_proc_shows() {
    let scene = Scene::new();
    let holder = Holder::new(&scene, "ns-enter user=0:100000:10,pid,mnt --");
    let pid = holder.pid;
    for target in
        [format!("all@{pid}"), format!("user@{pid},mnt@{pid}"), format!("mnt@{pid},pid@{pid},user@{pid}")]
    {
        let run = scene.tool("ns-enter").args([&target, "--", "bash", "-c", "echo $UID $(id -g)"]).assert();
        run.success().stdout("0 0\n");
    }
}

#[test]
fn the_root_of_a_process_is_taken_though_it_has_no_namespace_of_its_own() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    let script = format!(
        "coproc chroot {} sh -c 'echo in; cat'; read -u ${{COPROC[0]}} line; \
         ns-enter --root all@$COPROC_PID -- ls -d /bin/busybox /usr; kill $COPROC_PID",
        root.display()
    );
    scene.script(&script).assert().stdout("/bin/busybox\n");
}

#[test]
fn a_process_that_has_ended_is_named() {
    let scene = Scene::new();
    let mut ended = scene.command("true").spawn().expect("true");
    ended.wait().expect("ends");
    let run = scene.tool("ns-enter").args([&format!("uts@{}", ended.id()), "--", "true"]).assert().code(125);
    let pid = ended.id();
    run.stderr(format!(
        "ns-enter: join process {pid}: No such process; it has ended, or is not seen from here\n"
    ));
}

#[test]
fn the_environment_of_a_process_is_taken_with_its_path() {
    let scene = Scene::new();
    let bin = scene.tree("there", &[("only-there", "#!/bin/bash\necho $A, $B, $C\n")]);
    let only = bin.join("only-there");
    std::fs::set_permissions(only, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let script = "export C=c; coproc env -i PATH=$PWD/there A=a=b B='c d' /usr/bin/tail -f /dev/null; \
                  while [ $(cat /proc/$COPROC_PID/comm) != tail ]; do :; done; \
                  for kinds in uts pid; do ns-enter --env-of $COPROC_PID $kinds -- only-there; done; kill $COPROC_PID";
    scene.script(script).assert().stdout("a=b, c d,\na=b, c d,\n");
    let run = scene.tool("ns-enter").args(["--env-of", "99999999", "uts", "--", "true"]).assert().code(125);
    run.stderr("ns-enter: take the environment of process 99999999: No such process; it has ended, or is not seen from here\n");
}
