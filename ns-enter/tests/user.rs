//! New user namespaces: maps, and who the command is in them.

use chain_testing::Scene;

const WHO: &str = "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups | tr -s ' '; id -u; id -g";

#[test]
fn the_caller_is_root_inside_and_nobody_else_is_mapped() {
    let scene = Scene::new();
    let run = scene.script_as_user(&format!("ns-enter user -- sh -c \"{WHO}\"")).assert().success();
    run.stdout(" 0 54321 1\n 0 54321 1\ndeny\n0\n0\n");
    let run = scene.script(&format!("ns-enter user -- sh -c \"{WHO}\"")).assert().success();
    run.stdout(" 0 0 1\n 0 0 1\ndeny\n0\n0\n");
}

#[test]
fn an_id_is_what_the_caller_is_inside() {
    let scene = Scene::new();
    let run = scene.script_as_user(&format!("ns-enter user=1000 -- sh -c \"{WHO}\"")).assert().success();
    run.stdout(" 1000 54321 1\n 1000 54321 1\ndeny\n1000\n1000\n");
    let script = format!("ns-enter --gid-map 7 user=1000 -- sh -c \"{WHO}\"");
    let run = scene.script_as_user(&script).assert().success();
    run.stdout(" 1000 54321 1\n 7 54321 1\ndeny\n1000\n7\n");
}

#[test]
fn root_maps_ranges_and_a_caller_who_is_in_none_becomes_root_inside() {
    let scene = Scene::new();
    let script = format!("ns-enter user=0:100000:10+10:200000:5,pid -- sh -c \"{WHO}\"");
    let map = " 0 100000 10\n 10 200000 5\n";
    scene.script(&script).assert().success().stdout(format!("{map}{map}allow\n0\n0\n"));
}

#[test]
fn root_makes_one_that_belongs_to_another_who_may_then_join_it() {
    let scene = Scene::new();
    let owned = format!("ns-enter --owner 54321 user=0:100000:10,uts,pid,mnt,net,time -- sh -c \"{WHO}\"");
    let map = " 0 100000 10\n";
    scene.script(&owned).assert().success().stdout(format!("{map}{map}allow\n0\n0\n"));
    let default = format!("ns-enter --owner 54321:7 user -- sh -c \"{WHO}; id -G\"");
    let maps = " 0 54321 1\n 0 7 1\nallow\n0\n0\n0\n";
    scene.script(&default).assert().success().stdout(maps);

    // Copies the programs to where that user may reach them.
    scene.script_as_user("true").assert().success();
    let join = "mkfifo info; \
                ns-enter --owner 54321 --info-fd 3 user=0:100000:10,uts=owned -- sleep 1000 3>info & box=$!; \
                read -r json <info; pid=${json#*:}; pid=${pid%%,*}; \
                setpriv --reuid=54321 --regid=54321 --clear-groups bin/ns-enter all@$pid -- sh -c 'id -u; hostname'; \
                kill $box; wait $box 2>/dev/null";
    scene.script(join).assert().stdout("0\nowned\n");
}

#[test]
fn what_owner_cannot_do_is_said() {
    let scene = Scene::new();
    for (words, why) in [
        ("--owner 7 uts", "--owner: there is no new user namespace; add user"),
        ("--owner 7 user,time=+1h", "--owner: the clocks cannot be set for another user"),
        ("--owner 7: user", "--owner 7:: \"\" is not an id; write UID:GID"),
    ] {
        let run = scene.script(&format!("ns-enter {words} -- echo ran")).assert().code(125).stdout("");
        run.stderr(format!("ns-enter: {why}\n"));
    }
    let run = scene.script_as_user("ns-enter --owner 7 user -- echo ran").assert().code(125).stdout("");
    run.stderr("ns-enter: --owner 7:7: Operation not permitted; only root may give a user namespace away\n");
}

