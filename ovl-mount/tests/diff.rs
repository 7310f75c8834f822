//! `ovl-diff`: what an upper directory says has changed.

use std::os::unix::fs::chown;

use chain_testing::{ORDINARY_USER, Scene, kernel_is_from};

/// A scene with the layers `lower` and `upper`, the second filled by a script that runs in the overlay of them.
fn changed_by(script: &str, options: &str) -> Scene {
    let scene = Scene::new();
    scene.tree("lower/dir/deep", &[("file", "deep\n")]);
    scene.tree("lower/dir", &[("one", "1\n"), ("two", "2\n")]);
    scene.tree("lower", &[("file", "old\n"), ("other", "other\n"), ("gone", "")]);
    scene.tree("upper", &[]);
    scene.tree("here", &[]);
    let script = format!("ovl-mount -l lower -u upper {options} here -- bash -ec 'cd $PWD/here; {script}'");
    scene.script(&script).assert().success().stderr("");
    scene
}

/// What `ovl-diff` says with the lower layer, and without.
fn told(script: &str, options: &str) -> [String; 2] {
    let scene = changed_by(script, options);
    ["-l lower", ""].map(|lower| {
        let run = scene.script(&format!("ovl-diff {lower} upper")).output().expect("bash");
        assert!(run.stderr.is_empty(), "{run:?}");
        assert_eq!(run.status.code(), Some(i32::from(!run.stdout.is_empty())), "{run:?}");
        String::from_utf8_lossy(&run.stdout).into_owned()
    })
}

#[test]
fn each_kind_of_change_has_its_letter() {
    for (script, expected) in [
        ("true", ""),
        ("echo new > new", "A new\n"),
        ("mkdir -p new/er", "A new\nA new/er\n"),
        ("echo more >> file", "C file\n"),
        ("rm gone", "D gone\n"),
        ("rm -r dir", "D dir\n"),
        ("rm file; mkdir file; touch file/in", "R file\nA file/in\n"),
        ("rm -r dir; touch dir", "R dir\n"),
        ("rm -r dir; mkdir dir; touch dir/one", "R dir\nA dir/one\n"),
        ("echo more >> dir/deep/file", "C dir/deep/file\n"),
        ("rm dir/one; echo x > dir/three", "D dir/one\nA dir/three\n"),
        ("rm file; echo again > file", "C file\n"),
        ("ln -s target link; mkfifo fifo; mknod node c 1 3", "A fifo\nA link\nA node\n"),
    ] {
        let [with, _] = told(script, "");
        assert_eq!(with, expected, "{script}");
    }
}

#[test]
fn metadata_alone_is_told_from_content() {
    for (script, expected) in [
        ("chmod 600 file", "M file\n"),
        ("chown 12:34 file", "M file\n"),
        ("touch -d @1 file", "M file\n"),
        ("setfattr -n user.x -v y file", "M file\n"),
        ("chmod 700 dir", "M dir\n"),
        ("setfattr -n user.x -v y dir/deep; chmod 755 dir", "M dir/deep\n"),
        ("touch -r file ../stamp; echo old > file; touch -r ../stamp file", ""),
        ("chmod 600 file; chmod 644 file", ""),
    ] {
        for options in ["", "--redirect-dir on --metacopy on"] {
            assert_eq!(told(script, options)[0], expected, "{script} {options}");
        }
    }
    assert_eq!(
        told("chmod 600 file", "--redirect-dir on --metacopy on")[1],
        "M file\n",
        "without the lower too"
    );
}

#[test]
fn without_the_lower_layer_it_says_what_is_likely() {
    let script =
        "echo new > new; echo more >> file; rm gone; rm -r dir; mkdir dir; touch dir/in; chmod 600 other";
    assert_eq!(
        told(script, ""),
        [
            "R dir\nA dir/in\nC file\nD gone\nA new\nM other\n",
            "A dir\nA dir/in\nC file\nD gone\nA new\nC other\n"
        ]
    );
}

#[test]
fn a_renamed_directory_is_told_with_where_it_was() {
    let script = "mv -T dir renamed; echo more >> renamed/deep/file; rm renamed/one";
    let [with, without] = told(script, "--redirect-dir on");
    assert_eq!(with, "D dir\nA renamed <- dir\nC renamed/deep/file\nD renamed/one\n");
    assert_eq!(without, with);
}

