//! The host's own tree in a box: what is shown, what is written, and what is hidden.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
};

use chain_testing::{ORDINARY_USER, Scene};

/// A home with a project, keys and caches, of root or of an ordinary user.
fn home(scene: &Scene, user: u32) {
    scene.tree("home/project", &[("source", "text\n")]);
    scene.tree("home/.ssh", &[("id_ed25519", "secret\n")]);
    scene.tree("home/.config/gh", &[("hosts.yml", "secret\n")]);
    scene.tree("home/.config/other", &[("file", "text\n")]);
    scene.tree("home", &[(".netrc", "secret\n"), (".profile", "text\n")]);
    for path in [
        "home",
        "home/project",
        "home/project/source",
        "home/.ssh",
        "home/.ssh/id_ed25519",
        "home/.config",
        "home/.netrc",
        "home/.profile",
    ] {
        chown(scene.path(path), Some(user), Some(user)).expect("chown");
    }
}

/// Runs the script in the home's project, as both users.
fn for_both(look: impl Fn(&Scene, &dyn Fn(&str) -> String)) {
    for user in [0, ORDINARY_USER] {
        let scene = Scene::new();
        home(&scene, user);
        let run = |script: &str| {
            let script = format!("export HOME=$PWD/home; cd home/project; {script}");
            let mut command = if user == 0 { scene.script(&script) } else { scene.script_as_user(&script) };
            let output = command.output().expect("bash");
            assert!(
                output.stderr.is_empty(),
                "{user}: {script}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        look(&scene, &run);
    }
}

#[test]
fn a_build_writes_its_directory_and_nothing_else() {
    for_both(|scene, run| {
        let build = "cat source >made; for dir in / /usr /etc /var /opt /run/new /tmp/new \"$HOME/new\"; do \
                     mkdir \"$dir\" 2>/dev/null; { : >\"$dir/x\"; } 2>/dev/null && echo \"$dir\"; done; pwd; ls -A \"$HOME\" /sys";
        let seen = run(&format!("box-run --rw . -- bash -c '{build}'"));
        let (home, project) = (scene.path("home"), scene.path("home/project"));
        // What is in memory goes with the box.
        let expected = format!(
            "/run/new\n/tmp/new\n{0}/new\n{1}\n/sys:\n\n{0}:\nnew\nproject\n",
            home.display(),
            project.display()
        );
        assert_eq!(seen, expected);
        assert_eq!(fs::read_to_string(project.join("made")).expect("made"), "text\n");
        assert!(!scene.path("x").exists() && !home.join("new").exists());
    });
}

#[test]
fn what_is_secret_stays_hidden_where_its_directory_is_shown() {
    for_both(|_, run| {
        let look = "cd; for file in .ssh/id_ed25519 .netrc .config/gh/hosts.yml .config/other/file .profile; do \
                    [ -s $file ] && cat $file; done; true";
        for option in ["--ro ~", "--rw ~", "--over ~"] {
            assert_eq!(run(&format!("box-run {option} -- bash -c '{look}'")), "text\ntext\n", "{option}");
        }
        let named = "box-run --ro ~ --ro ~/.ssh";
        assert_eq!(run(&format!("{named} -- bash -c '{look}'")), "secret\ntext\ntext\n");
        let inside = "box-run --ro ~ --ro ~/.ssh/id_ed25519";
        assert_eq!(run(&format!("{inside} -- bash -c '{look}'")), "secret\ntext\ntext\n");
        // It alone.
        let beside = "echo host >~/.ssh/known_hosts; box-run --ro ~ --ro ~/.ssh/known_hosts -- bash -c 'cd ~/.ssh; ls; cat *'; \
                      rm ~/.ssh/known_hosts";
        assert_eq!(run(beside), "known_hosts\nhost\n");
        let all = format!("box-run --allow-secrets --ro ~ -- bash -c '{look}'");
        assert_eq!(run(&all), "secret\nsecret\nsecret\ntext\ntext\n");
    });
}

#[test]
fn what_is_secret_is_hidden_whatever_its_permissions_and_those_above_it_are() {
    for_both(|_, run| {
        let look = "cd; for file in .ssh/id_ed25519 .netrc .config/gh/hosts.yml .profile; do \
                    [ -e $file ] && cat $file; done 2>/dev/null; true";
        let close = "chmod 000 ~/.netrc ~/.config; chmod 300 ~/.ssh";
        let open = "chmod 700 ~/.config";
        let seen = run(&format!("{close}; box-run --ro ~ -- bash -c '{look}'; {open}"));
        assert_eq!(seen, "text\n");
    });
}

#[test]
fn a_closed_directory_is_not_shown_if_secrets_may_be_in_it() {
    let scene = Scene::new();
    home(&scene, ORDINARY_USER);
    let script = "export HOME=$PWD/home; chmod 000 home; box-run --ro ~ --chdir / -- cat ~/.netrc; box-run --ro ~ --allow-secrets --chdir / -- cat ~/.netrc; \
                  chmod 755 home";
    scene.script_as_user(script).assert().success().stdout("secret\n").stderr(format!(
        "box-run: --ro {home}: it is closed, so that what is secret in it is not found; open it with chmod u+x, or add --allow-secrets\n",
        home = scene.path("home").display()
    ));
}

#[test]
fn secrets_are_hidden_where_a_link_in_a_hidden_home_leads_to() {
    for_both(|scene, run| {
        scene.tree("away/keys", &[("id_ed25519", "secret\n"), ("other", "secret\n")]);
        scene.tree("away", &[("file", "text\n")]);
        let look = "cat away/file; cat away/keys/* 2>/dev/null";
        let show = "rm -r ~/.ssh; ln -s ../away/keys ~/.ssh; cd ../..; box-run --ro away --chdir $PWD";
        assert_eq!(run(&format!("{show} -- bash -c '{look}'; true")), "text\n");
    });
}

#[test]
fn secrets_are_hidden_where_the_environment_says_that_they_are() {
    for_both(|scene, run| {
        scene.tree("keys", &[("private", "secret\n")]);
        scene.tree("config/gh", &[("hosts.yml", "secret\n")]);
        scene.tree("config/other", &[("file", "text\n")]);
        let agents = "cd ../..; perl -MSocket -e 'for (qw(ssh bus docker)) { socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un(\"home/$_\")) or die }'; \
                      export GNUPGHOME=$PWD/keys XDG_CONFIG_HOME=$PWD/config SSH_AUTH_SOCK=$PWD/home/ssh \
                      DBUS_SESSION_BUS_ADDRESS=unix:path=$PWD/home/b%75s,guid=1 DOCKER_HOST=unix://$PWD/home/docker";
        let look = "cat keys/* config/*/*; for file in home/{ssh,bus,docker}; do [ -S $file ] && echo $file; done; true";
        let seen = run(&format!(
            "{agents}; box-run --ro . --ro ~ -- bash -c '{look}' 2>&1 | grep -v cat: ; box-run --ro . --ro ~ --allow-secrets -- bash -c '{look}'"
        ));
        assert_eq!(seen, "text\nsecret\nsecret\ntext\nhome/ssh\nhome/bus\nhome/docker\n");
    });
}

#[test]
fn a_link_opens_no_other_directory_to_be_written() {
    for_both(|scene, run| {
        let (home, project) = (scene.path("home"), scene.path("home/project"));
        run("mkdir ../other sub; ln -s ../other out; ln -s / root; ln -s sub in; ln -s in/../../other far");
        for (option, to) in [
            ("--rw out", home.join("other")),
            ("--rw out/.", home.join("other")),
            ("--rw root", "/".into()),
            ("--over root/usr", "/".into()),
            ("--rw root/usr", "/".into()),
            ("--rw far", home.join("other")),
        ] {
            let name = option.split([' ', '/']).nth(1).expect("a name");
            let written = if option.starts_with("--rw") { "written" } else { "changed" };
            assert_eq!(
                run(&format!("box-run --ro . {option} -- echo ran 2>&1; true")),
                format!(
                    "box-run: {option}: the link {} leads to {}, out of its directory; name that, if it is to be {written}\n",
                    project.join(name).display(),
                    to.display()
                )
            );
        }
        // What stays in the directory, is read only, or is a link of the system.
        assert_eq!(run("box-run --ro . --rw in -- touch in/new; ls sub"), "new\n");
        assert_eq!(run("box-run --ro . --ro out --rw /bin --rw /var/run -- echo ran"), "ran\n");
    });
}

#[test]
fn what_was_judged_is_what_is_written_even_if_a_link_takes_its_place_meanwhile() {
    let scene = Scene::new();
    let script = "mkdir -p ws/sub victim; ln -s ../victim ws/other; \
                  perl -e 'my ($sub, $other) = (\"ws/sub\", \"ws/other\"); while (1) { syscall(316, -100, $sub, -100, $other, 2) }' & swap=$!; \
                  for i in {1..60}; do for option in --rw --over; do \
                      box-run --ro . $option ws/sub -- bash -c 'touch ws/sub/x victim/x; echo ran' 2>/dev/null; done; done | wc -l; \
                  kill $swap; wait $swap 2>/dev/null; ls victim";
    let output = scene.script(script).output().expect("bash");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    // Some ran.
    let count = seen.trim().parse::<u32>().unwrap_or_else(|_| panic!("{seen}"));
    assert!(count > 0 && count < 120, "{seen}");
}

#[test]
fn what_is_thrown_away_is_written_to_no_directory_that_takes_the_place_of_another_meanwhile() {
    let scene = Scene::new();
    // The first is the directory at the one moment, and the second at the next.
    let script = "mkdir -p ws/sub ws/other; \
                  perl -e 'my ($sub, $other) = (\"ws/sub\", \"ws/other\"); while (1) { syscall(316, -100, $sub, -100, $other, 2) }' & swap=$!; \
                  for i in {1..60}; do box-run --ro . --over ws/sub -- bash -c 'touch ws/sub/x; echo ran' 2>>errors; done | wc -l; \
                  kill $swap; wait $swap 2>/dev/null; ls ws/sub ws/other";
    let output = scene.script(script).output().expect("bash");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    let (count, left) = seen.split_once('\n').expect("lines");
    assert_eq!(left, "ws/other:\n\nws/sub:\n");
    let count = count.parse::<usize>().expect("a number");
    let errors = std::fs::read_to_string(scene.path("errors")).expect("errors");
    let refused =
        errors.lines().filter(|line| line.contains("another directory has taken its place")).count();
    assert!(count > 0 && refused > 0, "{count} {errors}");
}

#[test]
fn a_command_that_is_hidden_is_told_where_it_is() {
    let scene = Scene::new();
    home(&scene, 0);
    let home = scene.path("home").display().to_string();
    for (dir, shows) in [(".cargo/bin", ".cargo"), ("bin", "bin"), (".pyenv/shims", ".pyenv/shims")] {
        let make = format!(
            "mkdir -p ~/{dir}; printf '#!/bin/sh\\necho ran\\n' >~/{dir}/tool; chmod +x ~/{dir}/tool; export PATH=$HOME/{dir}:$PATH"
        );
        let script = format!(
            "export HOME=$PWD/home; cd home/project; {make}; box-run --rw . -- tool; echo $?; box-run --rw . --ro ~/{shows} -- tool"
        );
        scene.script(&script).assert().stdout("127\nran\n").stderr(format!(
            "box-run: run tool: No such file or directory; it is in {home}/{dir}, which the box does not show; --ro {home}/{shows} shows it\n"
        ));
    }
    // Where there is none there is nothing to say.
    scene
        .script("cd /; box-run -- no-such-tool")
        .assert()
        .code(127)
        .stderr("box-run: run no-such-tool: No such file or directory\n");
}

#[test]
fn keys_of_the_machine_are_hidden_from_roots_box() {
    let scene = Scene::new();
    let look =
        "cat /etc/shadow /etc/gshadow 2>/dev/null | wc -c; ls -A /root /home 2>/dev/null | grep -v : | wc -w";
    let mut run = scene.script(&format!("cd /; box-run -- bash -c '{look}'; box-run --allow-secrets -- bash -c 'wc -c </etc/shadow'; wc -c </etc/shadow"));
    let output = String::from_utf8_lossy(&run.unwrap().stdout).into_owned();
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[..2], ["0", "0"]);
    assert!(lines[2] == lines[3] && lines[3] != "0", "{output}");
}

#[test]
fn the_innermost_directory_counts() {
    for_both(|scene, run| {
        for dir in ["a/b/c/d", "a/other"] {
            scene.tree(&format!("home/project/{dir}"), &[("file", "text\n")]);
        }
        let script = "cd a; for dir in . other b b/c b/c/d; do [ -d $dir ] && { { : >$dir/new; } 2>/dev/null && echo \"$dir written\" || echo \"$dir seen\"; }; \
                      done; ls b b/c";
        for path in ["a", "a/b", "a/b/c", "a/b/c/d", "a/other"] {
            fs::set_permissions(scene.path("home/project").join(path), fs::Permissions::from_mode(0o777))
                .expect("chmod");
        }
        let seen = run(&format!(
            "box-run --ro . --rw a --hide a/b --ro a/b/c --rw a/b/c/d -- bash -c '{script}'; cat a/b/c/d/file; ls a a/b a/b/c/d"
        ));
        // b is in memory, and c and d in it are the host's.
        let expected = ". written\nother written\nb written\nb/c seen\nb/c/d written\nb:\nc\nnew\n\nb/c:\nd\n\
                        text\na:\nb\nnew\nother\n\na/b:\nc\n\na/b/c/d:\nfile\nnew\n";
        assert_eq!(seen, expected);
    });
}

#[test]
fn changes_over_a_directory_are_thrown_away_or_kept() {
    for_both(|scene, run| {
        let script = "echo changed >source; echo >new; cat source";
        assert_eq!(
            run(&format!("box-run --over . -- bash -c '{script}'; cat source; ls")),
            "changed\ntext\nsource\n"
        );
        let upper = scene.tree("home/upper", &[]);
        let user = fs::metadata(scene.path("home/project/source"))
            .map(|file| std::os::unix::fs::MetadataExt::uid(&file))
            .expect("stat");
        chown(&upper, Some(user), Some(user)).expect("chown");
        let kept = format!(
            "box-run --over . --upper ../upper -- bash -c '{script}'; cat source ../upper/source; ls ../upper; chmod -R u+rwx ../upper.work; rm -r ../upper.work"
        );
        assert_eq!(run(&kept), "changed\ntext\nchanged\nnew\nsource\n");
    });
}

#[test]
fn a_file_is_shown_written_or_hidden_as_a_directory_is() {
    for_both(|_, run| {
        let script = "cat ~/.profile source; { echo more >>~/.profile; } 2>/dev/null && echo written";
        assert_eq!(
            run(&format!("box-run --ro . --ro ~/.profile -- bash -c '{script}'; true")),
            "text\ntext\n"
        );
        assert_eq!(
            run(&format!(
                "box-run --hide source --ro . --rw ~/.profile -- bash -c '{script}'; cat ~/.profile"
            )),
            "text\nwritten\ntext\nmore\n"
        );
    });
}

#[test]
fn a_working_directory_that_is_hidden_is_an_error_and_the_home_itself_is_not() {
    let scene = Scene::new();
    home(&scene, 0);
    let dir = scene.path("home/project");
    let script = "export HOME=$PWD/home; cd home/project; box-run -- pwd; echo $?; cd ..; box-run -- bash -c 'pwd; ls'";
    scene.script(script).assert().success().stdout(format!("125\n{}\n", scene.path("home").display())).stderr(format!(
        "box-run: working directory {}: it is hidden in the box; show it with --rw . or --ro ., or go elsewhere with --chdir /\n",
        dir.display()
    ));
}

#[test]
fn a_home_that_is_a_directory_of_the_system_is_not_hidden() {
    let scene = Scene::new();
    for home in ["/", "/usr", "/usr/sbin", "/bin", "/etc", "/dev", "/no/such", "relative", ""] {
        let run =
            scene.script(&format!("export HOME={home}; box-run --chdir / -- sh -c 'echo ran'")).assert();
        run.success().stdout("ran\n").stderr("");
    }
}

#[test]
fn an_ordinary_user_has_a_box_with_a_root_of_its_own_too() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "id -u; busybox cat /proc/self/uid_map; echo >/new && ls /new; ulimit -u; hostname; busybox ip -o link | busybox wc -l; \
                echo >/dev/null && echo null; for dev in null zero full random urandom tty; do [ -c /dev/$dev ] || echo no $dev; done";
    let run =
        scene.script_as_user(&format!("box-run --root root --tmp --hostname web -- sh -c '{look}'")).assert();
    let map = format!("{:10} {ORDINARY_USER:10} {:10}", 0, 1);
    run.success().stderr("").stdout(format!("0\n{map}\n/new\n1024\nweb\n1\nnull\n"));
    // The chain makes the same one.
    let chain = format!("eval \"$(box-run --root root --tmp --hostname web --print -- sh -c '{look}')\"");
    scene.script_as_user(&chain).assert().success().stdout(format!("0\n{map}\n/new\n1024\nweb\n1\nnull\n"));
}

