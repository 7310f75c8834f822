//! The settings of a link as they are typed: words, each of which says one thing.

use std::{fmt, net::IpAddr, str::FromStr};

use chain::{Error, Result, nearest};

use crate::{
    quality::{Quality, Trait},
    sense::is_of_a_box,
};

/// Which packets of a link a word is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// All.
    Both,
    /// Those that the box gets.
    In,
    /// Those that it sends.
    Out,
}

const DIRECTIONS: [(&str, Direction); 2] = [("in.", Direction::In), ("out.", Direction::Out)];

/// What a link does with all packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// It passes them on as its quality lets it.
    #[default]
    Up,
    /// The interface has no carrier, as with the cable pulled.
    Down,
    /// It answers what the box sends with "host unreachable" (ICMP, RFC 792; ICMPv6, RFC 4443).
    Unreachable,
    /// It answers TCP segments with a reset, to both ends (RFC 9293), and drops all else.
    Reset,
}

const STATES: [(&str, State); 4] =
    [("up", State::Up), ("down", State::Down), ("unreachable", State::Unreachable), ("reset", State::Reset)];

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(STATES.iter().find(|(_, state)| state == self).map_or("", |(name, _)| name))
    }
}

/// An address and how many of its leading bits are those of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    /// The box's address.
    pub address: IpAddr,
    /// From 1 to 32, or 128 for IPv6.
    pub prefix: u8,
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, prefix) = text
            .split_once('/')
            .ok_or("no length of the network's prefix; write ADDRESS/PREFIX, such as 10.9.0.1/24")?;
        let address = address_of(address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let net = match prefix.parse() {
            Ok(prefix) if digits && (1..=most).contains(&prefix) => Self { address, prefix },
            _ => return Err(format!("not the length of a prefix; it is from 1 to {most}")),
        };
        net.is_unfit().map_or(Ok(net), |why| Err(why.into()))
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An address that one box can have.
fn address_of(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr =
        text.parse().map_err(|_| "not an address, such as 10.9.0.1 or fd00::1".to_owned())?;
    if is_of_a_box(address) { Ok(address) } else { Err("not an address that a box can have".into()) }
}

/// What a box is called in its LAN: 1 to 63 letters, digits, hyphens and dots, as in hosts(5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub String);

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let letters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        let edges = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        if text.parse::<IpAddr>().is_ok() {
            return Err("not a name but an address".into());
        }
        if letters && edges(bytes.first()) && edges(bytes.last()) && bytes.len() <= 63 {
            Ok(Self(text.into()))
        } else {
            Err("not a name; it has 1 to 63 letters, digits, hyphens and dots, the first and the last a letter or a digit".into())
        }
    }
}

/// One thing that is said of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// How good it is.
    Is(Direction, Trait),
    /// What it does with all packets.
    State(State),
    /// Parts of the LAN that are cut off from all others, each as the names or addresses of boxes.
    Partition(Vec<Vec<String>>),
    /// The LAN is whole again.
    Heal,
    /// Where chance begins.
    Seed(u64),
    /// The box's address.
    Ip(Net),
    /// Where packets to other networks go.
    Gateway(IpAddr),
    /// The largest packet, without its Ethernet header: 68 to 65521 bytes.
    Mtu(u32),
    /// What the box is called in the LAN.
    Name(Name),
}

const OTHERS: [&str; 7] = ["partition", "heal", "seed", "ip", "gw", "mtu", "name"];

impl Word {
    /// Whether a word of a command line is a setting: a name that there is, or anything with a `=` in it that is no
    /// path.
    pub(crate) fn is_one(text: &str) -> bool {
        let name = text.split('=').next().unwrap_or(text);
        let bare = DIRECTIONS.iter().find_map(|(prefix, _)| name.strip_prefix(prefix)).unwrap_or(name);
        let known = Trait::NAMES.contains(&bare)
            || OTHERS.contains(&name)
            || STATES.iter().any(|(state, _)| *state == name);
        known || text.contains('=') && !name.contains('/')
    }

