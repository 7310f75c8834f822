//! A box in a box.

use chain_testing::Scene;

/// The program is copied, by root first, to where each user finds it. What runs in the outer box shows that all around it is right.
fn nest(scene: &Scene, is_root: bool, outer: &str, inner: &str) -> String {
    let script = format!(
        "[ -e tool ] || cp $(command -v box-run) tool; exec box-run --ro $PWD --chdir / {outer} -- $PWD/tool --chdir / {inner} -- /bin/echo ran 2>&1"
    );
    let mut script = if is_root { scene.script(&script) } else { scene.script_as_user(&script) };
    let output = script.output().expect("bash");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_box_in_a_box_says_what_the_outer_one_must_let_it() {
    let scene = Scene::new();
    std::fs::set_permissions(scene.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("chmod");
    let no_group = "box-run: --pids 1024: no group may be made, and the kernel counts no processes of root by themselves; \
                    make the cgroup of this process one that may be written, or add --pids max: the limits of this process are the box's too\n";
    assert_eq!(nest(&scene, true, "", ""), no_group);
    let filtered = "box-run: new user, uts, pid, mnt, net, ipc namespaces: Operation not permitted; \
                    the caller has a seccomp filter, which may forbid it; if that is a box's, it needs --seccomp none --proc-full\n";
    assert_eq!(nest(&scene, true, "", "--pids max"), filtered);
    assert_eq!(nest(&scene, false, "", ""), filtered);
    for is_root in [true, false] {
        assert_eq!(nest(&scene, is_root, "--seccomp none --proc-full", "--pids max"), "ran\n", "{is_root}");
    }
}