#[test]
fn who_is_root_without_the_rights_of_root_has_a_box_too() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "id -u; busybox cat /proc/self/uid_map | busybox tr -s \" \"; ulimit -u";
    let run = "box-run --root root --tmp -- sh -c";
    let in_namespace =
        scene.script_as_user(&format!("ns-enter user,mnt -- {run} '{look}'")).assert().success();
    // It is in the user namespace that it came from, where its processes are counted.
    in_namespace.stderr("").stdout(format!("0\n 0 {ORDINARY_USER} 1\n1024\n"));
    let caps = "priv-drop --caps chown,dac_override,setfcap,setuid,setgid";
    let output = scene.script(&format!("{caps} -- {run} '{look}'")).output().expect("bash");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(seen.starts_with("0\n 0 0 1\n"), "{seen} {}", String::from_utf8_lossy(&output.stderr));
    // They are counted for it as well, or there is no box.
    let many = "trap \"set -- /proc/[0-9]*; echo \\$#\" EXIT; i=0; \
                while [ $i -lt 1100 ]; do sleep 1000 & i=$((i+1)); done";
    let output = scene.script(&format!("{caps} -- {run} '{many}'")).output().expect("bash");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    let count: u32 = seen.trim().parse().unwrap_or(u32::MAX);
    assert!((900..=1024).contains(&count), "{seen} {}", String::from_utf8_lossy(&output.stderr));
    let read_only = "for dir in $(cut -d\" \" -f5 /proc/self/mountinfo | grep ^/sys/fs/cgroup); do mount -o remount,bind,ro $dir; done";
    let script =
        format!("ns-enter mnt -- bash -c '{read_only}; exec {caps} -- box-run --root root -- echo ran'");
    scene.script(&script).assert().code(125).stdout("").stderr(
        "box-run: --pids 1024: no group may be made, and the kernel counts no processes of root by themselves; \
         make the cgroup of this process one that may be written, or add --pids max: the limits of this process are the box's too\n",
    );
}