#[test]
fn names_are_unmistakable_and_can_be_had_raw() {
    let scene = changed_by("touch \"a b\" \"$(printf \"a\\nb\")\" \"$(printf \"\\377\")\" \"q\\\"\"", "");
    let run = scene.script("ovl-diff -l lower upper; ovl-diff -z -l lower upper | tr '\\0' '@'").assert();
    let said = run.success().get_output().stdout.clone();
    assert_eq!(said, b"A \"a\\nb\"\nA a b\nA \"q\\\"\"\nA \"\\377\"\nA a\nb@A a b@A q\"@A \xff@");
}

#[test]
fn programs_get_an_object_a_line() {
    let scene = changed_by("echo more >> file; rm -r dir; touch \"$(printf \"\\377\")\"", "");
    let run = scene.script("ovl-diff --json -l lower upper").assert().code(1).stderr("");
    run.stdout(
        "{\"change\":\"removed\",\"path\":\"dir\",\"path_bytes\":null,\"from\":null,\"from_bytes\":null,\"type\":null,\
         \"lower_type\":\"directory\",\"size\":null,\"lower_size\":4096}\n\
         {\"change\":\"changed\",\"path\":\"file\",\"path_bytes\":null,\"from\":null,\"from_bytes\":null,\"type\":\"file\",\
         \"lower_type\":\"file\",\"size\":9,\"lower_size\":4}\n\
         {\"change\":\"added\",\"path\":\"\u{fffd}\",\"path_bytes\":[255],\"from\":null,\"from_bytes\":null,\"type\":\"file\",\
         \"lower_type\":null,\"size\":0,\"lower_size\":null}\n"
            .replace("4096", &size_of_a_directory(&scene)),
    );
}