    /// What is said twice if a second word has the same.
    fn key(&self) -> String {
        let text = self.to_string();
        match self {
            Self::State(_) => "up".into(),
            Self::Heal => "partition".into(),
            // A box may have one of each family.
            Self::Ip(net) => format!("ip{}", net.address.is_ipv4()),
            Self::Gateway(address) => format!("gw{}", address.is_ipv4()),
            _ => text.split('=').next().unwrap_or(&text).to_owned(),
        }
    }

    /// Whether it can be said of a link that is there.
    pub(crate) fn is_change(&self) -> bool {
        matches!(self, Self::Is(..) | Self::State(_) | Self::Partition(_) | Self::Heal)
    }

    /// Whether it is about the LAN.
    pub(crate) fn is_of_lan(&self) -> bool {
        matches!(self, Self::Partition(_) | Self::Heal)
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let directed = DIRECTIONS.iter().find_map(|(prefix, at)| Some((name.strip_prefix(prefix)?, *at)));
        let (bare, direction) = directed.unwrap_or((name, Direction::Both));
        if let Some(parsed) = Trait::parse(bare, value) {
            return parsed.map(|what| Self::Is(direction, what));
        }
        if let (Some((_, state)), None) = (STATES.iter().find(|(state, _)| *state == name), value) {
            return Ok(Self::State(*state));
        }
        match (name, value) {
            ("partition", Some(value)) => partition(value).map(Self::Partition),
            ("heal", None) => Ok(Self::Heal),
            ("seed", Some(value)) => whole(value).map(Self::Seed).ok_or_else(|| "not a number".into()),
            ("ip", Some(value)) => value.parse().map(Self::Ip),
            ("gw", Some(value)) => address_of(value).map(Self::Gateway),
            ("mtu", Some(value)) => match whole(value) {
                Some(bytes @ 68..=65_521) => Ok(Self::Mtu(u32::try_from(bytes).unwrap_or(u32::MAX))),
                _ => Err("not the size of a packet; it is from 68 to 65521 bytes".into()),
            },
            ("name", Some(value)) => match value.parse() {
                Ok(Name(name)) if name.eq_ignore_ascii_case("localhost") => {
                    Err("each box calls itself so; choose another name".into())
                }
                parsed => parsed.map(Self::Name),
            },
            (name, None) if OTHERS.contains(&name) && name != "heal" => {
                Err(format!("no value; write {name}=VALUE"))
            }
            (name, Some(_)) if name == "heal" || STATES.iter().any(|(state, _)| *state == name) => {
                Err("takes no value".into())
            }
            _ if directed.is_some() => Err(unknown("not a quality of one direction", bare, &Trait::NAMES)),
            _ => {
                let states = STATES.map(|(state, _)| state);
                Err(unknown("no such setting", name, &[&Trait::NAMES[..], &states, &OTHERS].concat()))
            }
        }
    }
}

/// Why a name is none, and which one may be meant.
fn unknown(why: &str, name: &str, known: &[&str]) -> String {
    let near = nearest(name, known.iter().copied());
    let near = near.map_or_else(String::new, |near| format!("{near} is one, and "));
    format!("{why}; {near}those there are: {}", known.join(", "))
}

fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Whether a box of a LAN can be called so: by its name or by its address.
pub(crate) fn is_a_box(text: &str) -> bool {
    text.parse::<Name>().is_ok() || text.parse::<IpAddr>().is_ok()
}

fn partition(text: &str) -> Result<Vec<Vec<String>>, String> {
    let parts: Vec<Vec<String>> =
        text.split('/').map(|part| part.split(',').map(str::to_owned).collect()).collect();
    let mut seen = Vec::new();
    for who in parts.iter().flatten() {
        if !is_a_box(who) {
            return Err("not parts of a LAN; write names or addresses of boxes, such as web,db/client".into());
        }
        if seen.contains(&who) {
            return Err(format!("{who} is in it twice"));
        }
        seen.push(who);
    }
    Ok(parts)
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Is(direction, what) => {
                let prefix =
                    DIRECTIONS.iter().find(|(_, at)| at == direction).map_or("", |(prefix, _)| prefix);
                write!(f, "{prefix}{what}")
            }
            Self::State(state) => state.fmt(f),
            Self::Partition(parts) => {
                let parts: Vec<_> = parts.iter().map(|part| part.join(",")).collect();
                write!(f, "partition={}", parts.join("/"))
            }
            Self::Heal => f.write_str("heal"),
            Self::Seed(seed) => write!(f, "seed={seed}"),
            Self::Ip(net) => write!(f, "ip={net}"),
            Self::Gateway(address) => write!(f, "gw={address}"),
            Self::Mtu(bytes) => write!(f, "mtu={bytes}"),
            Self::Name(name) => write!(f, "name={}", name.0),
        }
    }
}

