//! Values in the same word as their short option, as in `-lbase`.
//!
//! clap takes such a word for an operand where operands may begin with a dash, as NEXT's words may: to it each of
//! the letters after the first is an option as well, and it knows none of that name.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

use clap::{Arg, Command};

/// The words of a command line, the program's own first, with such values as words of their own, or after the `=` of
/// the long option. What comes after the options is left as it is, but for a `--` at once, which is doubled where a NEXT
/// follows.
pub(crate) fn detached(command: &Command, words: Vec<OsString>) -> Vec<OsString> {
    let has_next = command.get_positionals().any(Arg::is_trailing_var_arg_set);
    let mut words = words.into_iter();
    let mut detached: Vec<_> = words.next().into_iter().collect();
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if !bytes.starts_with(b"-") || bytes == b"-" || bytes == b"--" {
            // clap takes the first one away, by which settings are told from NEXT.
            detached.extend((bytes == b"--" && has_next).then(|| word.clone()));
            detached.push(word);
            break;
        }
        let takes_next = match bytes.strip_prefix(b"--") {
            Some(name) => long(command, name),
            None => match with_value(command, &bytes[1..]) {
                Some((at, option)) if at + 2 < bytes.len() => {
                    let (before, value) = bytes.split_at(at + 2);
                    detached.extend(split(before, option, value));
                    continue;
                }
                found => found.is_some(),
            },
        };
        detached.push(word);
        if takes_next {
            detached.extend(words.next());
        }
    }
    detached.extend(words);
    detached
}

/// Whether the long option of this name has its value in the next word.
fn long(command: &Command, name: &[u8]) -> bool {
    let mut options = command.get_arguments();
    options.any(|option| option.get_long().is_some_and(|long| long.as_bytes() == name) && has_value(option))
}

/// The option with a value among the letters of a word, and its place. A letter that is no option ends the search.
fn with_value<'a>(command: &'a Command, letters: &[u8]) -> Option<(usize, &'a Arg)> {
    for (at, letter) in letters.iter().enumerate() {
        let is_it = |option: &&Arg| option.get_short() == Some(char::from(*letter));
        let option = command.get_arguments().find(is_it)?;
        if has_value(option) {
            return Some((at, option));
        }
    }
    None
}

fn has_value(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_require_equals_set()
}

/// `-nlbase` as `-n --lower=base`: a value may begin with a dash in that.
fn split(letters: &[u8], option: &Arg, value: &[u8]) -> Vec<OsString> {
    let value = value.strip_prefix(b"=").unwrap_or(value);
    let flags = &letters[..letters.len() - 1];
    let Some(long) = option.get_long() else {
        return vec![OsStr::from_bytes(letters).to_owned(), OsStr::from_bytes(value).to_owned()];
    };
    let flags = Some(flags).filter(|flags| flags.len() > 1).map(|flags| OsStr::from_bytes(flags).to_owned());
    let option = OsString::from_vec([b"--", long.as_bytes(), b"=", value].concat());
    flags.into_iter().chain([option]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    fn command() -> Command {
        let flag =
            |name: &'static str, short| Arg::new(name).long(name).short(short).action(ArgAction::SetTrue);
        Command::new("tool").args([
            flag("quiet", 'q'),
            Arg::new("lower").long("lower").short('l').action(ArgAction::Append),
            Arg::new("option").short('o').action(ArgAction::Append),
            Arg::new("size").long("size").num_args(0..=1).require_equals(true),
        ])
    }

    #[test]
    fn what_ends_the_options_is_seen_by_who_looks_for_next() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let next = Arg::new("words").trailing_var_arg(true).allow_hyphen_values(true).num_args(0..);
        let with_next = command().arg(next);
        for (line, expected) in [
            ("tool -- ip a", "tool -- -- ip a"),
            ("tool -lx -- -- a", "tool --lower=x -- -- -- a"),
            ("tool x -- a", "tool x -- a"),
            ("tool -l -- a", "tool -l -- a"),
        ] {
            assert_eq!(detached(&with_next, words(line)), words(expected), "{line}");
        }
        assert_eq!(detached(&command(), words("tool -- a")), words("tool -- a"));
    }

    #[test]
    fn a_value_in_the_word_of_its_option_is_taken_out() {
        for (line, expected) in [
            ("-lbase -oindex=on -q x", "--lower=base -o index=on -q x"),
            ("-qlbase -l=a -qox", "-q --lower=base --lower=a -qo x"),
            ("-l-q x", "--lower=-q x"),
            // A value of its own is no option, nor is what comes after the operands have begun.
            ("-l -lx --lower -oy -lz", "-l -lx --lower -oy --lower=z"),
            ("--size -la x -lb", "--size --lower=a x -lb"),
            ("--lower=a -lb -- -lc", "--lower=a --lower=b -- -lc"),
            ("-la sh -lx", "--lower=a sh -lx"),
            // As typed, so that it is refused by that name.
            ("-xla -la", "-xla --lower=a"),
            ("-ql", "-ql"),
        ] {
            let words = ["tool"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
            let expected: Vec<_> = ["tool"].into_iter().chain(expected.split(' ')).collect();
            assert_eq!(detached(&command(), words), expected, "{line}");
        }
    }
}