fn size_of_a_directory(scene: &Scene) -> String {
    let output = scene.script("stat -c %s lower/dir").output().expect("stat");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn a_patch_makes_of_the_lower_layer_what_is_shown() {
    let scene = changed_by(
        "echo more >> file; printf no-end > new; rm other; printf \"\\0\" > dir/one; ln -s a link",
        "",
    );
    let run = scene.script("ovl-diff --patch -l lower upper").assert().code(1).stderr("");
    run.stdout(
        "Binary files a/dir/one and b/dir/one differ\n\
         --- a/file\n+++ b/file\n@@ -1 +1,2 @@\n old\n+more\n\
         Only in b: link\n\
         --- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+no-end\n\\ No newline at end of file\n\
         --- a/other\n+++ /dev/null\n@@ -1 +0,0 @@\n-other\n",
    );
    let script = "ovl-diff --patch -l lower upper | (cp -a lower copy; cd copy; patch -sp1); cat copy/file copy/new; ls copy";
    scene.script(script).assert().success().stdout("old\nmore\nno-enddir\nfile\ngone\nnew\n");
}

#[test]
fn how_much_changed_is_a_table() {
    let scene = changed_by("echo more >> file; rm gone; touch a b", "");
    let run = scene
        .script(
            "ovl-diff --stat -l lower upper; ovl-diff -q -l lower upper; echo $?; ovl-diff -q lower lower",
        )
        .assert();
    run.stdout("PATHS BYTES CHANGE\n    2     0 added\n    1     9 changed\n    1     0 removed\n    4     9 all\n1\n");
}

#[test]
fn several_lower_layers_are_seen_as_the_overlay_sees_them() {
    let scene = Scene::new();
    scene.tree("low", &[("a", "low\n"), ("b", "low\n"), ("c", "low\n")]);
    scene.tree("high", &[("a", "high\n")]);
    scene.tree("upper", &[]);
    scene.tree("here", &[]);
    let script = "mknod high/c c 0 0; ovl-mount -l high -l low -u upper here -- bash -c 'cd $PWD/here; ls; chmod 600 a; rm b; echo > c'; \
                  ovl-diff -l high -l low upper";
    scene.script(script).assert().code(1).stdout("a\nb\nM a\nD b\nA c\n").stderr("");
}

#[test]
fn marks_of_an_ordinary_user_are_understood() {
    let scene = Scene::new();
    for dir in ["lower", "lower/dir", "upper", "here"] {
        chown(scene.tree(dir, &[]), Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("chown");
    }
    chown(scene.dir(), Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("chown");
    let script = "echo > lower/dir/old; echo > lower/gone; ns-enter user,mnt -- ovl-mount -l lower -u upper here -- \
                  sh -c 'rm here/gone; rm -r here/dir; mkdir here/dir; echo new > here/dir/new'; ovl-diff -l lower upper";
    if !kernel_is_from((6, 6)) {
        // A tmpfs holds none there.
        return;
    }
    let expected = "R dir\nA dir/new\nD gone\n";
    scene.script_as_user(script).assert().code(1).stdout(expected).stderr("");
    // Root is told how to read them.
    let run = scene.script("ovl-diff -l lower --userxattr upper").assert().code(1);
    run.stdout(expected);
}

#[test]
fn a_whiteout_may_be_an_empty_file_with_a_mark() {
    let scene = Scene::new();
    scene.tree("lower/dir", &[("a", ""), ("b", "")]);
    scene.tree("upper/dir", &[("a", "")]);
    let script = "setfattr -n trusted.overlay.whiteout -v y upper/dir/a; setfattr -n trusted.overlay.opaque -v x upper/dir; \
                  touch -r lower/dir upper/dir; ovl-diff -l lower upper";
    scene.script(script).assert().code(1).stdout("D dir/a\n").stderr("");
}

#[test]
fn what_is_no_directory_is_an_error_and_not_a_difference() {
    let scene = Scene::new();
    scene.tree("upper", &[("file", "")]);
    for (words, why) in [
        ("no-such", "upper directory no-such: No such file or directory"),
        ("upper/file", "upper directory upper/file: Not a directory"),
        ("-l no-such upper", "lower layer no-such: No such file or directory"),
    ] {
        let run = scene.tool("ovl-diff").args(words.split(' ')).assert().code(125).stdout("");
        run.stderr(format!("ovl-diff: {why}\n"));
    }
}

#[test]
fn what_only_the_index_knows_is_refused() {
    for script in ["echo more >> other", "mv other z; echo more >> z"] {
        let scene = Scene::new();
        scene.tree("lower", &[("other", "other\n")]);
        let make = format!(
            "ln lower/other lower/linked; mkdir upper here; \
             ovl-mount -l lower -u upper --index on here -- bash -ec 'cd $PWD/here; {script}; cat linked'"
        );
        scene.script(&make).assert().success().stdout("other\nmore\n").stderr("");
        let path = if script.contains('z') { "z" } else { "other" };
        let why = format!(
            "{path}: it has other names, which only the index of the overlay knows; make such changes without --index\n"
        );
        for lower in ["-l lower", ""] {
            let run = scene.script(&format!("ovl-diff {lower} upper")).assert().code(125).stdout("");
            run.stderr(format!("ovl-diff: {why}"));
        }
        scene.script("ovl-layer upper -o -").assert().code(125).stderr(format!("ovl-layer: {why}"));
        scene.script("ovl-commit upper --to lower").assert().code(125).stderr(format!("ovl-commit: {why}"));
    }
}

#[test]
fn what_lies_beside_an_upper_directory_or_around_it_is_not_taken_for_one() {
    let scene = Scene::new();
    scene.tree("lower", &[("file", "")]);
    for dir in ["upper", "whole/@", "whole/@a%40b", "one/@home", "to"] {
        scene.tree(dir, &[]);
    }
    // As --whole keeps them.
    let script = "ovl-mount -l lower -u upper lower -- touch lower/new; \
                  for dir in whole/@ whole/@a%40b one/@home; do cp -a upper $dir; cp -a upper.work $dir/work; done";
    scene.script(script).assert().success().stderr("");
    let apart = "it is of --whole, which keeps the changes of each mount apart";
    let of_one = "it is of --whole, and has a work directory too";
    let work = "it is a work directory, which has no changes; name the upper directory beside it";
    for (dir, why) in [
        ("whole", format!("{apart}; name one of whole/@/upper, ...")),
        ("one", format!("{apart}; name one/@home/upper")),
        ("whole/@", format!("{of_one}; name whole/@/upper")),
        ("upper.work", work.into()),
        ("whole/@/work", work.into()),
    ] {
        let run = scene
            .script(&format!(
                "ovl-diff {dir}; ovl-commit {dir} --to to; ovl-layer {dir} -o x.tar; ls *.tar* to"
            ))
            .env("LC_ALL", "C")
            .assert();
        run.stdout("to:\n").stderr(format!(
            "ovl-diff: upper directory {dir}: {why}\novl-commit: upper directory {dir}: {why}\n\
             ovl-layer: upper layer {dir}: {why}\nls: cannot access '*.tar*': No such file or directory\n"
        ));
    }
    // Names alone do not make it one.
    let script =
        "mkdir -p mine/@/upper mine/@/work own/work; ovl-diff mine; ovl-diff own; ovl-diff whole/@/upper";
    scene.script(script).assert().code(1).stdout("A @\nA @/upper\nA @/work\nA work\nA new\n").stderr("");
}
