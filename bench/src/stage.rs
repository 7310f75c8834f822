//! What must be on the machine while a group of contestants runs: groups that are there already, mounts. All of it goes
//! when the stage is dropped.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::gettid,
};

use crate::inside::own_group;

/// What is needed.
#[derive(Debug, Clone)]
pub(crate) enum Need {
    /// A group of this name below the caller's own, in the tree of pids, with so many below it.
    Groups { name: String, count: usize },
    /// A mount namespace with so many mounts more than this process's, to which `link` leads.
    Mounts { link: PathBuf, count: usize },
    /// So many empty directories in this one.
    Directories { dir: PathBuf, count: usize },
    /// So many files, a thousand in each of the directories in this one.
    Files { dir: PathBuf, count: usize },
}

/// What was made for a need.
#[derive(Debug)]
pub(crate) enum Stage {
    /// The group and those below it, each after the one that holds it.
    Groups(Vec<PathBuf>),
    /// A thread that is in the namespace until it is told to end.
    Mounts { link: PathBuf, thread: Option<(Sender<()>, JoinHandle<()>)> },
    /// They are in the directory for what was built.
    Nothing,
}

impl Need {
    pub(crate) fn set(&self) -> io::Result<Stage> {
        match self {
            Self::Groups { name, count } => {
                let top = own_group("pids").unwrap_or_default().join(name);
                let mut made = Stage::Groups(Vec::new());
                let dirs =
                    [top.clone()].into_iter().chain((0..*count).map(|number| top.join(number.to_string())));
                for dir in dirs {
                    fs::create_dir(&dir)?;
                    if let Stage::Groups(made) = &mut made {
                        made.push(dir);
                    }
                }
                Ok(made)
            }
            Self::Mounts { link, count } => mounts(link, *count),
            Self::Directories { dir, count } => {
                (0..*count).try_for_each(|number| fs::create_dir_all(dir.join(number.to_string())))?;
                Ok(Stage::Nothing)
            }
            Self::Files { dir, count } => {
                for number in 0..*count {
                    let part = dir.join((number / 1000).to_string());
                    if number % 1000 == 0 {
                        fs::create_dir_all(&part)?;
                    }
                    fs::write(part.join((number % 1000).to_string()), "changed")?;
                }
                Ok(Stage::Nothing)
            }
        }
    }
}

/// A thread has a mount namespace of its own as a process has.
fn mounts(link: &Path, count: usize) -> io::Result<Stage> {
    let (ready, is_ready) = channel();
    let (end, is_ended) = channel::<()>();
    let thread = thread::spawn(move || {
        let made = many_mounts(count).map(|()| gettid());
        if ready.send(made).is_ok() {
            // It is dropped to say so.
            let _ = is_ended.recv();
        }
    });
    let tid = is_ready.recv().map_err(io::Error::other)??;
    let stage = Stage::Mounts { link: link.to_owned(), thread: Some((end, thread)) };
    let _ = fs::remove_file(link);
    symlink(format!("/proc/{}/task/{tid}/ns/mnt", std::process::id()), link)?;
    Ok(stage)
}

fn many_mounts(count: usize) -> io::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), NONE)?;
    for number in 0..count {
        let dir = format!("/mnt/{number}");
        fs::create_dir(&dir)?;
        mount(Some(dir.as_str()), dir.as_str(), NONE, MsFlags::MS_BIND, NONE)?;
    }
    // What the contestants use is not hidden.
    mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), NONE)?;
    Ok(())
}

impl Drop for Stage {
    fn drop(&mut self) {
        match self {
            Self::Groups(dirs) => {
                for dir in dirs.iter().rev() {
                    if let Err(error) = fs::remove_dir(dir) {
                        eprintln!("bench: remove the group {}: {error}", dir.display());
                    }
                }
            }
            Self::Mounts { link, thread } => {
                let _ = fs::remove_file(link);
                if let Some((end, thread)) = thread.take() {
                    drop(end);
                    let _ = thread.join();
                }
            }
            Self::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_the_mounts_until_the_stage_goes() {
        let link = std::env::temp_dir().join(format!("chainbox-bench-{}", std::process::id()));
        let stage = Need::Mounts { link: link.clone(), count: 5 }.set().expect("root may");
        let tid = fs::read_link(&link).expect("a link");
        let dir = tid.parent().and_then(Path::parent).expect("of a thread").to_owned();
        let text = fs::read_to_string(dir.join("mountinfo")).expect("it lives");
        // The machine may have mounts of its own there; these show a directory of the first tmpfs at the same name.
        let ours = (0..5).map(|number| format!(" /{number} /mnt/{number} "));
        assert_eq!(ours.filter(|part| text.contains(part.as_str())).count(), 5);
        drop(stage);
        // What /proc has of a thread goes a little after its end.
        assert!(!link.is_symlink());
    }

    #[test]
    fn groups_go_with_the_stage() {
        let Some(own) = own_group("pids") else { return };
        let name = format!("chainbox-bench-{}", std::process::id());
        let stage = Need::Groups { name: name.clone(), count: 3 }.set().expect("root may");
        assert!(own.join(&name).join("2").is_dir());
        drop(stage);
        assert!(!own.join(&name).exists());
    }
}
