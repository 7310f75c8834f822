//! `ovl-commit`: a directory gets what the overlay has shown.

use std::{collections::BTreeMap, fs, path::PathBuf};

use chain_testing::{ORDINARY_USER, Scene, slowness, walk};

const LOWER: &str = "mkdir -p lower/dir/deep lower/empty; cd lower; echo one > dir/one; echo two > dir/two; echo deep > dir/deep/file; \
                     echo file > file; echo other > other; ln other linked; ln -s file link; mkfifo fifo; chmod 4755 other; \
                     chown 12:34 file; setfattr -n user.color -v red file; truncate -s 64K sparse; echo end >> sparse; cd ..; \
                     find lower -depth -exec touch -hd @1700000000 {} +; cp -a lower copy; mkdir -p upper here;";

type Walk = BTreeMap<PathBuf, String>;

/// A scene with a lower directory, a copy of it, and an upper directory with what a script does in the overlay; and
/// what the overlay showed after it.
fn changed_by(script: &str, options: &str) -> (Scene, Walk) {
    changed_after("true", script, options)
}

/// The same after the lower directory and its copy were changed.
fn changed_after(before: &str, script: &str, options: &str) -> (Scene, Walk) {
    let scene = Scene::new();
    let all =
        format!("{LOWER} {before}; ovl-mount -l lower -u upper {options} here && cd here && {{ {script}; }}");
    scene.script(&format!("set -e; {all}")).assert().success().stderr("");
    let shown = walk(&scene.path("here"));
    scene.script("umount here").assert().success();
    (scene, shown)
}

fn same(got: &Walk, wanted: &Walk, what: &str) {
    let only = |one: &Walk, other: &Walk| {
        let differs = |(path, line): &(&PathBuf, &String)| other.get(*path) != Some(line);
        one.iter()
            .filter(differs)
            .map(|(path, line)| format!("{} {line}", path.display()))
            .collect::<Vec<_>>()
    };
    assert!(got == wanted, "{what}\nis {:#?}\nnot {:#?}", only(got, wanted), only(wanted, got));
}

/// On a slow machine only those with which most is to be done.
fn options() -> &'static [&'static str] {
    const ALL: [&str; 3] = ["--redirect-dir on --metacopy on", "--redirect-dir on", ""];
    if slowness() > 1 { &ALL[..1] } else { &ALL }
}

/// What a script changes in the overlay is in a copy of the lower layer after a commit, and after a second one.
fn is_applied(script: &str) {
    for options in options() {
        let (scene, shown) = changed_by(script, options);
        for _ in 0..2 {
            scene.script("ovl-commit upper --to copy").assert().success().stdout("").stderr("");
            same(&walk(&scene.path("copy")), &shown, &format!("{script} {options}"));
        }
    }
}

#[test]
fn a_copy_of_the_lower_layer_becomes_what_was_shown() {
    for script in [
        "true",
        "echo more >> file; rm other; echo new > new; mkdir -p new.d/in; touch new.d/in/file",
        "rm -r dir",
        "rm -r dir; mkdir dir; echo again > dir/one; mkdir dir/deep",
        "rm -r dir; echo file > dir",
        "rm file; mkdir file; touch file/in",
        "ln file dir/a; ln file z; ln -f file dir/one; chmod 640 z",
        "mv file gone; ln gone dir/a; ln gone z; rm dir/two; ln gone dir/two",
        "ln file dir/a; mv file z; echo again > file; chmod 640 z",
        "rm link; ln -s /etc/passwd link; mknod null c 1 3; mknod disk b 7 0; mkfifo pipe",
        "chmod 600 file; chown 1:2 dir/one; touch -d @12345.6789 dir/two; setfattr -n user.color -v blue file; chmod 1777 dir/deep",
        "setfattr -x user.color file; setfattr -n user.new -v 1 dir",
        "ln file hard; ln file dir/hard; echo more >> hard",
        "touch a; ln a b; ln a dir/c; rm a",
        "mv file dir/moved; mv dir/one .",
        "rm file; echo again > file; rm dir/one; mkfifo dir/one",
        "echo x >> sparse; truncate -s 4M big; echo end >> big",
        "setfacl -m u:12:rwx file; setfacl -d -m g:34:r dir",
        "touch \"$(printf 'a\\nb')\" \"$(printf '\\377')\" ' ' '*'",
        "mkdir -m 0 closed; mkdir -m 555 read; touch read/file; chmod 0 file",
    ] {
        is_applied(script);
    }
}

