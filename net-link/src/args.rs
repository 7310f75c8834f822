//! What the command line says: the box's link, or what to do with a LAN.

use std::{ffi::OsString, path::PathBuf};

use chain::{Error, Job, Operands, Options, Result, Tool, text};
use clap::Parser;

use crate::{
    Engine, NetLink, Publish, account,
    lan::{Connection, PATIENCE},
    message::Ask,
    names,
    words::{self, Name, Word, is_a_box},
};

/// Give a command a network of its own, over a link that can fail
#[derive(Debug, Parser)]
#[command(
    name = "net-link",
    version,
    override_usage = "net-link [OPTIONS] [SETTING...] [--] NEXT [ARG...]
       net-link --set LAN[/BOX] SETTING...
       net-link --show LAN [--json]
       net-link --list [--json]"
)]
#[command(after_help = "\
Settings: ip=ADDRESS/PREFIX gw=ADDRESS mtu=BYTES name=NAME seed=N
          loss=10%     packets lost; loss=burst:1%,20% is bad for 5 in a row
          delay=50ms   how long each takes, 50 is seconds; 50ms±10ms[:normal|:pareto] (or +-)
          rate=2mbit   bits a second, max; queue=SIZE waits for that, more is dropped
          duplicate=1% reorder=25% corrupt=0.1%
          blackhole    everything is dropped
          up, down     the cable is in, or out
          unreachable, reset  packets are answered so
          A word of one direction only: in.loss=10%, out.rate=1mbit, out.blackhole
With --set: partition=web,db/client cuts parts of a LAN off, heal undoes it
Example:  net-link --lan lab ip=10.9.0.2/24 loss=5% -- ./client")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    place: Place,
    /// Change the links of a LAN, or of one box in it, by its name or address
    #[arg(long, value_name = "LAN[/BOX]", conflicts_with_all = ["lan", "up", "publish", "engine", "script", "pcap", "report", "stat", "show", "list"], help_heading = "LANs that are there")]
    set: Option<String>,
    /// Show the boxes of a LAN, their links and what has passed
    #[arg(long, value_name = "LAN", conflicts_with_all = ["lan", "up", "publish", "engine", "script", "pcap", "report", "stat", "list"], help_heading = "LANs that are there")]
    show: Option<String>,
    /// List this user's LANs
    #[arg(long, conflicts_with_all = ["lan", "up", "publish", "engine", "script", "pcap", "report", "stat"], help_heading = "LANs that are there")]
    list: bool,
    /// Show, or list, as JSON
    #[arg(long, help_heading = "LANs that are there")]
    json: bool,
    /// Settings, then the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

/// Where a link leads.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Way {
    /// Be in the LAN of this name, which is there as long as a box is in it
    #[arg(long, value_name = "NAME")]
    pub lan: Option<Name>,
    /// Leave /etc/hosts as it is; without this, the boxes of the LAN that have names are in it
    #[arg(long, requires = "lan")]
    pub no_hosts: bool,
    /// Lead out to where the caller's network leads, by the program passt
    #[arg(long)]
    pub up: bool,
    /// Lead a port of the caller's into the box: [ADDR:]PORT[:BOXPORT][/udp]; may be repeated
    #[arg(long, value_name = "PORT")]
    pub publish: Vec<Publish>,
}

/// Where the link leads, who is in between, and what is told of it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Place {
    /// Where it leads.
    #[command(flatten)]
    pub way: Way,
    /// Who does to packets what the settings say: user (this program) or kernel (netem and tbf)
    #[arg(
        long,
        value_name = "ENGINE",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub engine: Engine,
    /// Change the link at the times that this file says, in lines such as: at 2s loss=50%; - is stdin
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,
    /// Write the frames that the box sends and gets to this file, for wireshark
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,
    /// Write what has passed the link to this file, as a line of JSON; - is stderr
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Print what has passed the link on stderr
    #[arg(long)]
    pub stat: bool,
}

