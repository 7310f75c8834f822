//! What the kernel forbids an ordinary user is said with its remedy, and nothing is run.

use chain_testing::Scene;

#[test]
fn new_namespaces_need_root_or_a_new_user_namespace() {
    let scene = Scene::new();
    for kinds in ["uts", "pid", "uts,ipc"] {
        let run =
            scene.script_as_user(&format!("ns-enter {kinds} -- echo ran")).assert().code(125).stdout("");
        let output = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        let advice =
            format!("Operation not permitted; run as root, or add user: ns-enter user,{kinds} -- ...\n");
        assert!(output.starts_with("ns-enter: new ") && output.ends_with(&advice), "{output}");
        assert_eq!(output.lines().count(), 1);
        scene
            .script_as_user(&format!("ns-enter user,{kinds} -- echo ran"))
            .assert()
            .success()
            .stdout("ran\n");
    }
}

#[test]
fn a_namespace_of_roots_process_cannot_be_joined() {
    let scene = Scene::new();
    let run = scene.script_as_user("ns-enter uts@1 -- echo ran").assert().code(125).stdout("");
    run.stderr("ns-enter: join the uts namespace of process 1: Operation not permitted; run as root, or join its user namespace too, as in user@PID\n");
}

#[test]
fn ones_own_namespace_is_no_way_around() {
    let scene = Scene::new();
    let run = scene.script_as_user("ns-enter uts@$$ -- echo ran").assert().code(125).stdout("");
    let output = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(output.contains(": Operation not permitted; run as root"), "{output}");
}
