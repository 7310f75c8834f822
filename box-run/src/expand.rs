//! Words that stand for others: a preset, and a file of options.

use std::{ffi::OsString, fs, path::PathBuf};

use chain::{Doing, Error, Job, Result, Words};
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, parser::ValueSource};
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use crate::{
    Args,
    modes::Modes,
    network::Network,
    presets::{ALLOW_NET, Preset},
};

/// The options that this is about.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options in one word")]
pub(crate) struct Expand {
    /// The options of a kind of box: grader, build, service, agent; what is said besides counts
    #[arg(long, value_name = "NAME", value_enum, hide_possible_values = true)]
    pub(crate) preset: Option<Preset>,
    /// Options from this file, in TOML; what is said besides counts; may be repeated
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Print the options as such a file, and do nothing
    #[arg(long, conflicts_with_all = ["dry_run", "print"])]
    print_config: bool,
}

/// What is not an option of a box.
const NOT_IN_A_FILE: [&str; 9] =
    ["check", "json", "preset", "config", "print_config", "print", "dry_run", "help", "version"];
/// The command in a file.
const NEXT: &str = "next";
/// What goes into the root, where its order counts: tables of one key each.
const ENTRY: &str = "entry";

/// Puts the words that presets and files stand for in front of what was typed.
pub(crate) fn expand(words: Vec<OsString>) -> Result<Words> {
    let options = ["--preset", "--config", "--print-config"];
    let is_one =
        |word: &OsString| options.iter().any(|option| word.as_encoded_bytes().starts_with(option.as_bytes()));
    let plain = |words| Ok(Words { words, overriding: false, instead: None });
    if !words.iter().any(is_one) {
        return plain(words);
    }
    let command = Args::command().args_override_self(true);
    // What is wrong is told when they are parsed.
    let Ok(typed) = command.clone().try_get_matches_from(&words) else { return plain(words) };
    // They may have been words of NEXT.
    let is_given = |id| typed.value_source(id) == Some(ValueSource::CommandLine);
    if !["preset", "config", "print_config"].into_iter().any(is_given) {
        return plain(words);
    }
    let is_printed = typed.get_flag("print_config");
    let mut all: Vec<OsString> = words.first().cloned().into_iter().collect();
    let mut next = Vec::new();
    for file in typed.get_many::<PathBuf>("config").into_iter().flatten() {
        let doing = || format!("--config {}", file.display());
        let text = fs::read_to_string(file).doing(doing)?;
        next = read(&text, &command, &mut all).map_err(|error| error.within(&doing()))?;
    }
    all.extend(words.into_iter().skip(1));
    if let Some(preset) = typed.get_one::<Preset>("preset") {
        let said = command.clone().try_get_matches_from(&all).ok();
        let has_link = said.as_ref().is_some_and(Network::is_wanted_by);
        let modes = said.map(|said| Modes::from_arg_matches(&said)).transpose().ok().flatten();
        let mut words =
            if is_printed { preset.words() } else { preset.words_here(&modes.unwrap_or_default())? };
        // Who has said which network has not meant this one.
        words.retain(|word| !has_link || *word != ALLOW_NET);
        let pids = is_printed.then(|| format!("--pids={}", preset.pids()).into());
        all.splice(1..1, words.into_iter().map(OsString::from).chain(pids));
    }
    if typed.get_raw("words").is_none() && !next.is_empty() {
        all.push("--".into());
        all.extend(next);
    }
    let instead = if is_printed {
        let text = written(&command, &all)?;
        Some(Job::Do(Box::new(move || chain::print(&text).map(drop))))
    } else {
        None
    };
    Ok(Words { words: all, overriding: true, instead })
}

