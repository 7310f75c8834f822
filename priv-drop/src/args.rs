//! What the command line says: which privileges NEXT keeps.

use std::ffi::{OsStr, OsString};

use chain::{Error, Job, Operands, Options, Result, Tool};
use clap::{
    Parser,
    builder::{OsStringValueParser, TypedValueParser},
};

use crate::{
    Caps, Group, Name, Nice, OomScoreAdj, Persona, PrivDrop, Rlimit, Rules, Seccomp, User, Variable,
};

/// Take privileges away from a command
#[derive(Debug, Parser)]
#[command(name = "priv-drop", version, override_usage = "priv-drop [OPTIONS] [--] NEXT [ARG...]")]
#[command(after_help = "\
Without --caps no capability is kept, in any set. --env-pass is for --env-clear. Names of users are looked up in NEXT's root.
Example: priv-drop --user nobody --no-new-privs --rlimit nofile=64 -- sh")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    settings: Settings,
    /// The command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        let operands = Operands::split(self.words, |_, _| false)?;
        self.settings.check()?;
        let link = PrivDrop::new(self.settings);
        Ok(Job::Launch { links: vec![Box::new(link)], next: operands.next, options: self.options })
    }
}

/// What NEXT keeps and what it gets, each as the option of the same name says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "What the command keeps and gets")]
#[expect(clippy::struct_excessive_bools, reason = "each is one option")]
pub struct Settings {
    /// Run as this user, and as this group or the user's own, without any other group
    #[arg(long, value_name = "U[:G]")]
    pub user: Option<User>,
    /// Be in these supplementary groups, and in no other
    #[arg(long, value_name = "G,...", value_delimiter = ',')]
    pub groups: Vec<Group>,
    /// Keep these capabilities (net_bind_service,chown; none; all)
    #[arg(long, value_name = "KEEP")]
    pub caps: Option<Caps>,
    /// Make the user number 0 mean nothing, for good (securebits)
    #[arg(long)]
    pub locked: bool,
    /// Let no file that is run give privileges
    #[arg(long)]
    pub no_new_privs: bool,
    /// Refuse all system calls but those of a profile (default, strict, none, or a file)
    #[arg(long, value_name = "PROFILE", value_parser = words(Seccomp::parse))]
    pub seccomp: Option<Seccomp>,
    /// Log what the profile refuses, where the kernel logs
    #[arg(long)]
    pub seccomp_log: bool,
    /// Use no files and TCP ports but these (ro:/usr,rw:/data,exec:/bin,tcp-connect:443,tcp-bind:8080);
    /// may be repeated
    #[arg(long, value_name = "RULE,...", value_parser = words(Rules::parse))]
    pub landlock: Vec<Rules>,
    /// With --landlock, do what the kernel can, and say what it cannot
    #[arg(long, requires = "landlock")]
    pub try_landlock: bool,
    /// Limit a resource of each process (nofile=64, as=1G, cpu=10s); may be repeated
    #[arg(long = "rlimit", value_name = "NAME=VALUE[:HARD]")]
    pub rlimits: Vec<Rlimit>,
    /// Set the nice value, -20 to 19
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub nice: Option<Nice>,
    /// Set oom_score_adj, -1000 to 1000
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub oom: Option<OomScoreAdj>,
    /// Begin with an empty environment
    #[arg(long)]
    pub env_clear: bool,
    /// Set a variable; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = words(Variable::parse))]
    pub env: Vec<Variable>,
    /// Keep the caller's value of a variable, if there is one, in an environment that is else empty; may be repeated
    #[arg(long, value_name = "NAME", value_parser = words(Name::parse))]
    pub env_pass: Vec<Name>,
    /// Cut the command off the caller's terminal and job control (setsid)
    #[arg(long)]
    pub new_session: bool,
    /// Leave the caller's session keyring for a new one (keyrings)
    #[arg(long)]
    pub new_keyring: bool,
    /// Change how the kernel behaves (linux32, addr-no-randomize, addr-compat-layout, read-implies-exec,
    /// sticky-timeouts, uname26); may be repeated
    #[arg(long, value_name = "P", value_enum, hide_possible_values = true)]
    pub personality: Vec<Persona>,
}