#[test]
fn each_kind_of_change_is_told_and_applied() {
    for (script, told) in [
        ("mv -T dir renamed", "D dir\nA renamed <- dir\n"),
        ("ln file hard; ln dir/one dir/hard", "A dir/hard <- dir/one\nA hard <- file\n"),
        ("rm -r dir; mkdir dir; echo again > dir/one", "R dir\nA dir/one\n"),
        ("rm file; echo again > file", "C file\n"),
        ("setfattr -n user.color -v blue file; setfattr -n user.new -v 1 dir", "M dir\nM file\n"),
        ("echo end >> huge; [ $(stat -c %b huge) -lt 8192 ]", "C huge\n"),
    ] {
        let huge = sparse("lower/huge");
        let before =
            if script.contains("huge") { format!("{huge}; cp -a lower/huge copy") } else { "true".into() };
        let (scene, shown) = changed_after(&before, script, "--redirect-dir on --metacopy on");
        scene.script("ovl-diff -l lower upper").assert().code(1).stdout(told).stderr("");
        scene.script("ovl-commit upper --to copy").assert().success().stdout("").stderr("");
        same(&walk(&scene.path("copy")), &shown, script);
    }
}

#[test]
fn one_name_of_a_file_without_its_content_is_applied_only_with_the_name_that_has_it() {
    let (scene, _) = changed_by("ln file a; ln file b", "--redirect-dir on --metacopy on");
    let before = walk(&scene.path("copy"));
    scene
        .script("ovl-commit upper --to copy --only a")
        .assert()
        .code(125)
        .stderr("ovl-commit: a: it is a further name of file, which is not chosen; choose both or none\n");
    same(&walk(&scene.path("copy")), &before, "nothing is done");
    scene.script("ovl-commit upper --to copy --only a --only file").assert().success();
    scene.script("[[ copy/a -ef copy/file && ! -e copy/b ]]").assert().success();
}

#[test]
fn what_was_renamed_keeps_all_that_is_in_it() {
    for script in [
        "mv -T dir renamed",
        "mv -T dir renamed; echo more >> renamed/deep/file; rm renamed/one; touch renamed/new",
        "mv -T dir renamed; mkdir dir; touch dir/other",
        "mv -T dir tmp; mv -T empty dir; mv -T tmp empty",
        "mv -T dir/deep deep; mv -T dir deep/dir",
        "mkdir new; mv -T dir new/dir; mv -T new/dir/deep new/deep",
        "rm -r empty; mv -T dir empty",
        "rm file; mv -T dir file",
        "mv -T dir renamed; mv -T renamed/deep renamed/deeper; chmod 700 renamed",
        "chmod 640 file; mv file moved; mv moved dir/again",
        "mv -T dir a; mv -T a b; mv -T b dir",
    ] {
        is_applied(script);
    }
}

#[test]
fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let (scene, _) = changed_by("echo more >> file; rm -r dir; touch new", "");
    let run = scene.script("cp -a copy before; ovl-commit -n upper --to copy; ovl-commit upper --to copy; ovl-commit -n upper --to copy").assert();
    run.success().stdout("D dir\nC file\nA new\n").stderr("");
    drop(scene);
    let (scene, _) = changed_by("echo more >> file; rm -r dir; touch new", "");
    let before = walk(&scene.path("copy"));
    scene.script("ovl-commit --dry-run upper --to copy").assert().success().stderr("");
    same(&walk(&scene.path("copy")), &before, "a dry run");
}