/// Adds the words that a file stands for, and gives the command that is in it.
fn read(text: &str, command: &Command, words: &mut Vec<OsString>) -> Result<Vec<OsString>> {
    let at = |place: Option<usize>, error: Error| match place {
        Some(place) => {
            let lines = text.bytes().take(place).filter(|byte| *byte == b'\n').count();
            error.within(&format!("line {}", lines + 1))
        }
        None => error,
    };
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let place = error.span().map(|span| span.start);
        at(place, Error::new("not TOML", error.message()).hint("write lines such as mem = \"64M\""))
    })?;
    // The same once more, with the places of the keys.
    let places = DeTable::parse(text).ok();
    let places = places.as_ref().map(toml::Spanned::get_ref);
    let mut next = Vec::new();
    for (key, value) in table {
        let place = places.and_then(|places| place_of(places, &key));
        let done = match value {
            Value::Array(all) if key == NEXT => all.iter().try_for_each(|word| {
                next.push(OsString::from(text_of(&key, word)?));
                Ok(())
            }),
            _ if key == NEXT => Err(not(&key, "an array").hint("write such as next = [\"make\", \"test\"]")),
            Value::Array(all) if key == ENTRY => {
                for (number, one) in all.into_iter().enumerate() {
                    let Value::Table(one) = one else {
                        return Err(at(place, not(&key, "a table, such as [[entry]]")));
                    };
                    for (key, value) in one {
                        let place = places.and_then(|places| place_of(entry(places, number)?, &key));
                        add(&key, value, command, words).map_err(|error| at(place, error))?;
                    }
                }
                Ok(())
            }
            value => add(&key, value, command, words),
        };
        done.map_err(|error| at(place, error))?;
    }
    Ok(next)
}

/// Where a key stands in the text.
fn place_of(places: &DeTable, key: &str) -> Option<usize> {
    places.iter().find(|(place, _)| place.get_ref() == key).map(|(place, _)| place.span().start)
}

/// One of the tables of what goes into the root.
fn entry<'a>(places: &'a DeTable<'a>, number: usize) -> Option<&'a DeTable<'a>> {
    let (_, entries) = places.iter().find(|(place, _)| place.get_ref() == ENTRY)?;
    let DeValue::Array(entries) = entries.get_ref() else { return None };
    match entries.get(number)?.get_ref() {
        DeValue::Table(entry) => Some(entry),
        _ => None,
    }
}

/// The option of a box whose name is most like this one.
fn nearest<'a>(command: &'a Command, key: &str) -> Option<&'a str> {
    let in_a_file = command.get_arguments().filter(|arg| !NOT_IN_A_FILE.contains(&arg.get_id().as_str()));
    chain::nearest(key, in_a_file.filter_map(clap::Arg::get_long))
}

fn add(key: &str, value: Value, command: &Command, words: &mut Vec<OsString>) -> Result<()> {
    let is_it = |arg: &&clap::Arg| {
        arg.get_long() == Some(key) || arg.get_short().is_some_and(|short| key == short.to_string())
    };
    let Some(arg) = command.get_arguments().find(is_it) else {
        let error = Error::new(key, "not an option of a box");
        return Err(match nearest(command, key) {
            _ if value.is_table() => {
                error.hint("options are not in tables; write lines such as mem = \"64M\"")
            }
            Some(like) => error.hint(format!("{like} is one, and box-run --help lists all")),
            None => error.hint("box-run --help lists those that there are"),
        });
    };
    if NOT_IN_A_FILE.contains(&arg.get_id().as_str()) {
        return Err(Error::new(key, "it can only be typed"));
    }
    let is_long = arg.get_long() == Some(key);
    let before = words.len();
    let mut push = |value: Option<String>| match value {
        // Behind one letter clap takes no value in the same word here.
        value if !is_long => {
            words.push(format!("-{key}").into());
            words.extend(value.map(OsString::from));
        }
        Some(value) => words.push(format!("--{key}={value}").into()),
        None => words.push(format!("--{key}").into()),
    };
    let takes_none = matches!(arg.get_action(), ArgAction::SetTrue);
    let may_lack = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
    match value {
        Value::Boolean(false) if takes_none || may_lack => {}
        Value::Boolean(true) if takes_none || may_lack => push(None),
        _ if takes_none => return Err(not(key, "true or false")),
        Value::Array(all) => {
            if !matches!(arg.get_action(), ArgAction::Append) {
                return Err(not(key, "one value"));
            }
            for one in all {
                push(Some(text_of(key, &one)?));
            }
        }
        value => push(Some(text_of(key, &value)?)),
    }
    // What else is wrong, such as what goes with what, is told of all words together.
    let mut alone: Vec<OsString> = vec![command.get_name().into()];
    alone.extend_from_slice(&words[before..]);
    let refused = command.clone().try_get_matches_from(alone).err();
    refused.as_ref().and_then(chain::wrong_value).map_or(Ok(()), Err)
}

