//! Landlock: what the rules leave of files, ports, and processes outside.

mod attack;

use std::{
    fs,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    process,
};

use attack::{answer, compile};
use chain_testing::{Scene, kernel_is_from, skip};

/// What this script says behind priv-drop with these options, and what is there for all programs.
fn said(scene: &Scene, rules: &str, script: &str) -> String {
    let rules = format!("{rules},exec:/usr,exec:/lib,exec:/lib64,exec:/bin,rw:/dev/null");
    let run = scene.tool("priv-drop").args(["--landlock", &rules, "--", "bash", "-c", script]).assert();
    String::from_utf8_lossy(&run.get_output().stdout).into_owned()
}

/// A scene on a kernel that has all that the rules are made of.
fn scene() -> Option<Scene> {
    if !kernel_is_from((6, 12)) {
        skip("the rules need Linux 6.12");
        return None;
    }
    Some(Scene::new())
}

#[test]
fn what_no_rule_names_cannot_be_read_by_root_with_all_capabilities() {
    let Some(scene) = scene() else { return };
    scene.tree("secret", &[("file", "secret\n")]);
    scene.tree("data", &[("file", "data\n")]);
    let script = "cat data/file secret/file; ls secret; true";
    let all = ["--caps", "all", "--landlock", "ro:/", "--", "bash", "-c", script];
    scene.tool("priv-drop").args(all).assert().success().stdout("data\nsecret\nfile\n");
    assert_eq!(said(&scene, "ro:data", script), "data\n");
}

#[test]
fn read_only_is_read_list_and_execute_and_no_change_at_all() {
    let Some(scene) = scene() else { return };
    let data = scene.tree("data", &[("file", "data\n")]);
    let script = "cd data; cat file; ls; cp /bin/true here || echo no new file; echo x >>file || echo no write; \
                  truncate -s 0 file || echo no truncation; rm file || echo no removal; mv file other || echo no move; \
                  ln file link || echo no link; mkdir d || echo no directory; ln -s a b || echo no symlink";
    assert_eq!(
        said(&scene, "ro:data", script),
        "data\nfile\nno new file\nno write\nno truncation\nno removal\nno move\nno link\nno directory\nno symlink\n"
    );
    assert_eq!(fs::read_to_string(data.join("file")).expect("file"), "data\n");
}

#[test]
fn exec_reads_and_runs_a_file_and_lists_nothing() {
    let Some(scene) = scene() else { return };
    scene.tree("data", &[("file", "data\n")]);
    fs::copy("/bin/busybox", scene.path("data/busybox")).expect("copy");
    let script =
        "cat data/file; data/busybox echo ran; ls data || echo no list; echo x >>data/file || echo no write";
    assert_eq!(said(&scene, "exec:data", script), "data\nran\nno list\nno write\n");
    assert_eq!(said(&scene, "exec:data/busybox", script), "ran\nno list\nno write\n", "a single file");
}

#[test]
fn read_write_makes_moves_and_removes_within_but_makes_no_device_and_moves_nothing_out() {
    let Some(scene) = scene() else { return };
    scene.tree("data/a", &[("file", "data\n")]);
    scene.tree("other", &[]);
    let script = "cd data; echo x >>a/file; mkdir b; mv a/file b/moved; truncate -s 1 b/moved; cat b/moved; ln b/moved a; \
                  rm b/moved; mkfifo fifo; mv a/moved ../other || echo not out; mknod null c 1 3 || echo no device; ls";
    let all = format!("priv-drop --caps all --landlock rw:data,ro:/ -- bash -c '{script}'");
    scene.script(&all).assert().success().stdout("dnot out\nno device\na\nb\nfifo\n");
}

#[test]
fn the_innermost_rule_adds_to_those_above() {
    let Some(scene) = scene() else { return };
    scene.tree("data/in", &[]);
    let script = "touch data/x || echo no; touch data/in/x && echo yes";
    assert_eq!(said(&scene, "ro:data,rw:data/in", script), "no\nyes\n");
}