#[test]
fn paths_are_chosen_by_patterns() {
    for (words, changed) in [
        ("--only file", "C file\n"),
        ("--only 'dir/*'", "C dir/one\nC dir/two\n"),
        ("--only dir --exclude '**/two'", "C dir/one\n"),
        ("--exclude dir", "C file\nA new\nA new/in\n"),
        ("--only /new", "A new\nA new/in\n"),
        ("--only nothing", ""),
    ] {
        let script = "echo x >> dir/one; echo x >> dir/two; echo x >> file; mkdir new; touch new/in";
        let (scene, _) = changed_by(script, "");
        let script = format!("ovl-commit -n {words} upper --to copy; ovl-commit {words} upper --to copy");
        scene.script(&script).assert().success().stdout(changed).stderr("");
        let left = scene.script("ovl-diff -l copy upper").output().expect("bash").stdout;
        let all = ["C dir/one\n", "C dir/two\n", "C file\n", "A new\n", "A new/in\n"];
        let wanted: String = all.into_iter().filter(|line| !changed.contains(line)).collect();
        assert_eq!(String::from_utf8_lossy(&left), wanted, "{words}");
    }
}

#[test]
fn what_was_changed_on_both_sides_is_refused_unless_it_is_forced() {
    let (scene, shown) = changed_by("echo mine > file; rm other; rm -r dir; touch new", "");
    let script = "echo theirs > copy/file; echo theirs > copy/new; ovl-commit upper --to copy; echo $?; cat copy/file; ls copy/other copy/dir";
    let run = scene.script(script).assert().success();
    run.stdout("125\ntheirs\ncopy/other\n\ncopy/dir:\ndeep\none\ntwo\n").stderr(
        "ovl-commit: file: it was changed in the directory after the overlay took it\n\
         ovl-commit: new: it was changed in the directory after the overlay took it\n\
         ovl-commit: conflicts: 2: nothing was changed; --force applies the changes all the same, --exclude leaves some out\n",
    );
    scene.script("ovl-commit --exclude file --exclude new upper --to copy; cat copy/file; ls copy/other 2>&1 | grep -c No.such").assert().stdout("theirs\n1\n");
    scene.script("ovl-commit --force upper --to copy").assert().success().stderr("");
    same(&walk(&scene.path("copy")), &shown, "forced");
}

#[test]
fn a_dry_run_tells_conflicts_too_and_fails_as_the_run_would() {
    let (scene, _) = changed_by("echo mine > file; touch new", "");
    let script = "echo theirs > copy/file; ovl-commit -n upper --to copy; echo $?; cat copy/file";
    let run = scene.script(script).assert().success();
    let conflict = "ovl-commit: file: it was changed in the directory after the overlay took it\n\
        ovl-commit: conflicts: 1: nothing was changed; --force applies the changes all the same, --exclude leaves some out\n";
    run.stdout("C file\nA new\n125\ntheirs\n").stderr(conflict);
    for (words, told) in [("--force", "C file\nA new\n"), ("--exclude file", "A new\n")] {
        let run = scene
            .script(&format!("ovl-commit -n {words} upper --to copy; ls copy/new 2>&1 | grep -c No.such"))
            .assert();
        run.success().stdout(format!("{told}1\n")).stderr("");
    }
}

#[test]
fn no_link_leads_out_of_the_directory() {
    let (scene, _) = changed_by("echo mine > dir/one; touch dir/deep/new", "");
    let script = "mkdir outside; touch outside/one; rm -r copy/dir; ln -s ../outside copy/dir; touch -hd @1600000000 copy/dir; \
                  ovl-commit upper --to copy --force; ls -A outside; cat outside/one copy/dir/one; test -d copy/dir && test ! -L copy/dir && echo a directory";
    scene.script(script).assert().success().stdout("one\nmine\na directory\n").stderr("");
}

#[test]
fn what_only_the_index_knows_is_refused() {
    let (scene, _) = changed_by("echo more >> other", "--index on");
    let before = walk(&scene.path("copy"));
    let run = scene.script("ovl-commit upper --to copy").assert().code(125);
    run.stderr("ovl-commit: other: it has other names, which only the index of the overlay knows; make such changes without --index\n");
    same(&walk(&scene.path("copy")), &before, "refused");
}

