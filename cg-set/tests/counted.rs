//! `hugetlb.SIZE=`, `rdma=` and `misc=`: what is limited by how many of it are held.

use std::{
    fs,
    path::{Path, PathBuf},
};

use chain_testing::{Scene, skip};

use common::{NAME, SHOWN};

mod common;

/// Whether a controller is in a tree that is mounted here.
fn is_mounted(controller: &str) -> bool {
    let own = fs::read_to_string("/proc/self/cgroup").expect("groups");
    own.lines()
        .any(|line| line.split(':').nth(1).is_some_and(|list| list.split(',').any(|name| name == controller)))
        || ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].iter().any(|root| {
            let list = fs::read_to_string(Path::new(root).join("cgroup.controllers")).unwrap_or_default();
            list.split_whitespace().any(|name| name == controller)
        })
}

/// Lets the group at the root of a hybrid machine's v2 tree share out what it did before the test.
struct Shared {
    file: PathBuf,
    before: String,
}

impl Shared {
    fn now() -> Self {
        let file = PathBuf::from("/sys/fs/cgroup/unified/cgroup.subtree_control");
        let before = fs::read_to_string(&file).unwrap_or_default();
        Self { file, before }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let now = fs::read_to_string(&self.file).unwrap_or_default();
        for name in
            now.split_whitespace().filter(|name| !self.before.split_whitespace().any(|had| had == *name))
        {
            let _ = fs::write(&self.file, format!("-{name}"));
        }
    }
}

#[test]
fn huge_pages_are_limited_by_size_and_rounded_to_whole_ones() {
    let scene = Scene::new();
    let _shared = Shared::now();
    if !is_mounted("hugetlb") {
        return skip("no hugetlb controller is mounted");
    }
    if !Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        return skip("there are no huge pages of 2 MiB");
    }
    let script = format!(
        "{SHOWN}; cg-set --name {NAME} hugetlb.2MB=64M && shown {NAME}; \
         cg-set --name {NAME} hugetlb.2MB=5M && shown {NAME}; \
         cg-set --name {NAME} hugetlb.2MB=max && shown {NAME}; \
         cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    run.stdout("hugetlb.2MB=64M\nhugetlb.2MB=4M\n").stderr("cg-set: hugetlb.2MB=5M: the kernel made it 4M\n");
    let raw = "cg-set hugetlb.2MB.no_such_file=1 -- echo ran";
    let run = scene.script(raw).assert().code(125).stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.ends_with("this kernel does not have it, or not for this group\n"), "{said}");
    let run =
        scene.tool("cg-set").args(["hugetlb.3MB=3M", "--", "echo", "ran"]).assert().code(125).stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let why = "cg-set: hugetlb.3MB=3M: this kernel has no huge pages of this size; there are hugetlb.";
    assert!(said.starts_with(why) && said.contains("hugetlb.2MB"), "{said}");
}

#[test]
fn no_more_huge_pages_are_had_than_the_limit_allows() {
    let scene = Scene::new();
    let _shared = Shared::now();
    if !is_mounted("hugetlb") {
        return skip("no hugetlb controller is mounted");
    }
    let pages = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    let count = || fs::read_to_string(pages).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let Some(before) = count() else { return skip("there are no huge pages of 2 MiB") };
    fs::write(pages, (before + 2).to_string()).expect("two pages more");
    if count() == Some(before + 2) {
        let fill = "for file in a b; do fallocate --length 2M pages/$file && echo got; done";
        let script = format!(
            "mkdir pages; unshare --mount bash -c 'mount -t hugetlbfs -o pagesize=2M none pages; \
             cg-set hugetlb.2MB=2M -- bash -c \"{}\"; rm pages/*; cg-set hugetlb.2MB=4M -- bash -c \"{}\"; rm pages/*'",
            fill.replace('$', "\\$"),
            fill.replace('$', "\\$"),
        );
        let run = scene.script(&script).output();
        fs::write(pages, before.to_string()).expect("as before");
        let run = run.expect("bash");
        assert_eq!(String::from_utf8_lossy(&run.stdout), "got\ngot\ngot\n");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(said.matches("fallocate failed").count(), 1, "{said}");
    } else {
        fs::write(pages, before.to_string()).expect("as before");
        skip("there is no memory for two huge pages");
    }
}

/// What is refused where there is no controller, or no such thing.
fn is_refused(scene: &Scene, setting: &str, why: &str) {
    let run = scene.tool("cg-set").args([setting, "--", "echo", "ran"]).assert().code(125).stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.starts_with(&format!("cg-set: {setting}: {why}")), "{said}");
}

#[test]
fn adapters_for_remote_memory_are_limited_where_there_are_some() {
    let scene = Scene::new();
    let _shared = Shared::now();
    if !is_mounted("rdma") {
        is_refused(&scene, "rdma=none0:hca_handle=2", "no cgroup rdma controller is mounted here");
        return skip("no rdma controller is mounted");
    }
    is_refused(&scene, "rdma=none0:hca_handle=2", "this machine has no adapter none0");
    let mut adapters = fs::read_dir("/sys/class/infiniband").into_iter().flatten().flatten();
    let Some(adapter) = adapters.next() else { return skip("there is no adapter") };
    let setting = format!("rdma={}:hca_handle=2,hca_object=2000", adapter.file_name().display());
    let script =
        format!("{SHOWN}; cg-set --name {NAME} {setting} && shown {NAME}; cg-set --name {NAME} --remove");
    scene.script(&script).assert().success().stdout(setting + "\n").stderr("");
}

#[test]
fn resources_that_are_counted_are_limited_where_there_are_some() {
    let scene = Scene::new();
    let _shared = Shared::now();
    if !is_mounted("misc") {
        is_refused(&scene, "misc=none:2", "no cgroup misc controller is mounted here");
        return skip("no misc controller is mounted");
    }
    is_refused(&scene, "misc=none:2", "this machine has no none");
    let roots = ["", "/unified", "/misc"].map(|dir| format!("/sys/fs/cgroup{dir}/misc.capacity"));
    let there = roots.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let Some((resource, _)) = there.split_once(' ') else {
        return skip("there are no such resources");
    };
    let setting = format!("misc={resource}:1");
    let script =
        format!("{SHOWN}; cg-set --name {NAME} {setting} && shown {NAME}; cg-set --name {NAME} --remove");
    scene.script(&script).assert().success().stdout(setting + "\n").stderr("");
}