#[test]
fn what_an_ordinary_user_asks_for_and_cannot_have_is_an_error() {
    let scene = Scene::new();
    scene.rootfs("root");
    let run = scene.script_as_user("box-run --root root --mem 64M -- echo ran").assert().code(125).stdout("");
    let error = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(error.starts_with("box-run: cg-set: "), "{error}");
}

#[test]
fn processes_of_an_ordinary_users_box_are_counted() {
    let scene = Scene::new();
    scene.rootfs("root");
    // First that the limit is there: nothing is tried if it is not.
    let bomb =
        "[ $(ulimit -u) = 30 ] || exit 1; trap \"echo /proc/[0-9]*\" EXIT; while sleep 1000 & do :; done";
    let mut run = scene.script_as_user(&format!(
        "timeout 60 box-run --root root --rlimit nproc=30 -- sh -c '{bomb}' 2>/dev/null"
    ));
    let output = run.output().expect("bash");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!((10..=31).contains(&seen.split(' ').count()), "{seen}");
}

#[test]
fn a_link_into_what_is_secret_does_not_show_it() {
    let scene = Scene::new();
    home(&scene, 0);
    let script = "export HOME=$PWD/home; cd home/project; ln -s ../.ssh out; box-run --ro . --rw out -- cat out/id_ed25519; \
                  touch ~/.ssh/known; \
                  box-run --ro ~ --hide ~/.ssh/known -- ls -A ~/.ssh; box-run --ro ~ --ro ~/.ssh -- cat ~/.ssh/id_ed25519";
    let run = scene.script(script).assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert_eq!(output, "secret\n");
    let secret = scene.path("home/.ssh");
    run.stderr(format!(
        "box-run: --rw out: a link leads to {}, which is hidden unless it is named; name it, if it is to be written\n",
        secret.display()
    ));
}

#[test]
fn the_home_of_an_ordinary_user_is_hidden_whatever_the_environment_says() {
    let scene = Scene::new();
    // Where this user has a home, if there is one.
    let look = "home=$(awk -F: -v uid=$(id -u) '$3 == uid { print $6 }' /etc/passwd); [ -d \"$home\" ] && [ \"$home\" != / ] || exit 0; \
                for given in '' HOME=/tmp; do env -u HOME $given box-run --chdir / -- ls -A \"$home\"; done";
    let output = scene.script_as_user(look).output().expect("bash");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    // root's.
    let look = "for given in '' HOME=/tmp; do env -u HOME $given box-run --chdir / -- ls -A /root; done";
    scene.script(look).assert().success().stdout("");
}