#[test]
fn clocks_are_set_also_where_the_caller_becomes_another() {
    let scene = Scene::new();
    let script =
        "ns-enter user=0:100000:10,time=+1d -- sh -c 'id -u; tr -s \" \" </proc/self/timens_offsets'";
    scene.script(script).assert().success().stdout("0\nmonotonic 86400 0\nboottime 86400 0\n");
}

#[test]
fn without_a_map_nobody_has_a_name() {
    let scene = Scene::new();
    let run = scene.script(&format!("ns-enter user=none -- sh -c \"{WHO}\"")).assert().success();
    run.stdout("allow\n65534\n65534\n");
}

#[test]
fn an_ordinary_user_needs_nothing_else_for_a_box() {
    let scene = Scene::new();
    let look = "id -u; echo $$; hostname; cat /sys/class/net/lo/operstate >/dev/null; echo /proc/[0-9]*";
    let run = scene.script_as_user(&format!("ns-enter user,uts=box,pid,mnt,net -- sh -c '{look}'")).assert();
    run.success().stdout("0\n1\nbox\n/proc/1\n");
}

#[test]
fn auto_needs_a_line_in_subuid_and_says_so() {
    let scene = Scene::new();
    let run = scene.script_as_user("ns-enter user=auto -- echo ran").assert().code(125).stdout("");
    run.stderr(
        "ns-enter: user=auto: /etc/subuid gives no ids to 54321; add a line such as 54321:100000:65536\n",
    );
    let run = scene.script_as_user("ns-enter --gid-map auto user -- echo ran").assert().code(125).stdout("");
    run.stderr(
        "ns-enter: --gid-map auto: /etc/subgid gives no ids to 54321; add a line such as 54321:100000:65536\n",
    );
}

#[test]
fn auto_maps_what_subuid_and_subgid_give() {
    let scene = Scene::new();
    scene.tree(
        "etc",
        &[
            ("passwd", "root:x:0:0::/:/bin/sh\nboxer:x:54321:54321::/:/bin/sh\n"),
            ("subuid", "boxer:300000:10\n54321:400000:5\n"),
            ("subgid", "54321:300000:10\n"),
        ],
    );
    // The files are the machine's, so others are bound over them, for this test's processes alone.
    let script = format!(
        "mount --bind etc/passwd /etc/passwd && mount --bind etc/subuid /etc/subuid && mount --bind etc/subgid /etc/subgid && \
         exec setpriv --reuid=54321 --regid=54321 --clear-groups ns-enter user=auto,pid -- sh -c \"{WHO}\""
    );
    scene.script_as_user("true").assert().success();
    let run = scene.script(&format!(
        "PATH={}:$PATH; ns-enter mnt -- bash -c '{}'",
        scene.path("bin").display(),
        script.replace('\'', "'\\''")
    ));
    let mut run = run;
    run.assert()
        .success()
        .stdout(" 0 54321 1\n 1 300000 10\n 11 400000 5\n 0 54321 1\n 1 300000 10\nallow\n0\n0\n");
}

#[test]
fn groups_alone_are_mapped_as_subgid_gives_them() {
    let scene = Scene::new();
    let passwd = "root:x:0:0::/:/bin/sh\nboxer:x:54321:54321::/:/bin/sh\n";
    scene.tree("etc", &[("passwd", passwd), ("subgid", "54321:300000:10\n")]);
    scene.script_as_user("true").assert().success();
    let inside = format!(
        "mount --bind etc/passwd /etc/passwd && mount --bind etc/subgid /etc/subgid && \
         exec setpriv --reuid=54321 --regid=54321 --clear-groups \
         bin/ns-enter --gid-map auto user=7,pid -- sh -c \"{WHO}\""
    );
    // The files are the machine's, so others are bound over them, for this test's processes alone.
    let run = scene.tool("ns-enter").args(["mnt", "--", "sh", "-c", &inside]).assert().success();
    run.stdout(" 7 54321 1\n 0 54321 1\n 1 300000 10\nallow\n7\n0\n").stderr("");
}

