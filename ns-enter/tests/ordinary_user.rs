//! What the kernel forbids an ordinary user is said with its remedy, and nothing is run.

use chain_testing::Scene;

#[test]
fn new_namespaces_need_root() {
    let scene = Scene::new();
    for kinds in ["uts", "pid", "uts,ipc"] {
        let run =
            scene.script_as_user(&format!("ns-enter {kinds} -- echo ran")).assert().code(125).stdout("");
        let output = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(
            output.starts_with("ns-enter: new ")
                && output.ends_with(": Operation not permitted; run as root\n"),
            "{output}"
        );
        assert_eq!(output.lines().count(), 1);
    }
}

#[test]
fn a_namespace_of_roots_process_cannot_be_joined() {
    let scene = Scene::new();
    let run = scene.script_as_user("ns-enter uts@1 -- echo ran").assert().code(125).stdout("");
    run.stderr("ns-enter: join the uts namespace /proc/1/ns/uts: Permission denied; run as root, or as the owner of that process\n");
}

#[test]
fn ones_own_namespace_is_no_way_around() {
    let scene = Scene::new();
    let run = scene.script_as_user("ns-enter uts@$$ -- echo ran").assert().code(125).stdout("");
    let output = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(output.ends_with(": Operation not permitted; run as root\n"), "{output}");
}
