//! Many operations at once, for a while.

use chain_testing::Scene;

#[test]
fn half_a_minute_of_all_operations_at_once_leaves_nothing_wrong() {
    let scene = Scene::new();
    scene.tree("lower/deep/er", &[("file", "lower\n")]);
    scene.tree("upper", &[]);
    scene.tree("here", &[]);
    let stress = "stress-ng --temp-path here --timeout 30s --verify --quiet --hdd-bytes 8M --sync-file-bytes 8M \
                  --dir 1 --dirdeep 1 --dentry 1 --rename 1 --link 1 --symlink 1 --hdd 1 --xattr 1 --chmod 1 --chown 1 \
                  --utime 1 --fallocate 1 --fallocate-bytes 8M --file-ioctl 1 --fstat 1 --getdent 1 --sync-file 1 --mknod 1";
    let script = format!(
        "ovl-mount -l lower -u upper --redirect-dir on --metacopy on here -- \
         bash -c '{stress} && echo done; find here -mindepth 1 -maxdepth 1 ! -name deep; cat here/deep/er/file'"
    );
    scene.script(&script).assert().success().stdout("done\nlower\n").stderr("");
    // What was made was removed again, so nothing but whiteouts and empty directories can be left.
    scene.script("find upper -type f -size +0").assert().success().stdout("");
}
