//! A group of contestants: commands that give the same box, run in turn and timed.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    inside::{Inside, QUESTION},
    stage::Need,
    stats::Draws,
};

/// Contestants that are compared with each other.
#[derive(Debug)]
pub(crate) struct Group {
    /// By this the group is chosen.
    pub(crate) name: &'static str,
    /// What all its contestants do.
    pub(crate) what: &'static str,
    /// What is run.
    pub(crate) command: &'static str,
    /// The one by whose median the others' are divided. It comes first.
    pub(crate) reference: Contestant,
    pub(crate) others: Vec<Contestant>,
    /// Contestants that differ in one thing, to see what that costs.
    pub(crate) added: Vec<Added>,
    /// What must be there meanwhile.
    pub(crate) needs: Vec<Need>,
    /// By how much fewer rounds it is run, because each takes longer.
    pub(crate) slower: usize,
}

/// What one thing costs a contestant, and what it costs the one that is compared with.
#[derive(Debug, Clone)]
pub(crate) struct Added {
    pub(crate) what: &'static str,
    /// The names of the contestant with the thing and of that without.
    pub(crate) by: [&'static str; 2],
    pub(crate) reference: [&'static str; 2],
}

impl Group {
    pub(crate) fn contestants(&self) -> impl Iterator<Item = &Contestant> {
        [&self.reference].into_iter().chain(&self.others)
    }
}

/// A command line in front of the command that is run in the box.
#[derive(Debug, Clone)]
pub(crate) struct Contestant {
    pub(crate) name: String,
    /// Empty for the command alone.
    words: Vec<OsString>,
    /// What it must give to count.
    gives: Inside,
    /// Why it cannot run on this machine.
    missing: Option<&'static str>,
    /// How many boxes it makes.
    boxes: usize,
}

impl Contestant {
    pub(crate) fn new<W: Into<OsString>>(
        name: impl Into<String>,
        words: impl IntoIterator<Item = W>,
        gives: Inside,
    ) -> Self {
        Self {
            name: name.into(),
            words: words.into_iter().map(Into::into).collect(),
            gives,
            missing: None,
            boxes: 1,
        }
    }

    /// It does not take part for this reason, if there is one.
    pub(crate) fn unless(self, missing: Option<&'static str>) -> Self {
        Self { missing, ..self }
    }

    /// It makes so many boxes, one of which is what is compared.
    pub(crate) fn of_many(self, boxes: usize) -> Self {
        Self { boxes, ..self }
    }

    #[expect(clippy::cast_precision_loss, reason = "there are not that many")]
    pub(crate) fn boxes(&self) -> f64 {
        self.boxes as f64
    }

    pub(crate) fn missing(&self) -> Option<&'static str> {
        self.missing
    }

    pub(crate) fn gives(&self) -> &Inside {
        &self.gives
    }

    /// The command line as it would be typed.
    pub(crate) fn shown(&self, command: &str) -> String {
        let words = self.words.iter().map(|word| word.to_string_lossy()).chain([command.into()]);
        shell_words::join(words)
    }

    /// Asks in its box what is there. Says why it does not count if that is not what it must give.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.boxes > 1 {
            // What one of them gives is asked in other groups.
            return Ok(());
        }
        let answer = self.with(&QUESTION).stdout(Stdio::piped()).output();
        let answer = answer.map_err(|error| error.to_string())?;
        if !answer.status.success() {
            return Err(answer.status.to_string());
        }
        let given = Inside::told_by(&String::from_utf8_lossy(&answer.stdout));
        if given == self.gives { Ok(()) } else { Err(format!("gives {given}, not {}", self.gives)) }
    }

    /// The command line that runs `command`. It is started by posix_spawn(3), so this program's size and
    /// what it does take no part, and its program is looked for here, not once for each round.
    pub(crate) fn with(&self, command: &[&str]) -> Command {
        let mut words = self.words.iter().map(OsString::as_os_str).chain(command.iter().map(OsStr::new));
        let mut made = Command::new(find(words.next().unwrap_or_default()));
        made.args(words).stdin(Stdio::inherit());
        made
    }
}

/// The file that PATH has for a name; a name with a slash is itself.
fn find(name: &OsStr) -> OsString {
    let path = env::var_os("PATH").filter(|_| Path::new(name).components().count() == 1);
    let dirs: Vec<_> = path.iter().flat_map(env::split_paths).collect();
    let file = dirs.into_iter().map(|dir| dir.join(name)).find(|file| file.is_file());
    file.map_or_else(|| name.to_owned(), Into::into)
}

/// Runs every command once a round and gives the times of each, in microseconds. What disturbs the
/// machine for a while disturbs all of them; and each comes after each other one, so that none always
/// pays for what the kernel puts off at the end of another's box.
pub(crate) fn race(mut commands: Vec<Command>, rounds: usize) -> io::Result<Vec<Vec<f64>>> {
    // The first time reads what is not in memory yet.
    for command in &mut commands {
        time(command)?;
    }
    let mut draws = Draws::new();
    let mut order: Vec<_> = (0..commands.len()).collect();
    let mut times = vec![Vec::with_capacity(rounds); commands.len()];
    for _ in 0..rounds {
        draws.shuffle(&mut order);
        for at in &order {
            times[*at].push(time(&mut commands[*at])?);
        }
    }
    Ok(times)
}

fn time(command: &mut Command) -> io::Result<f64> {
    let start = Instant::now();
    let status = command.status()?;
    let took = start.elapsed();
    if !status.success() {
        return Err(io::Error::other(format!("{}: {status}", command.get_program().display())));
    }
    Ok(took.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_without_a_box_gives_none() {
        let none: [&str; 0] = [];
        assert_eq!(Contestant::new("alone", none, Inside::default()).check(), Ok(()));
    }

    #[test]
    fn who_gives_no_box_does_not_count() {
        let why = Contestant::new("env", ["env"], Inside::new(&["uts"])).check().expect_err("no box");
        assert_eq!(why, "gives nothing of its own, not its own uts");
    }

    #[test]
    fn who_fails_or_is_missing_does_not_count() {
        for words in [&["false"][..], &["/nowhere/unshare", "-u"]] {
            assert!(Contestant::new("none", words, Inside::default()).check().is_err(), "{words:?}");
        }
    }

    #[test]
    fn every_round_times_every_command() {
        let commands = || (0..3).map(|_| Command::new("true")).collect();
        let times = race(commands(), 4).expect("they run");
        assert_eq!(times.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 4]);
        assert!(times.iter().flatten().all(|time| *time > 0.0));
    }

    #[test]
    fn a_command_that_fails_ends_the_race() {
        assert!(race(vec![Command::new("true"), Command::new("false")], 4).is_err());
    }
}
