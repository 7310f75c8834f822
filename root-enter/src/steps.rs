//! What the kernel will be asked, in words.

use chain::Propagation;

use crate::{
    RootEnter,
    bind::Bind,
    entry::{Content, Entry},
};

impl RootEnter {
    pub(crate) fn all_steps(&self) -> Vec<String> {
        let root = self.root.display();
        let (details, mut steps) = (&self.details, Vec::new());
        if details.host_next {
            steps.push("open the command as a program of the host".into());
        }
        steps.push(match self.propagation {
            Propagation::Private => "make a mount namespace of its own, with all mounts private".into(),
            Propagation::Slave => {
                "make a mount namespace of its own, with all mounts slaves of those outside".into()
            }
            Propagation::Shared => {
                "make a mount namespace of its own, with binds shared with those outside".to_owned()
            }
            Propagation::Unchanged => {
                "make a mount namespace of its own, with binds hanging together as they do outside".into()
            }
        });
        let refused = [(details.suid, "setuid programs"), (details.device_files, "device files")];
        let refused: Vec<_> = refused.iter().filter(|(allowed, _)| !allowed).map(|(_, what)| *what).collect();
        if !refused.is_empty() {
            steps.push(format!("let no {} of {root} work", refused.join(" and ")));
        }
        steps.extend(self.all_entries().iter().map(|entry| self.step(entry)));
        if details.root_ro {
            steps.push(format!("make {root} read-only, but not what was put into it"));
        }
        steps.push(format!("make {root} the root, and unmount the old one"));
        if let Some(dir) = &details.chdir {
            steps.push(format!("go to {} in it", dir.display()));
        }
        if let Some(umask) = details.umask {
            steps.push(format!("set the umask {umask:03o}"));
        }
        steps
    }

    fn step(&self, entry: &Entry) -> String {
        match entry {
            Entry::Bind(bind) => bind_step(bind),
            Entry::Tmpfs(tmpfs) => {
                let size = tmpfs.size.map(|size| format!(" of {size} bytes")).unwrap_or_default();
                format!("mount a tmpfs{size} on {} in it", tmpfs.to.display())
            }
            Entry::Proc(to) if self.details.proc_full => {
                format!("mount a new proc on {} in it", to.display())
            }
            Entry::Proc(to) => {
                format!(
                    "mount a new proc on {} in it, with what is the machine's masked or read-only",
                    to.display()
                )
            }
            Entry::Sysfs(to) => format!("mount a new sysfs on {} in it, read-only", to.display()),
            Entry::Dev(to) => format!("mount a minimal /dev on {} in it", to.display()),
            Entry::File(text) => {
                let what = match &text.content {
                    Content::Literal(_) => "a text".into(),
                    Content::Fd(number) => format!("what descriptor {number} says"),
                };
                let how = if text.read_only { ", read-only" } else { "" };
                format!("show {what} as the file {} in it{how}", text.to.display())
            }
            Entry::Symlink(link) => {
                format!("make the link {} to {} in it", link.link.display(), link.target.display())
            }
            Entry::Dir(dir) => format!("make the directory {} in it", dir.to.display()),
            Entry::Mask(path) => format!("hide {} in it under an empty mount", path.display()),
            Entry::RemountRo(path) => format!("make {} in it read-only", path.display()),
            Entry::Cgroup(to) => {
                format!("make a cgroup namespace, and mount its groups on {} in it, read-only", to.display())
            }
            Entry::NetFiles => {
                "show the host's resolv.conf and hosts, and the host name, in /etc in it".into()
            }
        }
    }
}

fn bind_step(bind: &Bind) -> String {
    let mut step = vec![format!("bind {} on {} in it", bind.from, bind.to.display())];
    step.extend(bind.is_read_only().then(|| "read-only".into()));
    step.extend(bind.options());
    step.join(", ")
}