#[test]
fn the_same_maps_as_unshare() {
    let scene = Scene::new();
    for (ours, theirs) in [
        ("ns-enter user", "unshare -r"),
        ("ns-enter user=none", "unshare -U"),
        ("ns-enter user=$(id -u)", "unshare -c"),
        ("ns-enter --gid-map 6 user=5", "unshare --map-user=5 --map-group=6"),
    ] {
        let look = |way: &str| {
            let output = scene.script_as_user(&format!("{way} -- sh -c \"{WHO}\"")).output().expect("runs");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let ours_shows = look(ours);
        assert_eq!(ours_shows, look(theirs), "{ours} and {theirs}");
        assert!(!ours_shows.is_empty());
    }
}

#[test]
fn the_user_namespace_of_ones_own_process_is_joined_with_the_others_of_it() {
    let scene = Scene::new();
    let script = "mkfifo go; coproc box { ns-enter --info-fd 3 user,uts=inner,pid,mnt,net -- cat; } 3>info; \
                  exec 3<>go; read -t 60 line <&3 & while ! [ -s info ]; do read -t 0.01 x <> <(:); done; \
                  pid=$(sed 's/{\"pid\":\\([0-9]*\\).*/\\1/' info); \
                  ns-enter all@$pid -- sh -c 'id -u; hostname; [ $$ != 1 ] && echo beside'; \
                  ns-enter --wd --root user@$pid,mnt@$pid,pid@$pid -- sh -c 'echo /proc/[0-9]*'; \
                  kill %2; eval \"exec ${box[1]}>&-\"; wait";
    let script = script
        .replace("mkfifo go; ", "")
        .replace("exec 3<>go; read -t 60 line <&3 & ", "")
        .replace("kill %2; ", "");
    let dir = scene.tree("work", &[]);
    nix::unistd::chown(&dir, Some(54321.into()), Some(54321.into())).expect("chown");
    let run = scene.script_as_user(&format!("cd work; {script}")).assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[..3], ["0", "inner", "beside"], "{output}");
    assert!(lines[3].starts_with("/proc/1 /proc/"), "{output}");
}

#[test]
fn who_joins_a_user_namespace_brings_no_groups_along() {
    let scene = Scene::new();
    let script = "mkfifo info; chmod 666 info; echo secret > file; chgrp 42 file; chmod 040 file; \
                  setpriv --reuid=54321 --regid=54321 --clear-groups bin/ns-enter --info-fd 3 user,uts -- sleep 1000 3>info & box=$!; \
                  read -r json <info; pid=${json#*:}; pid=${pid%%,*}; \
                  setpriv --groups 0,42 ns-enter user@$pid,uts@$pid -- sh -c 'grep Groups: /proc/self/status; cat file'; \
                  kill $pid; wait $box 2>/dev/null";
    scene.script_as_user("true").assert().success();
    scene.script(script).assert().stdout("Groups:\t \n");
}

#[test]
fn who_is_given_a_namespace_of_another_owner_is_that_owner_for_good() {
    let scene = Scene::new();
    // The owner of the test's directory is root, whose files nobody else may write.
    std::fs::write(scene.path("file"), "secret").expect("write");
    let script = "chgrp 42 file; chmod 040 file; sleep 1000 & victim=$!; \
                  for words in user=none '--gid-map none user' 'user=none,pid'; do \
                      setpriv --groups 0,42 ns-enter --owner 54321 $words -- sh -c \"kill $victim; cat file; touch new\" 2>/dev/null; \
                      [ $? != 0 ] && ! [ -e new ] && [ -d /proc/$victim ] && echo refused; \
                  done; kill $victim; wait";
    scene.script(script).assert().success().stdout("refused\nrefused\nrefused\n");
}

#[test]
fn all_ids_can_be_mapped_as_the_machine_maps_them() {
    let scene = Scene::new();
    let run = scene.script("ns-enter user=0:0:4294967295 -- cat /proc/self/uid_map | tr -s ' '").assert();
    run.success().stdout(" 0 0 4294967295\n");
}