/// How large a sparse file is: one GiB, or on a machine that would take minutes to read that, less.
fn megabytes() -> u64 {
    if slowness() > 1 { 32 } else { 1024 }
}

/// A script that makes one, with a line in its middle.
fn sparse(name: &str) -> String {
    let (size, middle) = (megabytes(), megabytes() / 2);
    format!(
        "truncate -s {size}M {name}; echo middle | dd of={name} bs=1M seek={middle} conv=notrunc status=none"
    )
}

#[test]
fn holes_stay_holes() {
    let (scene, _) = changed_by(&sparse("big"), "");
    scene.script("ovl-commit upper --to copy; [ $(stat -c %b copy/big) -lt 100 ] && stat -c %s copy/big; cmp copy/big upper/big")
        .assert()
        .success()
        .stdout(format!("{}\n", megabytes() << 20));
}

#[test]
fn what_another_upper_has_begun_is_not_gone_on_with() {
    let (scene, _) = changed_by("echo mine > file", "");
    let script = "mkdir copy/.ovl-commit; printf 'another\\0note\\0' > copy/.ovl-commit/moves; ovl-commit upper --to copy; cat copy/file; \
                  rm copy/.ovl-commit/moves; ovl-commit upper --to copy; cat copy/file; ls -A copy | grep -c ovl-commit";
    scene.script(script).assert().stdout("file\nmine\n0\n").stderr(
        "ovl-commit: read .ovl-commit/moves: the changes of another upper directory are half applied; complete that first, which is inode another\n",
    );
}

#[test]
fn which_upper_is_to_be_completed_first_is_told() {
    let (scene, _) = changed_by("mv -T dir renamed; echo more >> file", "--redirect-dir on");
    let script = "cp -a upper other; chattr +i copy/file; ovl-commit upper --to copy 2>/dev/null; chattr -i copy/file; \
                  ovl-commit other --to copy; stat -c %i upper; ovl-commit upper --to copy";
    let run = scene.script(script).assert().success();
    let output = run.get_output().clone();
    let [said, inode] =
        [output.stderr, output.stdout].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert_eq!(
        said,
        format!(
            "ovl-commit: read .ovl-commit/moves: the changes of another upper directory are half applied; \
             complete that first, which is inode {inode}"
        )
    );
}

#[test]
fn bad_input_is_said() {
    let scene = Scene::new();
    scene.tree("upper", &[(".ovl-commit", "")]);
    scene.tree("dir", &[]);
    for (words, why) in [
        ("no-such --to dir", "upper directory no-such: No such file or directory"),
        ("dir --to no-such", "directory no-such: No such file or directory"),
        ("dir --to dir", "dir: it is the upper directory itself"),
        ("upper --to dir", "upper directory: it has a .ovl-commit, which is a name that ovl-commit uses"),
        ("dir", "the following required arguments were not provided: --to <DIR>; see ovl-commit --help"),
    ] {
        let run = scene.tool("ovl-commit").args(words.split(' ')).assert().code(125).stdout("");
        run.stderr(format!("ovl-commit: {why}\n"));
    }
    assert_eq!(fs::read_dir(scene.path("dir")).expect("directory").count(), 0);
}

#[test]
fn what_is_mounted_in_a_removed_directory_is_not_emptied() {
    for script in ["rm -r dir", "rm -r dir; mkdir dir", "rm -r dir; touch dir"] {
        let (scene, _) = changed_by(script, "");
        let run = "mkdir other; echo keep > other/precious; mount --bind other copy/dir/deep; ovl-commit upper --to copy --force; \
                   cat other/precious copy/dir/one; umount copy/dir/deep";
        let run = scene.script(run).assert().success().stdout("keep\none\n");
        run.stderr("ovl-commit: look at dir/deep: Invalid cross-device link; another filesystem is mounted there, and would be emptied\n");
    }
}