fn text_of(key: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        _ => Err(not(key, "a text or a number")),
    }
}

fn not(key: &str, what: &str) -> Error {
    Error::new(key, format!("not {what}"))
}

/// The file that stands for these words.
fn written(command: &Command, words: &[OsString]) -> Result<String> {
    let matches = command.clone().try_get_matches_from(words).map_err(|error| {
        Error::new(
            "--print-config",
            error.to_string().lines().next().unwrap_or_default().replacen("error: ", "", 1),
        )
    })?;
    let (mut table, mut entries) = (Table::new(), Vec::new());
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
        if !is_given || NOT_IN_A_FILE.contains(&id) || id == "preset" {
            continue;
        }
        if id == "words" {
            let words = values(&matches, id)?;
            let words = words.iter().skip_while(|word| *word == "--").cloned();
            table.insert(NEXT.into(), Value::Array(words.map(Value::String).collect()));
            continue;
        }
        let key = arg
            .get_long()
            .map_or_else(|| arg.get_short().map(String::from).unwrap_or_default(), str::to_owned);
        if root_enter::Entries::is_one(id) {
            let places: Vec<_> = matches.indices_of(id).into_iter().flatten().collect();
            let values = if matches!(arg.get_action(), ArgAction::SetTrue) {
                vec![Value::Boolean(true)]
            } else {
                strings(&matches, id)?
            };
            entries.extend(places.into_iter().zip(values).map(|(place, value)| (place, key.clone(), value)));
            continue;
        }
        let value = match arg.get_action() {
            ArgAction::SetTrue => Value::Boolean(true),
            ArgAction::Append => Value::Array(strings(&matches, id)?),
            _ => strings(&matches, id)?.pop().unwrap_or(Value::Boolean(true)),
        };
        table.insert(key, value);
    }
    entries.sort_by_key(|(place, ..)| *place);
    if !entries.is_empty() {
        let table_of = |(_, key, value)| Value::Table(Table::from_iter([(key, value)]));
        table.insert(ENTRY.into(), Value::Array(entries.into_iter().map(table_of).collect()));
    }
    Ok(table.to_string())
}

fn strings(matches: &ArgMatches, id: &str) -> Result<Vec<Value>> {
    Ok(values(matches, id)?.into_iter().map(Value::String).collect())
}

fn values(matches: &ArgMatches, id: &str) -> Result<Vec<String>> {
    let text = |word: &std::ffi::OsStr| {
        let word = word.to_str().map(str::to_owned);
        word.ok_or_else(|| Error::new(format!("--print-config: {id}"), "not UTF-8, as TOML is"))
    };
    matches.get_raw(id).into_iter().flatten().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Result<Vec<String>> {
        let mut words = Vec::new();
        let next = read(text, &Args::command(), &mut words)?;
        Ok(words.into_iter().chain(next).map(|word| word.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn a_file_says_what_words_say() {
        let text = "mem = \"64M\"\ncpu = 0.5\npids = 10\ntmp = true\nallow-net = false\nno-init = true\nenv = [\"A=b\", \"C=d\"]\n\
                    next = [\"make\", \"test\"]\n[[entry]]\nbind = \"a:/b\"\n[[entry]]\nnet-files = true\n";
        let expected = [
            "--mem=64M",
            "--cpu=0.5",
            "--pids=10",
            "--tmp",
            "--no-init",
            "--env=A=b",
            "--env=C=d",
            "--bind=a:/b",
            "--net-files",
            "make",
            "test",
        ];
        assert_eq!(words(text).expect("reads"), expected);
    }

    #[test]
    fn what_is_no_option_is_refused() {
        for text in [
            "nothing = 1",
            "mem",
            "mem = []",
            "mem = true",
            "no-init = \"yes\"",
            "config = \"x\"",
            "print = true",
            "help = true",
            "entry = [1]",
            "mem = \"64Q\"",
        ] {
            assert!(words(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_file_panics(text in "\\PC*", key in "[a-z.-]{0,9}", value in "[\\PC\n]{0,20}") {
            let _ = words(&text);
            let _ = words(&format!("{key} = {value}"));
        }
    }
}