/// Parses words; what is said twice is an error.
pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Word>> {
    let mut words: Vec<Word> = Vec::new();
    for text in texts {
        let word: Word = text.parse().map_err(|why: String| Error::new(text, why))?;
        if let Some(other) = words.iter().find(|other| other.key() == word.key()) {
            let contradict = |word: &Word| matches!(word, Word::State(_) | Word::Partition(_) | Word::Heal);
            return Err(if contradict(&word) && *other != word {
                Error::new(text, format!("this contradicts {other}; only one of the two holds"))
            } else {
                Error::new(text, "said twice")
            });
        }
        words.push(word);
    }
    Ok(words)
}

/// Parses words of several options, between which there are spaces; what a later option says counts.
pub fn settings<'a>(options: impl IntoIterator<Item = &'a str>) -> Result<Vec<Word>> {
    let mut all: Vec<Word> = Vec::new();
    for option in options {
        let words = parse(option.split_whitespace())?;
        if words.is_empty() {
            return Err(Error::new(format!("{option:?}"), "no setting").hint("write some, such as loss=5%"));
        }
        all.retain(|word| words.iter().all(|later| later.key() != word.key()));
        all.extend(words);
    }
    Ok(all)
}

/// What a link is at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Condition {
    pub(crate) state: State,
    /// Of what the box sends.
    pub(crate) outward: Quality,
    /// Of what it gets.
    pub(crate) inward: Quality,
    /// The largest packet, if it was said.
    pub(crate) mtu: Option<u32>,
}

impl Condition {
    /// What it is after a word that is a change of the link itself.
    pub(crate) fn change(&mut self, word: &Word) {
        match word {
            Word::Is(direction, what) => {
                if *direction != Direction::In {
                    self.outward.set(*what);
                }
                if *direction != Direction::Out {
                    self.inward.set(*what);
                }
            }
            Word::State(state) => {
                self.state = *state;
                if *state == State::Up {
                    self.outward.blackhole = false;
                    self.inward.blackhole = false;
                }
            }
            Word::Mtu(bytes) => self.mtu = Some(*bytes),
            _ => {}
        }
    }

    /// What it is after words, one after the other.
    pub(crate) fn change_all(&mut self, words: &[Word]) {
        for word in words {
            self.change(word);
        }
    }