#[test]
fn what_was_changed_deep_in_a_removed_directory_is_a_conflict() {
    for script in ["rm -r dir", "rm -r dir; mkdir dir; echo x > dir/x"] {
        let (scene, _) = changed_by(script, "");
        let run = "echo important > copy/dir/deep/file; touch copy/dir/deep/more; ovl-commit upper --to copy; cat copy/dir/deep/file";
        let said = |path: &str| {
            format!("ovl-commit: {path}: it was changed in the directory after the overlay took it\n")
        };
        scene.script(run).assert().success().stdout("important\n").stderr(
            said("dir/deep") + &said("dir/deep/file") + &said("dir/deep/more")
                + "ovl-commit: conflicts: 3: nothing was changed; --force applies the changes all the same, --exclude leaves some out\n",
        );
        scene.script("ovl-commit upper --to copy --force; [ ! -e copy/dir/deep ]").assert().success();
    }
}

#[test]
fn what_is_left_out_does_not_go_with_the_directory_that_it_is_in() {
    for script in ["rm -r dir", "rm -r dir; mkdir dir; echo x > dir/x"] {
        let (scene, _) = changed_by(script, "");
        let run = "ovl-commit upper --to copy --exclude '**/deep'; cat copy/dir/deep/file copy/dir/one";
        scene
            .script(run)
            .assert()
            .success()
            .stdout("deep\none\n")
            .stderr("ovl-commit: dir/deep: it is left out, but would go with dir; choose both or none\n");
    }
}

#[test]
fn what_changed_places_is_applied_together_or_not_at_all() {
    let (scene, shown) = changed_by("mv -T dir tmp; mv -T empty dir; mv -T tmp empty", "--redirect-dir on");
    let before = walk(&scene.path("copy"));
    for only in ["dir", "empty"] {
        let run =
            scene.script(&format!("ovl-commit upper --to copy --only {only}")).assert().code(125).stdout("");
        let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(said.ends_with("in the overlay, which is not chosen; choose both or none\n"), "{said}");
        same(&walk(&scene.path("copy")), &before, "nothing is done");
    }
    scene.script("ovl-commit upper --to copy --only dir --only empty").assert().success();
    same(&walk(&scene.path("copy")), &shown, "both");
}

#[test]
fn what_is_begun_is_completed_by_the_same_words() {
    let script = "mv -T dir renamed; mv -T empty other.d; echo more >> file";
    let (scene, shown) = changed_by(script, "--redirect-dir on");
    let run = "chattr +i copy/file; ovl-commit upper --to copy --only renamed --only file && echo done; chattr -i copy/file; \
               ovl-commit upper --to copy; ovl-commit upper --to copy --only renamed --only file; ovl-commit upper --to copy";
    let run = scene.script(run).assert().success().stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let words = "ovl-commit: read .ovl-commit/moves: this was begun with --only renamed --only file; complete that first, by the same words";
    assert!(said.lines().nth(1) == Some(words) && said.lines().count() == 2, "{said}");
    same(&walk(&scene.path("copy")), &shown, "all");
}

#[test]
fn a_stage_without_a_journal_is_not_begun_and_that_of_another_is_not_believed() {
    let (scene, _) = changed_by("echo box > file", "");
    let run = "mkdir -m 700 copy/.ovl-commit; echo host > copy/file; ovl-commit upper --to copy 2>&1 | tail -n 1; cat copy/file; \
               chmod 777 copy/.ovl-commit; ovl-commit upper --to copy; chown 1000 copy/.ovl-commit; chmod 700 copy/.ovl-commit; \
               ovl-commit upper --to copy";
    let why = "ovl-commit: open .ovl-commit: it is another user's, or others may write to it; remove it, if no ovl-commit is running\n";
    let run = scene.script(run).assert().code(125).stderr(why.repeat(2));
    run.stdout(
        "ovl-commit: conflicts: 1: nothing was changed; --force applies the changes all the same, --exclude leaves some out\nhost\n",
    );
}