impl Place {
    /// The words that say the same to the lone tool.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let Way { lan, no_hosts, up, publish } = &self.way;
        if let Some(lan) = lan {
            words.extend(["--lan".into(), lan.0.clone().into()]);
        }
        words.extend(up.then(|| "--up".into()));
        words.extend(publish.iter().flat_map(|port| ["--publish".into(), port.to_string().into()]));
        words.extend(no_hosts.then(|| "--no-hosts".into()));
        if self.engine != Engine::default() {
            words.extend(["--engine".into(), self.engine.to_string().into()]);
        }
        for (option, file) in [("--script", &self.script), ("--pcap", &self.pcap), ("--report", &self.report)]
        {
            words.extend(file.iter().flat_map(|file| [option.into(), file.into()]));
        }
        words.extend(self.stat.then(|| "--stat".into()));
        words
    }
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        let has_dashes = self.words.iter().any(|word| word == "--");
        let operands = Operands::split(self.words, |_, word| word.to_str().is_some_and(Word::is_one))?;
        let texts = operands.settings.iter().map(|word| text("setting", word)).collect::<Result<Vec<_>>>()?;
        let words = words::parse(texts)?;
        let shows = [(self.set.is_some(), "--set"), (self.show.is_some(), "--show"), (self.list, "--list")];
        let Some((_, option)) = shows.into_iter().find(|(given, _)| *given) else {
            if self.json {
                return Err(Error::new("--json", "nothing to show").hint("add --list, or --show LAN"));
            }
            let link = NetLink::new(self.place, words)?;
            return Ok(Job::Launch {
                links: vec![Box::new(link)],
                next: operands.next,
                options: self.options,
            });
        };
        if !operands.next.is_empty() {
            // Without a command each word is meant as a setting.
            for word in operands.next.iter().filter(|_| self.set.is_some() && !has_dashes) {
                words::parse([text("setting", word)?])?;
            }
            return Err(Error::new(option, "this does not go with a command"));
        }
        if self.options.dry_run && self.set.is_none() {
            return Err(Error::new(option, "this does not go with --dry-run, as it changes nothing"));
        }
        if let Some(which) = self.set {
            if self.json {
                return Err(Error::new("--json", "nothing to show"));
            }
            return Ok(Job::Do(change(&which, words, self.options.dry_run)?));
        }
        if let Some(word) = words.first() {
            return Err(Error::new(word.to_string(), format!("with {option} nothing is set")));
        }
        let json = self.json;
        Ok(Job::Do(match self.show {
            Some(lan) => {
                let lan = whole_lan("--show", &lan)?;
                Box::new(move || show(&lan, json))
            }
            None => Box::new(move || list(json)),
        }))
    }
}

type Act = Box<dyn FnOnce() -> Result<()>>;

/// What `--set` asks for.
fn change(which: &str, words: Vec<Word>, dry_run: bool) -> Result<Act> {
    let (lan, of) = which.split_once('/').map_or((which, None), |(lan, of)| (lan, Some(of.to_owned())));
    let wrong = |why: String| Error::new(format!("--set {which}"), why);
    let lan: Name = lan.parse().map_err(wrong)?;
    if let Some(of) = of.as_ref().filter(|of| !is_a_box(of)) {
        let why =
            if of.is_empty() { "no box is named after the /" } else { "not the name or address of one box" };
        return Err(wrong(why.into()).hint(format!("write --set {}/BOX, or --set {} for all", lan.0, lan.0)));
    }
    if let Some(word) = words.iter().find(|word| !word.is_change()) {
        return Err(Error::new(word.to_string(), "cannot be changed while the link is there"));
    }
    if let Some(word) = words.iter().find(|word| of.is_some() && word.is_of_lan()) {
        let error = Error::new(word.to_string(), "this is about a whole LAN");
        return Err(error.hint(format!("write --set {}", lan.0)));
    }
    if words.is_empty() {
        return Err(Error::new(format!("--set {which}"), "no setting")
            .hint("say what the link is to be, such as down"));
    }
    Ok(Box::new(move || {
        let connection = reach(&lan)?;
        let words: Vec<_> = words.iter().map(Word::to_string).collect();
        if dry_run {
            let whose = of.map_or_else(|| "all links".to_owned(), |of| format!("the link of {of}"));
            return chain::print(&format!("net-link: change {whose} in {}: {}\n", lan.0, words.join(" ")))
                .map(drop);
        }
        connection.ask(&Ask::Change { of, words }, &[]).map(drop)
    }))
}

/// The LAN that an option names, where no box is named.
fn whole_lan(option: &str, text: &str) -> Result<Name> {
    let wrong = |why: String| Error::new(format!("{option} {text}"), why);
    match text.split_once('/') {
        Some((lan, _)) => {
            Err(wrong("this is about a whole LAN".into()).hint(format!("write {option} {lan}")))
        }
        None => text.parse().map_err(wrong),
    }
}

fn reach(lan: &Name) -> Result<Connection> {
    let found = Connection::find(&lan.0)?;
    found.ok_or_else(|| {
        Error::new(format!("LAN {}", lan.0), "there is none").hint("--list shows those that there are")
    })
}

fn show(lan: &Name, json: bool) -> Result<()> {
    let members = reach(lan)?.members(&Ask::Members, PATIENCE)?;
    let text = if json { chain::json(&members)? } else { account::members(&members) };
    chain::print(&text).map(drop)
}

fn list(json: bool) -> Result<()> {
    let (names, silent) = names::all()?;
    for why in &silent {
        chain::note("net-link", why);
    }
    let lines = || names.iter().flat_map(|name| [name, "\n"]).collect();
    let text = if json { chain::json(&names)? } else { lines() };
    chain::print(&text).map(drop)
}