    /// The words that make it.
    pub(crate) fn words(&self) -> Vec<Word> {
        let (outward, inward) = (self.outward.traits(), self.inward.traits());
        let of = |direction: Direction, what: &Trait| Word::Is(direction, *what);
        let state = (self.state != State::Up).then_some(Word::State(self.state));
        let both = outward.iter().filter(|what| inward.contains(what)).map(|what| of(Direction::Both, what));
        let out = outward.iter().filter(|what| !inward.contains(what)).map(|what| of(Direction::Out, what));
        let only_in =
            inward.iter().filter(|what| !outward.contains(what)).map(|what| of(Direction::In, what));
        state.into_iter().chain(both).chain(out).chain(only_in).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::tests::a_trait;
    use proptest::prelude::*;

    fn word() -> impl Strategy<Value = Word> {
        let direction = prop_oneof![Just(Direction::Both), Just(Direction::In), Just(Direction::Out)];
        let name = "[a-z][a-z0-9.-]{0,20}[a-z0-9]";
        let parts = proptest::collection::hash_set(name, 1..5)
            .prop_map(|names| vec![names.into_iter().collect::<Vec<_>>()]);
        prop_oneof![
            (direction, a_trait()).prop_map(|(direction, what)| Word::Is(direction, what)),
            (0..STATES.len()).prop_map(|at| Word::State(STATES[at].1)),
            parts.prop_map(Word::Partition),
            Just(Word::Heal),
            any::<u64>().prop_map(Word::Seed),
            // Neither all bits of the host are set nor none.
            (0x0100_u32..0x7f00, 8_u8..31).prop_map(|(bits, prefix)| {
                Word::Ip(Net { address: IpAddr::V4((bits << 16 | 1).into()), prefix })
            }),
            (2_u128..u128::MAX >> 1).prop_map(|bits| Word::Gateway(IpAddr::V6(bits.into()))),
            (68_u32..65_522).prop_map(Word::Mtu),
            name.prop_map(|name| Word::Name(Name(name))),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_what_was_parsed(word in word()) {
            prop_assert_eq!(word.to_string().parse(), Ok(word.clone()));
            prop_assert!(Word::is_one(&word.to_string()));
        }

        #[test]
        fn no_word_panics(text in ".{0,60}") {
            let _ = text.parse::<Word>();
            let _ = Word::is_one(&text);
        }
    }

    #[test]
    fn a_command_is_no_setting() {
        for text in ["./client", "sh", "/bin/env", "ping", "./a=b"] {
            assert!(!Word::is_one(text), "{text}");
        }
        // So that a mistake is told, and not looked for as a program.
        assert!(Word::is_one("los=10%"));
    }

    #[test]
    fn what_is_said_twice_is_refused() {
        for texts in [["loss=1%", "loss=2%"], ["up", "down"], ["ip=10.0.0.1/8", "ip=10.0.0.2/8"]] {
            assert!(parse(texts).is_err(), "{texts:?}");
        }
        for texts in
            [["loss=1%", "in.loss=2%"], ["in.loss=1%", "out.loss=2%"], ["ip=10.0.0.1/8", "ip=fd00::1/64"]]
        {
            assert!(parse(texts).is_ok(), "{texts:?}");
        }
    }

    #[test]
    fn a_later_option_counts() {
        let shown = |options: &[&str]| {
            settings(options.iter().copied())
                .map(|words| words.iter().map(Word::to_string).collect::<Vec<_>>().join(" "))
        };
        let told = shown(&["loss=1% delay=5ms", "in.loss=3%", " loss=2%  up "]);
        assert_eq!(told.expect("parses"), "delay=5ms in.loss=3% loss=2% up");
        for options in [&["loss=1% loss=2%"][..], &[""], &["up", " "], &["loss=5%,up"]] {
            assert!(shown(options).is_err(), "{options:?}");
        }
    }

    #[test]
    fn a_later_word_changes_what_the_earlier_ones_made() {
        let mut condition = Condition::default();
        for word in ["loss=10%", "in.loss=0%", "delay=5ms", "out.blackhole", "down"] {
            condition.change(&word.parse().expect("a word"));
        }
        let shown = |condition: &Condition| {
            condition.words().iter().map(Word::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&condition), "down delay=5ms out.loss=10% out.blackhole");
        condition.change(&Word::State(State::Up));
        assert_eq!(shown(&condition), "delay=5ms out.loss=10%");
    }

    #[test]
    fn what_no_box_can_have_is_refused() {
        for text in [
            "ip=10.9.0.1",
            "ip=10.9.0.1/33",
            "ip=0.0.0.0/8",
            "ip=224.0.0.1/4",
            "ip=127.0.0.1/8",
            "ip=fd00::1/129",
            "mtu=67",
            "mtu=65522",
            "mtu=-1",
            "name=",
            "name=-a",
            "name=a b",
            "name=Localhost",
            "seed=x",
            "partition=",
            "partition=a,a",
            "partition=a//b",
            "up=1",
            "heal=1",
            "ip",
            "loss",
            "in.up",
            "in.seed=1",
            "losss=1%",
            "",
        ] {
            assert!(text.parse::<Word>().is_err(), "{text}");
        }
    }
}