#[test]
fn a_deep_tree_needs_no_more_descriptors_than_there_may_be() {
    let (scene, shown) =
        changed_by("mkdir -p $(printf 'd/%.0s' {1..100}); touch $(printf 'd/%.0s' {1..100})end", "");
    scene
        .script("ulimit -S -n 64; ovl-diff -l lower upper | wc -l; ovl-commit upper --to copy")
        .assert()
        .success()
        .stdout("101\n");
    same(&walk(&scene.path("copy")), &shown, "all");
}

#[test]
fn what_took_the_place_of_a_directory_is_a_conflict() {
    let (scene, _) = changed_by("echo z >> dir/one; mkdir .ovl-commit.done", "");
    let done =
        "ovl-commit: upper directory: it has a .ovl-commit.done, which is a name that ovl-commit uses\n";
    scene.script("ovl-commit upper --to copy").assert().code(125).stderr(done);
    let run = "rmdir upper/.ovl-commit.done; mv copy/dir copy/old; echo file > copy/dir; ovl-commit upper --to copy 2>&1 | head -n 1; cat copy/dir";
    let said = "ovl-commit: dir: it was changed in the directory after the overlay took it\nfile\n";
    scene.script(run).assert().success().stdout(said);
}

#[test]
fn a_file_that_a_renamed_directory_came_instead_of_is_a_conflict_if_it_has_changed() {
    let (scene, shown) = changed_by("rm file; mv -T dir file", "--redirect-dir on");
    let run = "cp -a copy other; echo theirs > other/file; ovl-commit upper --to other 2>&1 | head -n 1; cat other/file; \
               ovl-commit upper --to copy";
    let said = "ovl-commit: file: it was changed in the directory after the overlay took it\ntheirs\n";
    scene.script(run).assert().success().stdout(said).stderr("");
    same(&walk(&scene.path("copy")), &shown, "renamed");
}

#[test]
fn a_renamed_file_that_was_made_anew_is_known_after_an_interruption() {
    let script = "chmod 600 other; mv other moved; echo more >> sparse";
    let (scene, shown) = changed_by(script, "--redirect-dir on --metacopy on");
    let run = "chattr +i copy/sparse; ovl-commit upper --to copy 2>/dev/null; echo $?; ovl-commit upper --to copy 2>/dev/null; echo $?; \
               chattr -i copy/sparse; ovl-commit upper --to copy; echo $?";
    scene.script(run).assert().success().stdout("125\n125\n0\n").stderr("");
    same(&walk(&scene.path("copy")), &shown, script);
}

#[test]
fn a_new_file_with_the_number_of_one_that_was_moved_is_not_moved_after_an_interruption() {
    let before = "echo shared > lower/c; ln lower/c lower/b; rm -r copy; cp -a lower copy";
    let script = "chmod 600 c; mv c a; rm b; echo new > c; echo more >> sparse";
    let (scene, shown) = changed_after(before, script, "--redirect-dir on --metacopy on");
    let run = "chattr +i copy/sparse; ovl-commit upper --to copy 2>/dev/null; echo $?; chattr -i copy/sparse; \
               ovl-commit upper --to copy; echo $?; cat copy/a copy/c";
    scene.script(run).assert().success().stdout("125\n0\nshared\nnew\n").stderr("");
    same(&walk(&scene.path("copy")), &shown, script);
}

#[test]
fn what_is_noted_in_the_upper_directory_is_on_its_disk_when_the_commit_ends() {
    let scene = Scene::new();
    let script = "set -e; truncate -s 16M disk; mkfs.ext4 -q disk; mkdir -p lower/dir other here there; touch lower/dir/file; cp -a lower copy; \
                  mount -o loop disk other; trap 'umount other' EXIT; mkdir other/upper; sync -f other; \
                  ovl-mount -l lower -u other/upper --redirect-dir on here -- mv here/dir here/moved; sync -f other; \
                  ovl-commit other/upper --to copy; cp disk lost; \
                  mount -o loop lost there; trap 'umount there other' EXIT; \
                  ovl-commit there/upper --to copy; find copy -mindepth 1 | sort";
    scene.script(script).assert().success().stdout("copy/moved\ncopy/moved/file\n").stderr("");
}

