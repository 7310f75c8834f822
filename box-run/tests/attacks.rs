//! Ways out of a box that were found in other tools, and what programs do that want out. Each is first shown to work
//! where the box is loosened, or without a box.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
};

use chain_testing::{Holder, Scene, Terminal};

/// Runs a script, and gives what it says on stdout.
fn said(scene: &Scene, script: &str) -> String {
    let output = scene.script(script).output().expect("bash");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A box with a root of busybox, and one with the host's tree.
const BOX: &str = "box-run --root root --tmp";
const HOST: &str = "box-run --rw .";

/// Runs the attack, which says `worked` or else something else, in a box with and without these options.
fn works_only_with(scene: &Scene, kind: &str, loosened: &str, attack: &str) {
    let script = scene.tree("attack", &[("run", attack)]);
    drop(script);
    let run = |options: &str| {
        let bind = if kind == BOX { "--ro-bind attack:/attack" } else { "" };
        let shell = if kind == BOX { "sh /attack/run" } else { "bash attack/run" };
        said(scene, &format!("{kind} {bind} {options} -- {shell} 2>&1"))
    };
    let (open, closed) = (run(loosened), run(""));
    assert!(open.contains("worked"), "with {loosened}: {open}");
    assert!(!closed.contains("worked"), "in the box: {closed}");
}

/// A system call by perl, which says how it ended.
fn call(words: &str) -> String {
    format!(
        "perl -e 'my ($a, $b) = (pack(\"x120\"), pack(\"L2 Q x104\", 1, 112, 0)); my $r = syscall({words}); print $r >= 0 ? \"worked\\n\" : \"refused: $!\\n\"'"
    )
}

#[test]
fn the_program_of_process_1_cannot_be_opened_to_be_overwritten() {
    // CVE-2019-5736.
    let scene = Scene::new();
    scene.rootfs("root");
    let attack = "(exec 3</proc/1/exe) 2>&1 && echo worked";
    assert!(said(&scene, &format!("ns-enter --init pid,mnt -- sh -c '{attack}'")).contains("worked"));
    let seen = said(&scene, &format!("{BOX} -- sh -c '{attack}'"));
    assert!(seen.contains("Permission denied") && !seen.contains("worked"), "{seen}");
}

#[test]
fn the_program_that_enters_a_box_cannot_be_changed_by_those_who_are_in_it() {
    // CVE-2019-5736: the box's programs are all the one that enters, which so runs among them.
    let scene = Scene::new();
    let root = scene.rootfs("root");
    for name in ["own", "script"] {
        symlink("/proc/self/exe", root.join("bin").join(name)).expect("symlink");
    }
    let hunt = "own=$(busybox readlink /proc/self/exe); while [ ! -e /tmp/stop ]; do for p in /proc/[0-9]*; do \
                exe=$(busybox readlink $p/exe) || continue; [ \"$exe\" = \"$own\" ] && continue; echo \"$exe\" >>/tmp/seen; \
                busybox chmod 4777 $p/exe 2>/dev/null; { echo x >$p/exe; } 2>/dev/null; done; done";
    scene.tree("attack", &[("hunt", hunt)]);
    fs::create_dir_all(root.join("attack")).expect("mkdir");
    let script = r#"
        cp "$(command -v box-run)" program; chmod 755 program
        begin() { exec 3< <(exec ./program --root root --tmp --tmpfs /tmp:mode=1777 --name "$1" --ro-bind attack:/attack -- sh -c 'echo ready; exec sh /attack/hunt'); box=$!; read -r line <&3; }
        enter() { for n in 1 2 3 4 5 6 7 8; do ./program exec "$@" >/dev/null 2>&1; done; }
        name=test-enter-$$
        begin $name
        enter $name -- /bin/own --print --root / -- x; enter $name -- /bin/own ps
        ./program exec $name -- sh -c 'grep -c ^/$ /tmp/seen | sed "s/^[1-9][0-9]*/seen/"; touch /tmp/stop' 2>&1
        wait $box
        stat -c %a program; cmp program "$(command -v box-run)" && echo the same"#;
    assert_eq!(said(&scene, script), "seen\n755\nthe same\n");
}

#[test]
fn no_directory_of_the_host_leaks_by_a_descriptor_or_as_the_working_directory() {
    // CVE-2024-21626.
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("secret", &[("file", "worked\n")]);
    let attack = "cat /proc/self/fd/9/file ../../../../../../../secret/file";
    assert_eq!(
        said(
            &scene,
            &format!("cd secret; {BOX} -- true; exec 9<.; cd ..; {BOX} --keep-fd 9 -- {attack} 2>/dev/null")
        ),
        "worked\n"
    );
    assert_eq!(said(&scene, &format!("exec 9<secret; {BOX} -- {attack} 2>/dev/null")), "");
    let script = "for n in $(seq 0 40); do box-run --root root --tmp --chdir /proc/self/fd/$n -- cat root/bin/../../secret/file secret/file; done 2>/dev/null; \
                  for link in self/cwd self/root 1/root 1/cwd; do box-run --root root --tmp --chdir /proc/$link -- cat secret/file; done 2>/dev/null";
    assert_eq!(said(&scene, script), "");
}

#[test]
fn no_cgroup_is_mounted_to_get_at_its_release_agent() {
    // CVE-2022-0492.
    let scene = Scene::new();
    scene.rootfs("root");
    if fs::metadata("/sys/fs/cgroup/memory/release_agent").is_ok() {
        // It is there and could be written: nothing is.
        let attack = "mount -t cgroup -o memory none /tmp && : >>/tmp/release_agent && echo worked";
        works_only_with(&scene, HOST, "--caps all --seccomp none --allow-cgroup", attack);
    }
    // From the first cgroup namespace this would change what the machine's own mount does.
    works_only_with(&scene, HOST, "--caps all --seccomp none", "mount -t cgroup2 none /tmp && echo worked");
}

#[test]
fn nothing_is_typed_into_the_callers_terminal() {
    let scene = Scene::new();
    let attack = "perl -e 'my $x = \"x\"; print((ioctl(STDIN, 0x5412, $x) ? \"wor\" . \"ked\" : \"refu\" . \"sed\"), \"\\n\")'";
    let shown = |command: &str| {
        let mut bash = scene.command("bash");
        bash.args(["-c", &format!("{command}; echo en''d")]);
        let mut terminal = Terminal::new(bash);
        let shown = terminal.wait_for("end");
        assert!(terminal.end().success());
        shown
    };
    assert!(shown(&format!("{HOST} --seccomp none --caps all -- {attack}")).contains("worked"));
    assert!(shown(&format!("{HOST} -- {attack}")).contains("refused"));
    // Nor is it found, if the box is not at the terminal.
    let find = "bash -c ': </dev/tty && echo worked'";
    assert!(shown(find).contains("worked"));
    assert!(!shown(&format!("{HOST} -- {find} </dev/null 2>/dev/null | cat")).contains("worked"));
}

#[test]
fn a_process_outside_is_neither_seen_nor_killed_nor_read() {
    let scene = Scene::new();
    scene.rootfs("root");
    let holder = Holder::running(&scene, "echo ready; read line");
    let pid = holder.pid;
    let attack = format!(
        "kill -0 {pid} && echo worked; head -c 0 /proc/{pid}/mem && echo worked; cat /proc/{pid}/environ | grep -q . && echo worked"
    );
    assert_eq!(said(&scene, &format!("({attack}) 2>/dev/null")), "worked\n".repeat(3));
    assert_eq!(said(&scene, &format!("{HOST} -- bash -c '{attack}' 2>/dev/null")), "");
    // PTRACE_SEIZE.
    let trace = call(&format!("101, 0x4206, {pid}, 0, 0"));
    assert_eq!(said(&scene, &trace), "worked\n");
    assert!(said(&scene, &format!("{HOST} -- {trace}")).starts_with("refused"));
    drop(holder);
}

#[test]
fn the_callers_command_line_is_not_seen() {
    let scene = Scene::new();
    scene.rootfs("root");
    for (options, shown) in [("", "box-run: init@"), ("--no-init", "busybox@cat@/proc/1/cmdline@")] {
        let call = format!("box-run --root root --env TOKEN=secret {options} -- busybox cat /proc/1/cmdline");
        assert_eq!(said(&scene, &format!("{call} | tr '\\0' @")), shown, "{options}");
    }
}

#[test]
fn a_file_that_is_given_to_be_read_is_written_by_who_owns_it_unless_landlock_or_its_mode_forbids() {
    let scene = Scene::new();
    scene.rootfs("root");
    let call = |options: &str| {
        let write = "sh -c 'echo written >/proc/self/fd/0' 2>/dev/null";
        said(&scene, &format!("echo kept >file; box-run --root root {options} -- {write} <file; cat file"))
    };
    assert_eq!(call(""), "written\n");
    assert_eq!(call("--user 1000"), "kept\n");
    if chain_testing::kernel_is_from((6, 12)) {
        assert_eq!(call("--landlock ro:/"), "kept\n");
    }
    let piped =
        "cat file | box-run --root root -- sh -c 'echo written >/proc/self/fd/0' 2>/dev/null; cat file";
    assert_eq!(said(&scene, piped), "kept\n");
}

#[test]
fn an_abstract_socket_of_the_host_is_not_reached() {
    let scene = Scene::new();
    let listen = "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack(\"S a*\", AF_UNIX, \"\\0chainbox-test\")) or die; \
                  listen(S, 9); $| = 1; print \"ready\\n\"; <STDIN>'";
    let holder = Holder::running(&scene, listen);
    let connect = "perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); \
                   print connect(S, pack(\"S a*\", AF_UNIX, \"\\0chainbox-test\")) ? \"worked\\n\" : \"refused\\n\"'";
    works_only_with(&scene, HOST, "--allow-net", connect);
    drop(holder);
}

#[test]
fn memory_that_the_host_shares_is_not_seen() {
    let scene = Scene::new();
    let made = said(&scene, "ipcmk --shmem 64 --mode 666; echo secret >/dev/shm/chainbox-test");
    let id = made.split_whitespace().last().expect("an id").to_owned();
    works_only_with(
        &scene,
        HOST,
        "--allow-ipc",
        &format!("ipcs --shmems --id {id} | grep -q mode && echo worked"),
    );
    let posix = "cat /dev/shm/chainbox-test && echo worked";
    works_only_with(&scene, HOST, "--bind /dev/shm:/dev/shm", posix);
    said(&scene, &format!("ipcrm --shmem-id {id}; rm /dev/shm/chainbox-test"));
}

#[test]
fn system_calls_that_open_the_kernel_are_refused() {
    let scene = Scene::new();
    for (name, words) in [
        ("keyctl", "250, 0, -3, 0".to_owned()),
        ("io_uring_setup", "425, 1, $a".to_owned()),
        ("bpf", "321, 0, (my $m = pack(\"L4 x100\", 2, 4, 4, 1)), 72".to_owned()),
        ("userfaultfd", "323, 0".to_owned()),
        ("perf_event_open", "298, $b, 0, -1, -1, 0".to_owned()),
        ("unshare of user", "272, 0x10000000".to_owned()),
    ] {
        println!("{name}");
        works_only_with(&scene, HOST, "--caps all --seccomp none", &call(&words));
    }
}

#[test]
fn a_file_of_a_group_of_the_callers_is_not_read() {
    let scene = Scene::new();
    scene.tree(".", &[("file", "worked\n")]);
    // Nobody is the owner, and root in the box keeps no right to read what is another's.
    chown(scene.path("file"), Some(7), Some(54_322)).expect("chown");
    fs::set_permissions(scene.path("file"), fs::Permissions::from_mode(0o040)).expect("chmod");
    let run = |options: &str| {
        said(&scene, &format!("setpriv --groups 54322 {HOST} --caps none {options} -- cat file 2>/dev/null"))
    };
    assert_eq!(run("--groups 54322"), "worked\n");
    assert_eq!(run(""), "");
}

#[test]
fn a_key_of_the_callers_session_is_not_found() {
    let scene = Scene::new();
    // add_key(2) to a session keyring of its own, and KEYCTL_SEARCH there.
    let with_key = "perl -e 'syscall(250, 1, 0) >= 0 && syscall(248, my $t = \"user\", my $n = \"chainbox-test\", my $s = \"secret\", 6, -3) >= 0 or die $!; exec @ARGV'";
    let attack = "perl -e 'print syscall(250, 10, -3, my $t = \"user\", my $n = \"chainbox-test\", 0) >= 0 ? \"worked\\n\" : \"refused\\n\"'";
    assert_eq!(said(&scene, &format!("{with_key} {attack}")), "worked\n");
    assert_eq!(said(&scene, &format!("{with_key} priv-drop -- {attack}")), "worked\n");
    for options in ["", "--seccomp none", "--seccomp none --allow-new-privs --caps all"] {
        assert_eq!(
            said(&scene, &format!("{with_key} {HOST} {options} -- {attack}")),
            "refused\n",
            "{options}"
        );
    }
}

#[test]
fn nothing_is_mounted() {
    let scene = Scene::new();
    works_only_with(&scene, HOST, "--caps all --seccomp none", "mount -t tmpfs none /mnt && echo worked");
    works_only_with(&scene, HOST, "--caps all --seccomp none", "umount -l /tmp && echo worked");
}

#[test]
fn a_file_is_not_opened_by_its_handle() {
    let scene = Scene::new();
    let attack = "perl -e 'my $h = pack(\"I i a128\", 128, 0, \"\"); my $m = pack(\"i\", 0); my $root = \".\\0\"; \
                  syscall(303, -100, $root, $h, $m, 0) == 0 or die $!; open(my $dir, \"<\", \".\") or die; \
                  print syscall(304, fileno($dir), $h, 0) >= 0 ? \"worked\\n\" : \"refused\\n\"'";
    works_only_with(&scene, HOST, "--caps all", attack);
}

#[test]
fn a_disk_of_the_machine_is_neither_made_nor_opened() {
    let scene = Scene::new();
    // The first one that there is, or what anybody may read where a machine lets nobody read disks.
    let try_all = "for disk in $(sed 's/^/b:/' /sys/block/[!rlz]*/dev) c:1:5; do disk=${disk//:/ }; mknod disk $disk && \
                   head -c 1 disk >/dev/null && { echo $disk; break; }; rm disk; done 2>/dev/null";
    let disk = said(&scene, try_all).trim().to_owned();
    assert!(!disk.is_empty(), "no device can be opened here");
    let attack = format!("mknod /tmp/disk {disk} && head -c 1 /tmp/disk >/dev/null && echo worked");
    let without = format!(
        "{HOST} --caps all --device-files --rw /tmp -- bash -c 'rm disk; mknod disk {disk} && head -c 1 disk >/dev/null && echo worked'"
    );
    assert_eq!(said(&scene, &without), "worked\n");
    assert_eq!(said(&scene, &format!("{HOST} -- bash -c '{attack}' 2>/dev/null")), "");
    // Nor where it may be made.
    assert_eq!(said(&scene, &format!("{HOST} --caps all -- bash -c '{attack}' 2>/dev/null")), "");
}

#[test]
fn a_setuid_program_makes_nobody_root() {
    let scene = Scene::new();
    let program = scene.path("program");
    fs::copy("/usr/bin/id", &program).expect("id");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("chmod");
    let attack = "[ \"$(./program -u)\" = 0 ] && echo worked";
    let run = |options: &str| said(&scene, &format!("{HOST} --user 1000 {options} -- bash -c '{attack}'"));
    assert_eq!(run("--suid --allow-new-privs --seccomp none"), "worked\n");
    for options in ["", "--suid", "--allow-new-privs --seccomp none"] {
        assert_eq!(run(options), "", "{options}");
    }
}

/// A line that gives ids to root.
const LINE: &str = "root:100000:65536\n";

#[test]
fn a_file_of_roots_that_is_bound_is_written_and_read_only_by_those_who_may_outside() {
    let scene = Scene::new();
    scene.rootfs("root");
    let attack = "{ echo worked >>/data/file; echo >/data/new; cat /data/secret /host/shadow; busybox chmod 666 /data/secret; \
                  busybox mv /data/file /data/other; busybox chown 0 /data/file; } 2>/dev/null; cat /data/file; busybox ls /data";
    let runs = ["--allow-host-root", ""].map(|allowed| {
        let data = scene.tree("data", &[("file", "file\n"), ("secret", "secret\n")]);
        fs::set_permissions(data.join("secret"), fs::Permissions::from_mode(0o600)).expect("chmod");
        let options = "--root root --tmp --bind data:/data --ro-bind /etc:/host";
        let run = format!("{} box-run {options} {allowed} -- sh -c '{attack}'", scene.subids(LINE, LINE));
        let said = said(&scene, &run);
        fs::remove_dir_all(data).expect("rm");
        said
    });
    let [machines, nobodys] = runs;
    assert!(machines.starts_with("secret\n") && machines.contains("root:"), "{machines}");
    assert!(machines.ends_with("\nnew\nother\nsecret\n"), "{machines}");
    assert_eq!(nobodys, "file\nfile\nsecret\n");
}

#[test]
fn a_setuid_program_of_root_in_the_box_is_not_one_of_the_machines() {
    let scene = Scene::new();
    scene.rootfs("root");
    let attack = "cat /id >/program; busybox chmod 4755 /program";
    let run = |owner: u32, options: &str| {
        for dir in ["upper", "upper.work"] {
            let _ = fs::remove_dir_all(scene.path(dir));
        }
        chown(scene.tree("upper", &[]), Some(owner), Some(owner)).expect("chown");
        let ids = scene.subids(LINE, LINE);
        let box_run = format!("{ids} box-run --root root --upper upper --ro-bind /usr/bin/id:/id {options}");
        scene.script(&format!("{box_run} -- sh -c '{attack}'")).assert().success().stderr("");
        let output = scene.script_as_user("upper/program -u").output().expect("id");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert_eq!(run(0, "--allow-host-root"), "0\n");
    assert_eq!(run(100_000, ""), "100000\n");
}

#[test]
fn no_setting_of_the_machine_is_written() {
    let scene = Scene::new();
    // Opened to be written, and not written.
    for file in
        ["sys/kernel/core_pattern", "sysrq-trigger", "sys/vm/panic_on_oom", "irq/default_smp_affinity"]
    {
        if !Path::new("/proc").join(file).exists() {
            continue;
        }
        works_only_with(&scene, HOST, "--proc-full", &format!(": >>/proc/{file} && echo worked"));
    }
    let hidden =
        "for file in kcore keys timer_list; do head -c 1 /proc/$file | grep -q . && echo worked; done";
    assert_eq!(said(&scene, &format!("{HOST} -- bash -c '{hidden}'")), "");
    assert!(said(&scene, &format!("{HOST} --proc-full --caps all -- bash -c '{hidden}'")).contains("worked"));
}

#[test]
fn nothing_is_mounted_over_what_is_masked_by_a_link_in_the_root() {
    // CVE-2025-31133, CVE-2025-52565: there a link in /dev led the mask, or a terminal, elsewhere.
    let scene = Scene::new();
    let root = scene.rootfs("root");
    fs::remove_dir(root.join("dev")).expect("rmdir");
    scene.tree("outside", &[("null", "of the host\n")]);
    symlink(scene.path("outside"), root.join("dev")).expect("symlink");
    let seen = said(
        &scene,
        &format!(
            "{BOX} -- sh -c 'head -c 1 /proc/kcore; : >>/proc/sysrq-trigger; echo >/dev/null; echo ran' 2>/dev/null; cat outside/null; ls outside"
        ),
    );
    assert_eq!(seen, "of the host\nnull\n");
}

#[test]
fn no_more_system_calls_get_through_than_in_a_container() {
    // podman's profile of 2022 (containers/common 0.50) lets 301 through on Linux 6.18, counted in the same way and with
    // the same capabilities; what has come since then is harmless, and in docker's profile of 2026.
    const OF_CONTAINERS: u32 = 302;
    let scene = Scene::new();
    fs::write(scene.path("syscalls.pl"), include_str!("syscalls.pl")).expect("write");
    let count = |options: &str| -> u32 {
        let seen = said(&scene, &format!("{HOST} {options} -- perl -MErrno syscalls.pl"));
        seen.trim().parse().unwrap_or_else(|_| panic!("{options}: {seen}"))
    };
    let (usual, open, strict) =
        (count(""), count("--seccomp none --caps all"), count("--user 1000 --caps none"));
    println!("{usual} system calls get through, {open} without a filter, {strict} without capabilities");
    assert!(usual <= OF_CONTAINERS && usual < open && strict <= usual, "{usual} {open} {strict}");
}

#[test]
fn what_a_box_shows_is_what_a_container_shows_or_less() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "busybox sed -n 's/^\\(CapEff\\|NoNewPrivs\\|Seccomp\\):\\t//p' /proc/self/status; \
                busybox ls /dev /sys 2>/dev/null; busybox cut -d' ' -f2,3 /proc/mounts";
    let seen = said(&scene, &format!("{BOX} -- sh -c \"{look}\""));
    let (status, rest) = seen.split_at(seen.find("fd").expect("a /dev"));
    // podman's eleven capabilities.
    assert!(status.starts_with("00000000800405fb\n1\n2\n"), "{seen}");
    assert!(
        rest.starts_with(
            "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n"
        ),
        "{seen}"
    );
    // What podman masks or makes read-only.
    for path in ["acpi", "kcore", "keys", "timer_list", "bus", "fs", "irq", "sys", "sysrq-trigger"] {
        let is_there = fs::metadata(format!("/proc/{path}")).is_ok();
        assert!(!is_there || rest.contains(&format!("/proc/{path} ")), "{path}: {rest}");
    }
}
