//! Options in one word: presets and files.

use chain_testing::Scene;

fn said(scene: &Scene, script: &str) -> String {
    let output = scene.script(script).output().expect("bash");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_file_stands_for_what_it_was_printed_of() {
    let scene = Scene::new();
    scene.rootfs("root");
    for options in [
        "--root root --tmp --mem 64M --cpu 0.5 --pids 10 --hostname web --env A=b --env C=d -- sh -c 'echo $A'",
        "--root root --tmp=4M --tmpfs /a --bind root:/a/b --symlink c:/d --net-files --tmpfs /e:mode=700,size=4K --cgroup -- true",
        "--lower root --root root --allow-net --no-init --user 7:8 --groups 1,2 --rlimit core=1M --rlimit nofile=9 -o volatile -- sh",
        "--root root --lan lab --link 'ip=10.9.0.2/24 loss=5%' --link mtu=1300 --link-stat --pcap frames --link-script steps -- sh",
        "--rw . --hide /opt --timeout 5s --report - --seccomp strict --landlock ro:/",
        "--ro . --limit memory.swappiness=10 --oom=-5 --nice=-3 -- echo -- --x",
    ] {
        let script = format!(
            "box-run --print-config {options} >file; \
             diff <(box-run --print {options}) <(box-run --print --config file) && echo same"
        );
        assert_eq!(said(&scene, &script), "same\n", "{options}: {}", said(&scene, "cat file"));
    }
}

#[test]
fn what_is_said_besides_counts() {
    let scene = Scene::new();
    scene.tree(
        ".",
        &[("file", "mem = \"8M\"\npids = 5\nenv = [\"A=file\"]\nnext = [\"echo\", \"from the file\"]\n")],
    );
    let print = said(&scene, "box-run --ro . --print --config file --mem 9M --env A=word -- true");
    assert!(
        print.starts_with("cg-set mem=9M pids=5 -- ") && print.contains("--env=A=file --env=A=word "),
        "{print}"
    );
    assert!(said(&scene, "box-run --ro . --print --config file").ends_with("-- echo 'from the file'\n"));
    assert_eq!(said(&scene, "box-run --ro . --config file"), "from the file\n");
    let later =
        said(&scene, "echo 'mem = \"7M\"' >other; box-run --ro . --print --config file --config other");
    assert!(later.starts_with("cg-set mem=7M pids=5 -- "), "{later}");
}

#[test]
fn a_key_that_is_none_is_an_error() {
    let scene = Scene::new();
    for (lines, error) in [
        ("memory = 5", "line 1: memory: not an option of a box; mem is one, and box-run --help lists all"),
        (
            "mem = 5\n# what\nhostnme = 5",
            "line 3: hostnme: not an option of a box; hostname is one, and box-run --help lists all",
        ),
        ("zzz = 5", "line 1: zzz: not an option of a box; box-run --help lists those that there are"),
        (
            "[limits]\nmem = 5",
            "line 1: limits: not an option of a box; options are not in tables; write lines such as mem = \"64M\"",
        ),
        (
            "tmp = true\nmem 5",
            "line 2: not TOML: key with no value, expected `=`; write lines such as mem = \"64M\"",
        ),
        ("mem = [5]", "line 1: mem: not one value"),
        (
            "tmp = true\nmem = \"64Q\"",
            "line 2: --mem 64Q: not a size; write bytes or a number with K, M, G, T, such as 64M",
        ),
        ("rlimit = [\"core=0\", \"nofile=x\"]", "line 1: --rlimit nofile=x: not a number; write one, or max"),
        ("no-init = 5", "line 1: no-init: not true or false"),
        ("preset = \"grader\"", "line 1: preset: it can only be typed"),
        ("print = true", "line 1: print: it can only be typed"),
        ("next = \"ls\"", "line 1: next: not an array; write such as next = [\"make\", \"test\"]"),
        ("entry = [5]", "line 1: entry: not a table, such as [[entry]]"),
        (
            "[[entry]]\nproc = \"/a\"\n[[entry]]\nbnd = \"/a:/b\"",
            "line 4: bnd: not an option of a box; bind is one, and box-run --help lists all",
        ),
    ] {
        std::fs::write(scene.path("file"), lines).expect("write");
        let seen = said(&scene, "box-run --config file -- echo ran");
        assert_eq!(seen, format!("box-run: --config file: {error}\n"));
    }
}

#[test]
fn each_preset_is_a_list_of_options_and_makes_a_box() {
    let scene = Scene::new();
    scene.rootfs("root");
    for (preset, root, part) in [
        ("grader", "--root root", "cg-set mem=256M cpu=1 pids=64 -- "),
        ("build", "", " --nice=5 "),
        ("service", "--root root --tmp", " --caps=net_bind_service "),
        ("agent", "", "cg-set pids=512 -- "),
    ] {
        let print = said(&scene, &format!("box-run --preset {preset} {root} --print -- true"));
        assert!(print.contains(part), "{print}");
        assert_eq!(
            said(&scene, &format!("box-run --preset {preset} {root} -- echo ran")),
            "ran\n",
            "{preset}"
        );
    }
    let grader =
        said(&scene, "box-run --preset grader --root root -- sh -c 'busybox grep Cap[EB] /proc/self/status'");
    assert_eq!(grader, "CapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n");
    // What is said besides counts here too.
    assert!(
        said(&scene, "box-run --preset grader --root root --mem 64M --print -- true")
            .starts_with("cg-set mem=64M cpu=1 ")
    );
}

#[test]
fn a_preset_gives_no_more_than_the_caller_has() {
    let scene = Scene::new();
    let look = "sh -c 'nice; cat /proc/self/oom_score_adj'";
    let run = |own: &str, options: &str| {
        let script = format!(
            "echo 200 >/proc/self/oom_score_adj; exec nice -n {own} box-run --chdir / {options} -- {look}"
        );
        let mut seen = Vec::new();
        for mut command in [scene.script(&script), scene.script_as_user(&script)] {
            let output = command.output().expect("bash");
            seen.push(String::from_utf8_lossy(&output.stdout).replace('\n', " "));
            seen.push(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        seen
    };
    for (own, options, seen) in [
        ("3", "--preset build --rw /srv", "5 200 "),
        ("10", "--preset build --rw /srv", "10 200 "),
        ("10", "--preset agent --rw /srv --nice 12", "12 200 "),
        ("10", "--preset service", "10 200 "),
        ("10", "--preset service --oom 300", "10 300 "),
    ] {
        assert_eq!(run(own, options), [seen, "", seen, ""], "{own} {options}");
    }
    let refused = "box-run: priv-drop: nice 5: Permission denied; the caller's is 10, and only root may lower it; take 10 or more\n";
    assert_eq!(run("10", "--preset build --rw /srv --nice 5")[3], refused);
}

#[test]
fn a_preset_raises_no_limit_of_the_caller() {
    let scene = Scene::new();
    let look = "sh -c 'ulimit -Hn; ulimit -Hf'";
    for (options, seen) in [
        // Files count in blocks of 512 bytes.
        ("--preset agent --rw /srv", "32\n8388608\n"),
        ("--preset agent --rw /srv --rlimit nofile=16", "16\n8388608\n"),
    ] {
        let script = format!("ulimit -n 32; exec box-run --chdir / {options} -- {look}");
        for mut command in [scene.script(&script), scene.script_as_user(&script)] {
            command.assert().success().stdout(seen).stderr("");
        }
    }
    let script = "ulimit -n 32; exec box-run --chdir / --preset agent --rw /srv --rlimit nofile=64 -- true";
    let refused =
        "box-run: priv-drop: limit nofile=64: Operation not permitted; only root may raise a hard limit\n";
    scene.script_as_user(script).assert().code(125).stdout("").stderr(refused);
}

#[test]
fn a_preset_that_limits_processes_alone_needs_no_group() {
    let scene = Scene::new();
    scene.rootfs("root");
    let run = |options: &str| {
        let output = scene
            .script_as_user(&format!("box-run {options} -- busybox sh -c 'ulimit -u'"))
            .output()
            .expect("bash");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    for (options, seen) in [
        ("--chdir / --preset agent --rw bin", "512\n"),
        ("--chdir / --preset build --rw bin", "4096\n"),
        ("--chdir / --preset agent --rw bin --rlimit nproc=40", "40\n"),
        (
            "--preset grader --root root",
            "box-run: --preset grader: it needs a group for mem=256M cpu=1, and none may be made; run as root, or in a \
             group that is delegated to you; box-run --check tells what this user can have\n",
        ),
    ] {
        assert_eq!(run(options), seen, "{options}");
    }
    let check = scene.script_as_user("box-run --check").output().expect("bash");
    let check = String::from_utf8_lossy(&check.stdout).into_owned();
    for (preset, here) in [("service", " yes "), ("grader", " no ")] {
        let line = check.lines().find(|line| line.starts_with(&format!("preset {preset}")));
        assert!(line.is_some_and(|line| line.contains(here)), "{preset}: {check}");
    }
}

#[test]
fn a_preset_lets_no_home_and_nothing_of_the_system_be_written() {
    let scene = Scene::new();
    scene.tree("home/project", &[]);
    let run = |script: &str| said(&scene, &format!("export HOME=$PWD/home; {script}"));
    for dir in ["/", "/usr", "/usr/lib", "/etc", "/root", "/home", "~", "~/.."] {
        for preset in ["build", "agent"] {
            let seen = run(&format!("cd {dir}; box-run --preset {preset} -- echo ran"));
            assert!(
                seen.starts_with(&format!("box-run: --preset {preset}: it would let all of "))
                    && seen.ends_with("; change to a project's directory, or name it: --rw DIR\n"),
                "{dir}: {seen}"
            );
        }
    }
    assert_eq!(run("cd home/project; box-run --preset agent -- echo ran"), "ran\n");
    // Who names it may have it, and who names something else has that alone.
    assert_eq!(run("cd home; box-run --preset build --rw . -- touch mine; ls"), "mine\nproject\n");
    assert_eq!(
        run("cd home; box-run --preset build --rw project -- touch other project/made; ls . project"),
        ".:\nmine\nproject\n\nproject:\nmade\n"
    );
}

#[test]
fn an_agent_does_not_write_what_git_runs_outside() {
    let scene = Scene::new();
    scene.tree("work/.git/hooks", &[("pre-commit", "\n")]);
    scene.tree("work/.git", &[("config", "[core]\n")]);
    let look = "for file in .git/hooks/new .git/hooks/pre-commit .git/config .git/index; do \
                { echo >>$file; } 2>/dev/null && echo $file; done; mv .git other 2>/dev/null && echo moved; true";
    let run = |options: &str| said(&scene, &format!("cd work; box-run {options} -- bash -c '{look}'"));
    assert_eq!(run("--preset agent"), ".git/index\n");
    assert_eq!(run("--preset agent --rw .git/config"), ".git/config\n.git/index\n");
    assert_eq!(
        run("--preset agent --rw .git/hooks --hide .git/config"),
        ".git/hooks/new\n.git/hooks/pre-commit\n.git/index\n"
    );
    // A repository elsewhere, or none.
    scene.tree("worktree", &[(".git", "gitdir: ../work/.git\n")]);
    assert_eq!(
        said(
            &scene,
            "cd worktree; box-run --preset agent -- ls -A; mkdir ../none; cd ../none; box-run --preset agent -- ls -A"
        ),
        ".git\n"
    );
}

#[test]
fn the_kernels_links_need_all_of_their_modules() {
    let scene = Scene::new();
    let listed = |modules: &str| {
        said(
            &scene,
            &format!(
                r#"exec ovl-mount --tmp -l /usr/lib /usr/lib -- bash -c '
                   lists=/usr/lib/modules/$(uname -r)
                   mount -t tmpfs tmpfs /sys/module; rm -rf $lists; mkdir -p $lists
                   for module in {modules}; do echo kernel/net/sched/$module.ko; done >$lists/modules.builtin
                   box-run --check | grep ^netem | tr -s " "'"#
            ),
        )
    };
    let what = "a network link that fails, by the kernel";
    assert_eq!(listed(""), format!("netem no {what}; a kernel with sch_netem and sch_tbf is needed\n"));
    assert_eq!(listed("sch_netem"), format!("netem no {what}; a kernel with sch_tbf is needed\n"));
    assert_eq!(listed("sch_netem sch_tbf"), format!("netem yes {what}\n"));
}

#[test]
fn what_can_be_had_is_told() {
    let scene = Scene::new();
    let seen = said(&scene, "box-run --check; echo $?");
    assert!(seen.starts_with("WHAT") && seen.ends_with("0\n"), "{seen}");
    assert!(seen.lines().any(|line| line.starts_with("default box") && line.contains(" yes ")), "{seen}");
    let json = said(&scene, "box-run --check --json");
    assert!(
        json.starts_with("[{\"what\":\"default box\",\"has\":true,\"detail\":\"") && json.ends_with("}]\n"),
        "{json}"
    );
    // Where there are no user namespaces there is no box for an ordinary user, and what forbids it is told.
    let script = "ns-enter user,mnt -- bash -c 'echo 0 >/proc/sys/user/max_user_namespaces; exec priv-drop -- box-run --check; echo $?'";
    let output = scene.script(script).output().expect("bash");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{seen}");
    let first = seen.lines().nth(1).unwrap_or_default();
    assert!(first.starts_with("default box") && first.contains(" no "), "{seen}");
}