#[test]
fn a_directory_of_somebody_that_has_the_name_of_the_stage_is_not_removed() {
    for name in [".ovl-commit", ".ovl-commit.done"] {
        let (scene, _) = changed_by("echo mine > file", "");
        let run = format!(
            "mkdir copy/{name}; echo keep > copy/{name}/precious; ovl-commit upper --to copy; \
             cat copy/{name}/precious copy/file; rm copy/{name}/precious; ovl-commit upper --to copy; cat copy/file; ls -A copy | grep -c ovl-commit"
        );
        scene.script(&run).assert().stdout("keep\nfile\nmine\n0\n").stderr(format!(
            "ovl-commit: open {name}: it has precious in it, which is not of ovl-commit; give the directory another name\n"
        ));
    }
}

#[test]
fn directories_above_what_is_chosen_are_as_in_the_overlay() {
    let script = "mkdir -p new/sub; echo in > new/sub/file; touch new/other; chmod 1755 new; chmod 555 new/sub; \
                  chown 12:34 new new/sub; setfattr -n user.x -v y new; touch -d @1600000000 new new/sub";
    let (scene, _) = changed_by(script, "");
    let run = "ovl-commit upper --to copy --only new/sub/file; cd copy; find new -printf '%p %m %U:%G\n'; getfattr -n user.x --only-values new; \
               stat -c ' %Y' new new/sub";
    let run = scene.script(run).assert().success().stderr("");
    run.stdout("new 1755 12:34\nnew/sub 555 12:34\nnew/sub/file 644 0:0\ny 1600000000\n 1600000000\n");
}

#[test]
fn what_is_begun_is_completed_when_the_disk_has_another_number() {
    let scene = Scene::new();
    let script = "set -e; for name in disk spare; do truncate -s 16M $name; mkfs.ext4 -q $name; done; mkdir here there on; \
                  mount -o loop disk here; trap 'cd $top; umount here there 2>/dev/null || true' EXIT; top=$PWD; cd here; mkdir -p lower/dir upper; touch lower/dir/file; \
                  echo old > lower/other; cp -a lower copy; \
                  ovl-mount -l lower -u upper --redirect-dir on ../on -- sh -c 'cd $PWD/../on; mv dir moved; echo new > other'; \
                  chattr +i copy/other; ovl-commit upper --to copy 2>/dev/null || echo interrupted; chattr -i copy/other; stat -c %d copy > ../before; \
                  cd ..; umount here; mount -o loop spare there; mount -o loop disk here; cd here; \
                  cmp -s ../before <(stat -c %d copy) || echo another; \
                  ovl-commit upper --to copy; cat copy/other; find copy -mindepth 1 | sort; cd ..";
    scene
        .script(script)
        .assert()
        .success()
        .stdout("interrupted\nanother\nnew\ncopy/moved\ncopy/moved/file\ncopy/other\n")
        .stderr("");
}

#[test]
fn what_cannot_be_renamed_is_refused_before_anything_is() {
    let (scene, _) = changed_by("mv -T dir renamed; mv -T empty other.d", "--redirect-dir on");
    let before = walk(&scene.path("copy"));
    let run = "mkdir other; mount --bind copy/empty copy/empty; ovl-commit upper --to copy; umount copy/empty; ls -A copy | grep ovl-commit; \
               mount --bind upper other; mount -o remount,bind,ro other; ovl-commit other --to copy; umount other; ls -A copy | grep ovl-commit";
    scene.script(run).assert().code(1).stdout("").stderr(
        "ovl-commit: move empty to other.d: Invalid cross-device link; something is mounted there, which cannot be moved\n\
         ovl-commit: note in the upper directory what is done: Read-only file system; \
         it must be writable, as renames cannot be applied without\n",
    );
    same(&walk(&scene.path("copy")), &before, "nothing is done");
}

