//! What the command keeps of the caller's privileges and of its environment.

use std::io::IsTerminal;

use chain::{Error, Result};
use nix::{
    sys::resource::{Resource, getrlimit},
    unistd::geteuid,
};
use ns_enter::{Kind, Namespaces};
use priv_drop::{Caps, Seccomp, Settings, Variable};

use crate::Args;

/// What a root in a box keeps: podman's list (containers/common, pkg/config/default.go). A root filesystem may need
/// them to install packages and to change its users; none reaches out of the box.
const CAPS: &str =
    "chown,dac_override,fowner,fsetid,kill,net_bind_service,setfcap,setgid,setpcap,setuid,sys_chroot";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What of the caller's environment is passed on.
const PASSED: [&str; 2] = ["TERM", "LANG"];
const PASSED_ON_HOST: [&str; 2] = ["PATH", "HOME"];

/// The settings that were given, and the usual ones where nothing was said.
pub(crate) fn of(args: &Args, is_host: bool, by_namespace: Option<&str>) -> Result<Settings> {
    let mut settings = args.privileges.clone();
    let stays_root = settings.user.as_ref().is_none_or(priv_drop::User::is_root);
    let usual = if stays_root { parse(CAPS)? } else { Caps::None };
    settings.caps.get_or_insert(usual);
    let profile = settings.seccomp.get_or_insert(Seccomp::Default);
    if args.allow.allow_new_privs && (*profile != Seccomp::None || !settings.landlock.is_empty()) {
        return Err(Error::new("--allow-new-privs", "the kernel takes no filter without no_new_privs")
            .hint("add --seccomp none, and leave out --landlock"));
    }
    // Root keeps none of the groups that gave the caller more than root has; where a user namespace was made by an
    // ordinary user the kernel lets nobody leave them (user_namespaces(7)).
    if settings.user.is_none() && settings.groups.is_empty() && is_root_of_machine(args) {
        settings.user = Some(parse("0")?);
    }
    // The profiles that are our own refuse all calls for keys.
    settings.new_keyring |= matches!(profile, Seccomp::None | Seccomp::File(_));
    settings.no_new_privs |= !args.allow.allow_new_privs;
    let mut limit = |limit: String| -> Result<()> {
        let (name, _) = limit.split_once('=').unwrap_or_default();
        if !settings.rlimits.iter().any(|given| given.name() == name) {
            settings.rlimits.push(parse(&limit)?);
        }
        Ok(())
    };
    // Not 0: where core_pattern is a program, the kernel gives it the memory whatever the limit, but for this value
    // (coredump_pipe() of fs/coredump.c). A file of one byte is never written. What is 0 already stays, as only root
    // may raise it.
    let is_none = getrlimit(Resource::RLIMIT_CORE).is_ok_and(|(_, hard)| hard == 0);
    limit(format!("core={}", u8::from(!is_none)))?;
    if let Some(most) = by_namespace {
        limit(format!("nproc={most}"))?;
    }
    // The keys of the caller's terminal and its job control are for what is started at it.
    settings.new_session |= !(std::io::stdin().is_terminal()
        || std::io::stdout().is_terminal()
        || std::io::stderr().is_terminal());
    environment(args, is_host, stays_root, &mut settings)?;
    settings.check()?;
    Ok(settings)
}

/// Root with all rights in the first user namespace, for whom the box makes and joins no other.
fn is_root_of_machine(args: &Args) -> bool {
    is_admin_of_machine() && !names_user_namespace(args)
}

/// Whether a user namespace is typed.
pub(crate) fn names_user_namespace(args: &Args) -> bool {
    let is_other =
        |ns: &Namespaces| ns.all.is_some() || ns.wanted.iter().any(|(kind, _)| *kind == Kind::User);
    args.namespaces.ns.as_ref().is_some_and(is_other)
}

/// Root with all rights in the first user namespace.
pub(crate) fn is_admin_of_machine() -> bool {
    is_root_outside() && priv_drop::is_admin()
}

/// Root in the first user namespace.
pub(crate) fn is_root_outside() -> bool {
    geteuid().is_root() && !chain::in_user_namespace()
}

fn environment(args: &Args, is_host: bool, stays_root: bool, settings: &mut Settings) -> Result<()> {
    // Empty if that is what was said.
    let is_bare = std::mem::replace(&mut settings.env_clear, !args.allow.allow_env);
    if is_bare || args.allow.allow_env {
        return Ok(());
    }
    let name = |name: &&str| priv_drop::Name(name.into());
    settings.env_pass.extend(PASSED.iter().map(name));
    if is_host {
        settings.env_pass.extend(PASSED_ON_HOST.iter().map(name));
        return Ok(());
    }
    let home = if stays_root { "HOME=/root" } else { "HOME=/" };
    let set = |word: &&str| Variable::parse(word.as_ref()).map_err(|why| Error::new(*word, why));
    let mut all = [PATH, home].iter().map(set).collect::<Result<Vec<_>>>()?;
    // A later one counts.
    all.append(&mut settings.env);
    settings.env = all;
    Ok(())
}

fn parse<T: std::str::FromStr<Err: ToString>>(text: &str) -> Result<T> {
    text.parse().map_err(|why: T::Err| Error::new(text, why.to_string()))
}
