//! Capabilities: what is left of them in the command, and that nothing brings them back.

use chain_testing::Scene;

/// Prints the five sets, the securebits' effect and no_new_privs, as status(5) has them.
const STATUS: &str = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status | tr -d '\\t' | tr '\\n' ' '";

const NONE: &str = "0000000000000000";
/// CAP_CHOWN and CAP_NET_BIND_SERVICE.
const TWO: &str = "0000000000000401";

fn sets(inheritable: &str, permitted: &str, effective: &str, bounding: &str, ambient: &str) -> String {
    format!("CapInh:{inheritable} CapPrm:{permitted} CapEff:{effective} CapBnd:{bounding} CapAmb:{ambient} ")
}

#[test]
fn root_keeps_none_in_any_set_unless_it_is_named() {
    let scene = Scene::new();
    let run = scene.tool("priv-drop").args(["--", "sh", "-c", STATUS]).assert().success();
    run.stdout(sets(NONE, NONE, NONE, NONE, NONE) + "NoNewPrivs:0 ");
}

#[test]
fn what_is_named_is_kept_over_the_change_of_user_and_every_exec() {
    let scene = Scene::new();
    for user in ["0", "65534:65534"] {
        let args = ["--user", user, "--caps", "chown,cap_net_bind_service", "--", "sh", "-c", STATUS];
        let run = scene.tool("priv-drop").args(args).assert().success();
        run.stdout(sets(TWO, TWO, TWO, TWO, TWO) + "NoNewPrivs:0 ");
    }
}

#[test]
fn a_kept_capability_can_be_used_by_an_ordinary_user() {
    let scene = Scene::new();
    let script = |options: &str| {
        scene.script(&format!("touch file; priv-drop --user 7 {options} -- chown 8 file && stat -c %u file"))
    };
    script("").assert().failure().stdout("");
    script("--caps chown").assert().success().stdout("8\n");
}

#[test]
fn all_leaves_root_what_it_has() {
    let scene = Scene::new();
    let has = "grep -E '^Cap(Prm|Bnd)' /proc/self/status";
    let before = scene.script(has).assert().success().get_output().stdout.clone();
    scene.tool("priv-drop").args(["--caps", "all", "--", "sh", "-c", has]).assert().success().stdout(before);
}

#[test]
fn what_the_caller_does_not_have_cannot_be_kept() {
    let scene = Scene::new();
    let run = scene.script_as_user("priv-drop --caps chown -- echo ran").assert().code(125).stdout("");
    run.stderr("priv-drop: keep chown: the caller does not have it; run as root, or leave it out\n");
}

#[test]
fn an_ordinary_user_cannot_change_the_bounding_set_so_no_new_privs_is_set() {
    let scene = Scene::new();
    let run = scene.script_as_user(&format!("priv-drop -- sh -c {STATUS:?}")).assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(output.contains("NoNewPrivs:1 ") && !output.contains(&format!("CapBnd:{NONE}")), "{output}");
}

/// A setuid copy of id(1), run by an ordinary user behind `tool`.
fn setuid(scene: &Scene, tool: &str) -> String {
    let script = format!(
        "cp /usr/bin/id . && chmod 4755 id && {tool} sh -c \"./id -u; grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status\" | tr -s '\\n\\t' ' '"
    );
    let run = scene.script(&script).assert().success();
    String::from_utf8_lossy(&run.get_output().stdout).into_owned()
}

#[test]
fn a_setuid_root_program_gives_no_user_with_no_new_privs_and_no_capability_without() {
    let scene = Scene::new();
    assert!(
        setuid(&scene, "setpriv --reuid 7 --clear-groups --").starts_with("0 "),
        "it works without the guard"
    );
    let nothing = format!("CapPrm: {NONE} CapEff: {NONE} CapBnd: {NONE} ");
    assert_eq!(setuid(&scene, "priv-drop --user 7 --no-new-privs --"), format!("7 {nothing}"));
    assert_eq!(setuid(&scene, "priv-drop --user 7 --"), format!("0 {nothing}"), "root in name only");
    assert_eq!(setuid(&scene, "priv-drop --user 7 --locked --"), format!("0 {nothing}"), "root in name only");
}

#[test]
fn a_setuid_root_program_gets_no_capability() {
    let scene = Scene::new();
    let script = |tool: &str| {
        let script = format!(
            "cp /usr/bin/cat cat; chmod 4755 cat; {tool} ./cat /proc/self/status | grep -E '^CapEff' | cut -f 2"
        );
        let run = scene.script(&script).assert().success();
        String::from_utf8_lossy(&run.get_output().stdout).trim().to_owned()
    };
    assert_ne!(script("setpriv --reuid 7 --clear-groups --"), NONE, "it works without the guard");
    assert_eq!(script("priv-drop --user 7 --"), NONE);
    assert_eq!(script("priv-drop --user 7 --caps chown --"), "0000000000000001", "what was kept, no more");
    assert_eq!(script("priv-drop --user 7 --caps chown --locked --"), NONE, "root's number means nothing");
}

#[test]
fn locked_securebits_cannot_be_undone() {
    let scene = Scene::new();
    let bits = |options: &[&str], change: &str| {
        let set = ["--caps", "setpcap", "--", "capsh", change, "--", "-c", "true"];
        scene.tool("priv-drop").args(options).args(set).assert()
    };
    // All that --locked sets, then each pair of a bit and its lock the other way round.
    bits(&["--locked"], "--secbits=0xef").success();
    for change in ["--secbits=0", "--secbits=0xec", "--secbits=0xe3", "--secbits=0xff", "--secbits=0x2f"] {
        bits(&[], change).success();
        bits(&["--locked"], change).failure();
    }
}

#[test]
fn locked_without_the_right_to_lock_fails() {
    let scene = Scene::new();
    let run = scene.script_as_user("priv-drop --locked -- echo ran").assert().code(125).stdout("");
    run.stderr(
        "priv-drop: lock the securebits: Operation not permitted; \
         CAP_SETPCAP is needed: run as root, or leave out --locked\n",
    );
}

#[test]
fn root_of_a_user_namespace_keeps_and_drops_its_own() {
    let scene = Scene::new();
    let script = format!("ns-enter user -- priv-drop --caps chown,net_bind_service -- sh -c {STATUS:?}");
    let run = scene.script_as_user(&script).assert().success();
    run.stdout(sets(TWO, TWO, TWO, TWO, TWO) + "NoNewPrivs:0 ");
}