#[test]
fn what_lies_too_deep_is_refused() {
    let scene = Scene::new();
    let script = "deep() { mkdir $1; perl -e '($dir, $count, $name) = @ARGV; chdir $dir; for (1..$count) { mkdir $name; chdir $name } open F, \">in\"' $@; }; long=$(printf '%0250d' 0); \
                  deep upper 498 a; deep nested 3000 a; deep long 20 $long; mkdir to; \
                  for dir in nested long; do ovl-diff $dir; ovl-layer $dir -o layer.tar; ovl-commit $dir --to to; done; ls -A to; \
                  ovl-diff upper | wc -l; ovl-layer upper -o layer.tar && ovl-commit upper --to to && find to -name in | wc -l; \
                  deep six 600 a; tar -cf deep.tar six; ovl-layer -x deep.tar dir 2>&1 | grep -c 'six: there are more than 500'; ls -d dir 2>/dev/null; rm -r nested long six";
    let deep = "a: there are more than 500 directories in one another\n";
    let long = format!("{:0250}: a path in it has more than 4095 bytes\n", 0);
    let said: Vec<_> = [deep, &long]
        .into_iter()
        .flat_map(|why| ["ovl-diff", "ovl-layer", "ovl-commit"].map(|tool| format!("{tool}: {why}")))
        .collect();
    scene.script(script).assert().success().stdout("499\n1\n1\n").stderr(said.concat());
}

#[test]
fn a_file_that_nobody_may_remove_is_said_so() {
    let (scene, _) = changed_by("rm file", "");
    let run = "chattr +i copy/file; ovl-commit upper --to copy; chattr -i copy/file";
    scene.script(run).assert().success().stderr("ovl-commit: file: remove it: Operation not permitted\n");
}

#[test]
fn nobody_can_do_more_with_a_file_while_its_owner_and_mode_are_set() {
    let (scene, _) = changed_by("chmod 640 dir/one; chown 12:34 dir/one", "--redirect-dir on --metacopy on");
    let run = "strace -f -o calls -e trace='/ch(own|mod)' ovl-commit upper --to copy; grep -o 'chmod\\|chown' calls | head -n 3; stat -c %a:%u:%g copy/dir/one";
    scene.script(run).assert().success().stdout("chmod\nchown\nchmod\n640:12:34\n");
}

#[test]
fn two_at_a_time_are_refused() {
    let (scene, _) = changed_by("echo more >> file", "");
    let run = "exec 3<copy; flock 3; ovl-commit upper --to copy; flock --unlock 3; ovl-commit upper --to copy; echo $?";
    let why = "ovl-commit: lock the directory: Resource temporarily unavailable; another ovl-commit is at work in it\n";
    scene.script(run).assert().success().stdout("0\n").stderr(why);
}

#[test]
fn an_ordinary_user_commits_also_to_directories_that_nobody_may_write_to() {
    let scene = Scene::new();
    scene.tree("theirs", &[]);
    scene.script(&format!("chown {ORDINARY_USER} theirs")).assert().success();
    let script = "set -e; cd theirs; mkdir -p lower/pkg/ro/in lower/kept lower/old lower/deep/ro upper here; touch lower/pkg/ro/in/file lower/kept/{a,b} lower/old/file; \
                  chmod 555 lower/pkg/ro/in lower/pkg/ro lower/kept lower/old lower/deep/ro; cp -a lower copy; \
                  ns-enter user,mnt -- ovl-mount -l lower -u upper here -- bash -ec 'cd $PWD/here; chmod -R u+w .; rm -r pkg; rm kept/a; echo new > kept/b; \
                  mkdir kept/new; mv old/file deep/ro; setfattr -n user.x -v y old; chmod 555 kept old deep/ro'; \
                  ovl-commit upper --to copy; cd copy; find . -mindepth 1 -printf '%P %m\\n' | sort; cat kept/b; getfattr -n user.x --only-values old";
    let run = scene.script_as_user(script).assert().success().stderr("");
    run.stdout(
        "deep 755\ndeep/ro 555\ndeep/ro/file 644\nkept 555\nkept/b 644\nkept/new 755\nold 555\nnew\ny",
    );
}
