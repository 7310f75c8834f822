//! The box's network, if it leads anywhere: net-link's settings.

use std::path::PathBuf;

use chain::{Error, Links, Result};
use clap::{ArgMatches, parser::ValueSource};
use net_link::{Engine, NetLink, Place, Way};
use ns_enter::{Kind, Made, Namespaces, NsEnter, Want};

use crate::Args;

/// Where it leads, and how good the link is.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "A network that leads out")]
pub(crate) struct Network {
    #[command(flatten)]
    way: Way,
    /// What the link to the LAN, or to the caller, is like: 'ip=10.9.0.2/24 loss=5%'; may be repeated
    #[arg(long, value_name = "SETTINGS")]
    link: Vec<String>,
    /// Who does to packets what the settings say: user (this program) or kernel (netem and tbf)
    #[arg(
        long,
        value_name = "ENGINE",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    link_engine: Engine,
    /// Change the link at the times that this file says, in lines such as: at 2s loss=50%; - is stdin
    #[arg(long, value_name = "FILE")]
    link_script: Option<PathBuf>,
    /// Write the frames that the box sends and gets to this file, for wireshark
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Write what has passed the link to this file, as a line of JSON; - is stderr
    #[arg(long, value_name = "FILE")]
    link_report: Option<PathBuf>,
    /// Print what has passed the link on stderr
    #[arg(long)]
    link_stat: bool,
}

/// What an option of net-link is called here, if it is one of those whose name is not the same.
pub(crate) fn with_prefix(option: &str) -> Option<&'static str> {
    let name = option.split('=').next();
    ["--link-engine", "--link-script", "--link-report", "--link-stat"]
        .into_iter()
        .find(|own| own.strip_prefix("--link-") == name.and_then(|name| name.strip_prefix("--")))
}

impl Network {
    /// Whether there is a link.
    pub(crate) fn is_wanted(&self) -> bool {
        self.way.lan.is_some() || self.way.up || !self.link.is_empty()
    }

    /// The same of options that are not all there yet.
    pub(crate) fn is_wanted_by(matches: &ArgMatches) -> bool {
        ["lan", "up", "link"].into_iter().any(|id| matches.value_source(id) == Some(ValueSource::CommandLine))
    }

    /// What it opens, for a dry run.
    pub(crate) fn note(&self) -> Option<String> {
        match &self.way.lan {
            _ if self.way.up => {
                Some("--up: the command reaches what the caller's network reaches, but loopback".into())
            }
            Some(lan) => Some(format!("--lan {}: the command reaches the other boxes of that LAN", lan.0)),
            None => self.is_wanted().then(|| {
                "--link: the command reaches what the caller's network has at the other end of the link"
                    .into()
            }),
        }
    }

    fn link(&self) -> Result<Option<NetLink>> {
        if !self.is_wanted() {
            let about_it = [
                (!self.way.publish.is_empty(), "--publish"),
                (self.link_engine != Engine::default(), "--link-engine"),
                (self.link_script.is_some(), "--link-script"),
                (self.pcap.is_some(), "--pcap"),
                (self.link_report.is_some(), "--link-report"),
                (self.link_stat, "--link-stat"),
            ];
            return match about_it.into_iter().find(|(given, _)| *given) {
                Some((_, option)) => Err(Error::new(option, "the box has no link")
                    .hint("add --lan NAME, --up for one to the world, or --link up for one to the caller")),
                None => Ok(None),
            };
        }
        let words = net_link::settings(self.link.iter().map(String::as_str))
            .map_err(|error| error.within("--link"))?;
        let place = Place {
            way: self.way.clone(),
            engine: self.link_engine,
            script: self.link_script.clone(),
            pcap: self.pcap.clone(),
            report: self.link_report.clone(),
            stat: self.link_stat,
        };
        NetLink::new(place, words).map(Some)
    }
}

/// The link of the box, which makes its network, and the other namespaces that it is to have.
pub(crate) fn of(args: &Args, wanted: Namespaces) -> Result<(Option<NetLink>, Namespaces)> {
    let Some(link) = args.network.link()? else { return Ok((None, wanted)) };
    let option = match &args.network.way {
        Way { lan: Some(_), .. } => "--lan",
        Way { up: true, .. } => "--up",
        _ => "--link",
    };
    let refuse = |other: &str| {
        Err(Error::new(format!("{other}, {option}"), "two networks; a box with a link has one of its own")
            .hint("leave one of them out"))
    };
    if args.allow.allow_net {
        return refuse("--allow-net");
    }
    if wanted.wanted.iter().any(|(kind, want)| *kind == Kind::Net && matches!(want, Want::Join(_))) {
        return refuse("--ns net@");
    }
    if args.made.keep.iter().any(|keep| keep.kind == Kind::Net) {
        let why = "that of a box with a link ends with it";
        return Err(Error::new(format!("--keep net, {option}"), why).hint("leave one of them out"));
    }
    Ok((Some(link), wanted.without(Kind::Net)))
}

/// The tools in front of all others that give a chain its network: who holds a LAN is neither in the group of its first
/// box nor among its processes, with which it would end. A new user namespace is made before, as the network is to
/// belong to it.
pub(crate) fn in_front(
    link: NetLink,
    wanted: Namespaces,
    made: &mut Made,
    is_mapped: bool,
) -> Result<(Links, Namespaces)> {
    if !wanted.is_new(Kind::User) {
        return Ok((vec![Box::new(link)], wanted));
    }
    if priv_drop::is_admin() {
        let why = "the LAN of a chain would be another user's, or its link have no way to the caller";
        let (what, or) =
            if is_mapped { ("--print", ", or add --allow-host-root") } else { ("--print --ns user", "") };
        return Err(Error::new(what, why).hint(format!("leave out --print, or the link{or}")));
    }
    let user = Namespaces { map: wanted.map.clone(), ..Namespaces::default() }.with_new(Kind::User);
    let details = ns_enter::Details {
        made: Made { gid_map: made.gid_map.take(), ..Made::default() },
        ..ns_enter::Details::default()
    };
    let mut rest = wanted.without(Kind::User);
    rest.map = Namespaces::default().map;
    Ok((vec![Box::new(NsEnter::new(user).with(details)), Box::new(link)], rest))
}