/// A parser of words that need not be UTF-8.
fn words<T, E>(parse: fn(&OsStr) -> Result<T, E>) -> impl TypedValueParser<Value = T>
where
    T: Clone + Send + Sync + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync + 'static>> + 'static,
{
    OsStringValueParser::new().try_map(move |word| parse(&word))
}

impl Settings {
    /// Fails for what has nothing to be about.
    pub fn check(&self) -> Result<()> {
        let needs = |is_lacking: bool, option: &str, other: &str, value: &str| {
            let why = format!("without {other}");
            if is_lacking { Err(Error::new(option, why).hint(format!("add {other}{value}"))) } else { Ok(()) }
        };
        needs(!self.env_pass.is_empty() && !self.env_clear, "--env-pass", "--env-clear", "")?;
        needs(self.seccomp_log && self.seccomp.is_none(), "--seccomp-log", "--seccomp", " default")
    }

    /// The words that make the lone tool do the same.
    pub fn words(&self) -> Vec<OsString> {
        let mut words = Words(Vec::new());
        words.options("--user", &self.user);
        if !self.groups.is_empty() {
            words.option("--groups", self.groups.iter().map(Group::to_string).collect::<Vec<_>>().join(","));
        }
        words.options("--caps", &self.caps);
        words.flag("--locked", self.locked);
        words.flag("--no-new-privs", self.no_new_privs);
        self.landlock.iter().for_each(|rules| words.option("--landlock", rules.word()));
        words.flag("--try-landlock", self.try_landlock);
        self.seccomp.iter().for_each(|profile| words.option("--seccomp", profile.word()));
        words.flag("--seccomp-log", self.seccomp_log);
        words.options("--rlimit", &self.rlimits);
        words.options("--nice", self.nice.as_ref().map(|nice| nice.0).iter());
        words.options("--oom", self.oom.as_ref().map(|oom| oom.0).iter());
        words.flag("--env-clear", self.env_clear);
        self.env_pass.iter().for_each(|name| words.option("--env-pass", &name.0));
        self.env.iter().for_each(|variable| words.option("--env", variable.word()));
        words.flag("--new-session", self.new_session);
        words.flag("--new-keyring", self.new_keyring);
        words.options("--personality", &self.personality);
        words.0
    }

    /// What the kernel will be asked, one line a step, in the order of [`chain::Link::enter`].
    pub(crate) fn steps(&self) -> Vec<String> {
        let mut steps = Vec::new();
        if self.env_clear || !self.env.is_empty() {
            steps.push("run NEXT with another environment".into());
        }
        steps.extend(self.nice.map(|nice| format!("set the nice value to {}", nice.0)));
        steps.extend(self.oom.map(|oom| format!("set oom_score_adj to {}", oom.0)));
        steps.extend(self.new_session.then(|| "make a new session".into()));
        steps.extend(self.personality.iter().map(|persona| format!("add {persona} to the personality")));
        steps.extend(self.rlimits.iter().map(|limit| format!("set the limit {limit}")));
        let caps = self.caps.clone().unwrap_or_default();
        let (dropped, kept) = match &caps {
            Caps::None => (Some("all capabilities".into()), None),
            Caps::All => (None, Some("all capabilities".to_owned())),
            Caps::Only(_) => {
                (Some(format!("all capabilities but {caps}")), Some(format!("capabilities {caps}")))
            }
        };
        steps.extend(dropped.as_ref().map(|caps| format!("take {caps} out of the bounding set")));
        steps.extend(
            self.user.as_ref().map(|user| format!("become user {user}, and leave the caller's groups")),
        );
        if !self.groups.is_empty() {
            let groups = self.groups.iter().map(Group::to_string).collect::<Vec<_>>();
            steps.push(format!("be in the supplementary groups {}", groups.join(",")));
        }
        steps.extend(self.new_keyring.then(|| "join a new session keyring".into()));
        steps.extend(kept.map(|caps| format!("pass on {caps} as inheritable and ambient")));
        steps.extend(self.locked.then(|| "lock the securebits".into()));
        steps.extend(dropped.map(|caps| format!("drop {caps}")));
        let profile = self.seccomp.as_ref().filter(|profile| **profile != Seccomp::None);
        steps.extend(
            (self.no_new_privs || profile.is_some() || !self.landlock.is_empty())
                .then(|| "set no_new_privs".into()),
        );
        for rule in self.landlock.iter().flat_map(|rules| &rules.0) {
            steps.push(format!("landlock: allow {rule}, and nothing else of its kind"));
        }
        if let Some(profile) = profile {
            let log = if self.seccomp_log { ", and log what it refuses" } else { "" };
            steps.push(format!("install the seccomp filter {}{log}", profile.word().display()));
        }
        steps
    }
}