#[test]
fn a_path_may_hold_commas_and_a_link_of_proc_is_not_followed() {
    let Some(scene) = scene() else { return };
    scene.tree("a,b\\c:d", &[("file", "data\n")]);
    assert_eq!(said(&scene, r"ro:a\,b\\c:d", r"cat 'a,b\c:d/file'"), "data\n");
    let script = "exec 3<.; priv-drop --keep-fd 3 --landlock ro:/proc/self/fd/3 -- echo ran";
    scene.script(script).assert().code(125).stdout("").stderr(
        "priv-drop: landlock ro:/proc/self/fd/3: Too many levels of symbolic links; \
         a link of /proc is not followed; name the file itself\n",
    );
}

#[test]
fn devices_are_opened_but_not_driven_unless_they_may_be_written() {
    let Some(scene) = scene() else { return };
    compile(&scene);
    assert_eq!(answer(&scene, "priv-drop", "device"), "done");
    // /dev/ptmx itself may be written, and what it leads to on devpts is read-only.
    assert_eq!(answer(&scene, "priv-drop --landlock ro:/,rw:/dev", "device"), "done");
    assert_ne!(answer(&scene, "priv-drop --landlock ro:/", "device"), "done");
}

#[test]
fn ports_are_those_that_are_named_and_without_a_rule_all() {
    let Some(scene) = scene() else { return };
    compile(&scene);
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("address").port();
    let connect = format!("connect {port}");
    let free = {
        let other = TcpListener::bind("127.0.0.1:0").expect("a port");
        other.local_addr().expect("address").port()
    };
    let bind = format!("bind {free}");
    for (rules, connected, bound) in [
        ("ro:/", "done", "done"),
        (&*format!("tcp-connect:{port}"), "done", "EACCES"),
        (&*format!("tcp-bind:{free}"), "EACCES", "done"),
        ("tcp-connect:1", "EACCES", "EACCES"),
    ] {
        let tool = format!("priv-drop --landlock {rules}");
        assert_eq!(answer(&scene, &tool, &connect), connected, "{rules}");
        assert_eq!(answer(&scene, &tool, &bind), bound, "{rules}");
    }
}

#[test]
fn nobody_outside_is_traced_or_signalled_or_reached_by_an_abstract_socket() {
    let Some(scene) = scene() else { return };
    compile(&scene);
    let name = format!("chainbox-{}", process::id());
    let address = SocketAddr::from_abstract_name(name).expect("address");
    let _server = UnixListener::bind_addr(&address).expect("socket");
    // As an ordinary user, and the other process is of the same.
    let mut other = scene.command("priv-drop");
    let mut other = other.args(["--user", "7", "--", "sleep", "100"]).spawn().expect("sleep");
    let user = "priv-drop --user 7";
    chain_testing::wait_until("it sleeps", || {
        fs::read_to_string(format!("/proc/{}/comm", other.id())).is_ok_and(|comm| comm == "sleep\n")
    });
    for (attack, refused) in [
        (format!("kill {}", other.id()), "EPERM"),
        (format!("ptrace {}", other.id()), "EPERM"),
        (format!("abstract {}", process::id()), "EPERM"),
    ] {
        assert_eq!(answer(&scene, user, &attack), "done", "{attack} works without the guard");
        assert_eq!(answer(&scene, &format!("{user} --landlock ro:/"), &attack), refused, "{attack}");
    }
    other.kill().expect("kill");
    other.wait().expect("wait");
}

#[test]
fn it_works_as_an_ordinary_user_together_with_the_filter() {
    let Some(scene) = scene() else { return };
    let script = "priv-drop --landlock ro:/ --seccomp default -- bash -c \
                  'echo ran; touch /tmp/x || echo no file; unshare --user true || echo no namespace'";
    scene.script_as_user(script).assert().success().stdout("ran\nno file\nno namespace\n");
}