/// Words of a command line.
struct Words(Vec<OsString>);

impl Words {
    fn flag(&mut self, name: &str, set: bool) {
        self.0.extend(set.then(|| name.into()));
    }

    /// In one word, as a value may begin with a dash.
    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        let mut word = OsString::from(name);
        word.push("=");
        word.push(value);
        self.0.push(word);
    }

    fn options<T: ToString>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        values.into_iter().for_each(|value| self.option(name, value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::Link;
    use proptest::{collection::vec, option, prelude::*, sample::select};

    /// Options as they may be typed.
    fn options() -> impl Strategy<Value = Vec<String>> {
        let option = prop_oneof![
            "--rlimit=(as|core|stack)=([0-9]{1,6}[KMGT]?|max)",
            "--rlimit=(cpu|rttime)=([0-9]{1,6}[smh]?):max",
            "--rlimit=(nofile|nproc|nice)=[0-9]{1,4}:([1-9][0-9]{4,8}|max)",
            "--env=[^\\x00=]{1,5}=\\PC{0,9}",
            select(vec!["linux32", "addr-no-randomize", "uname26"])
                .prop_map(|name| format!("--personality={name}")),
        ];
        let once =
            prop_oneof!["--user=[a-z_][a-z0-9_-]{0,5}(:[0-9]{1,9})?", "--user=[0-9]{1,9}(:[a-z]{1,9})?",];
        let list = prop_oneof![
            "--groups=[0-9]{1,9}(,[a-z]{1,5}){0,3}",
            "--nice=(-1?[0-9]|-20|1?[0-9])",
            "--oom=-?[0-9]{1,3}",
            "--caps=(none|all|chown,kill|cap_bpf)",
            "--landlock=(ro|rw|exec):/[a-z:]{0,5},tcp-bind:[0-9]{1,4}",
            "--seccomp=(none|default|strict|./[a-z]{1,5})",
        ];
        let flag = select(vec!["--locked", "--no-new-privs", "--new-session", "--new-keyring"])
            .prop_map(str::to_owned);
        let environment = Just(vec!["--env-clear".to_owned(), "--env-pass=PATH".to_owned()]);
        let parts = (
            vec(option, 0..6),
            option::of(once),
            option::of(list),
            option::of(flag),
            option::of(environment),
        );
        parts.prop_map(|(mut words, once, list, flag, environment)| {
            words.extend(once.into_iter().chain(list).chain(flag).chain(environment.into_iter().flatten()));
            words
        })
    }

    fn parse(words: impl IntoIterator<Item = OsString>) -> Settings {
        let words = ["priv-drop".into()].into_iter().chain(words).chain(["--".into(), "sh".into()]);
        Args::try_parse_from(words).expect("parses").settings
    }

    proptest! {
        #[test]
        fn a_links_words_make_the_same_link(typed in options()) {
            let settings = parse(typed.into_iter().map(Into::into));
            let words = PrivDrop::new(settings.clone()).words();
            prop_assert_eq!(parse(words), settings);
        }
    }
}