#[test]
fn what_is_in_memory_only_is_not_executed_behind_a_filter() {
    let Some(scene) = scene() else { return };
    // A copy of /bin/busybox, which no rule lets be executed, in a file without a name.
    let run = "perl -e 'my $name = \"x\"; my $fd = syscall(319, $name, 0); $fd >= 0 or print(\"refused\\n\"), exit; \
               open(my $out, \">&=\", $fd); open(my $in, \"<\", \"./busybox\"); local $/; print {$out} readline($in); \
               $out->flush; open(my $program, \"<\", \"/proc/self/fd/$fd\"); close($out); $fd = fileno($program); \
               exec {\"/proc/self/fd/$fd\"} \"echo\", \"worked\"'";
    scene.script("cp /bin/busybox .").assert().success();
    let rules = "ro:/usr,ro:/proc,ro:/lib,ro:/lib64,rw:/dev,rw:busybox";
    let said = |options: &str| {
        let output =
            scene.script(&format!("priv-drop --landlock {rules} {options} -- /usr/bin/{run}")).output();
        String::from_utf8_lossy(&output.expect("perl").stdout).into_owned()
    };
    assert_eq!(said("--seccomp none"), "worked\n");
    for profile in ["default", "strict"] {
        assert_eq!(said(&format!("--seccomp {profile}")), "refused\n", "{profile}");
    }
    // Memory that is shared and not executed is nobody's loss (MFD_NOEXEC_SEAL).
    let share = "priv-drop --landlock ro:/ --seccomp default -- perl -e 'my $name = \"x\"; print syscall(319, $name, 8) > 2 ? \"shared\\n\" : $!'";
    scene.script(share).assert().success().stdout("shared\n");
}

#[test]
fn a_setuid_root_program_stays_within_the_rules() {
    let Some(scene) = scene() else { return };
    scene.script("cp /usr/bin/touch . && chmod 4755 touch && mkdir -m 700 roots").assert().success();
    let touch = |tool: &str, file: &str| scene.script(&format!("{tool} ./touch roots/{file}")).assert();
    touch("setpriv --reuid 7 --clear-groups --", "a").success();
    touch("priv-drop --user 7 --landlock ro:/ --", "b").failure();
    touch("priv-drop --user 7 --caps dac_override --landlock ro:/ --", "c").failure();
}

/// A filter that makes the kernel one without landlock.
const NO_LANDLOCK: &str = r#"{"defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["landlock_create_ruleset"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}"#;

#[test]
fn a_kernel_without_it_is_an_error_or_with_try_said_once() {
    let scene = Scene::new();
    fs::write(scene.path("without.json"), NO_LANDLOCK).expect("write");
    let on_it = |options: &str| {
        scene.script(&format!(
            "priv-drop --seccomp without.json -- priv-drop {options} --landlock ro:/ -- echo ran"
        ))
    };
    let lacks = "landlock: the kernel cannot restrict use of files, moving files between directories, truncating \
                 files, ioctl on devices, signals and abstract sockets to the outside; ";
    on_it("").assert().code(125).stdout("").stderr(format!(
        "priv-drop: {lacks}Linux 6.12 with CONFIG_SECURITY_LANDLOCK and lsm=landlock can; or --try-landlock\n"
    ));
    on_it("--try-landlock")
        .assert()
        .success()
        .stdout("ran\n")
        .stderr(format!("priv-drop: {lacks}the command is not kept from it\n"));
}

#[test]
fn a_command_that_no_rule_lets_run_is_not_run() {
    let Some(scene) = scene() else { return };
    scene.tree(".", &[("script", "#!/bin/sh\n")]);
    let rule = format!("exec:{}", scene.dir().display());
    // The second is a rule for the script, but not for its interpreter.
    for (rule, command) in [("ro:/etc", "true"), (rule.as_str(), "./script")] {
        let script = format!("chmod +x script; exec priv-drop --landlock {rule} -- {command}");
        scene.script(&script).assert().code(126).stdout("").stderr(format!(
            "priv-drop: run {command}: Permission denied; its mode lets it, so a rule forbids it, or its interpreter or \
             dynamic loader: those of --landlock let run what is below exec: and ro:\n"
        ));
    }
}
