//! The settings as long options, for a program that takes other words as well.

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};

use crate::{Settings, Value};

/// The settings of a group, each as the option of the same name, and any of them as `--limit KEY=VALUE`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits(pub Settings);

/// Name, value and help of each option.
const OPTIONS: [(&str, &str, &str); 23] = [
    ("mem", "SIZE", "Memory and swap together: 64M, 1G, 25%, max"),
    ("swap", "SIZE", "Swap besides --mem"),
    ("mem.high", "SIZE", "Memory from which on the command is slowed down"),
    ("mem.low", "SIZE", "Memory that is not taken away as long as there is other"),
    ("mem.min", "SIZE", "Memory that is never taken away"),
    ("cpu", "CORES", "Processor time: 0.5 or 50% is half a core"),
    ("cpu.period", "TIME", "The time over which --cpu is counted"),
    ("cpu.weight", "N", "The part of the processors where others want them too, 1 to 10000; 100 is usual"),
    ("cpu.idle", "0|1", "Run only when nobody else wants to"),
    ("cpu.burst", "TIME", "Processor time that may be saved up"),
    ("cpus", "LIST", "Use these processors: 0-3,7"),
    ("mems", "LIST", "Use the memory of these nodes"),
    ("pids", "N", "Processes and threads at once"),
    ("oom.group", "0|1", "Kill all if one is killed for memory"),
    ("freeze", "0|1", "Stop all"),
    ("io.read", "DEV:SIZE", "Bytes read a second from a device: /dev/vda:50M; the same for io.write"),
    ("io.write", "DEV:SIZE", "Bytes written a second"),
    ("io.riops", "DEV:N", "Reads a second"),
    ("io.wiops", "DEV:N", "Writes a second"),
    ("io.weight", "N|DEV:N", "The part of a device's time where others want it too"),
    ("devices", "LIST", "Devices that may be used: std, none, std,+/dev/fuse:rw"),
    ("rdma", "ADAPTER:LIMITS", "Handles and objects of an adapter"),
    ("misc", "RESOURCE:N", "Resources that are counted"),
];

const ANY: &str = "limit";
const HEADING: &str = "Limits";

impl clap::Args for Limits {
    fn augment_args(command: Command) -> Command {
        let option =
            |name: &'static str| Arg::new(name).long(name).allow_hyphen_values(true).help_heading(HEADING);
        let options = OPTIONS.iter().map(|(name, value, help)| {
            option(name).value_name(*value).help(*help).value_parser(Settings::value_of(name))
        });
        let any = option(ANY)
            .value_name("KEY=VALUE")
            .help("Any setting of cg-set, such as hugetlb.2MB=64M, or CONTROLLER.FILE=VALUE; may be repeated")
            .value_parser(Settings::one)
            .action(ArgAction::Append);
        command.args(options).arg(any)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Limits {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Settings::default();
        for (name, ..) in OPTIONS {
            settings = settings.with(name, matches.get_one::<Value>(name).cloned());
        }
        for more in matches.get_many::<Settings>(ANY).into_iter().flatten() {
            settings = settings.and(more.clone()).map_err(|twice| {
                clap::Error::raw(clap::error::ErrorKind::ArgumentConflict, format!("{twice}: given twice\n"))
            })?;
        }
        Ok(Self(settings))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::KEYS;

    #[test]
    fn each_setting_has_an_option_but_those_of_each_size() {
        let names: Vec<_> = KEYS.iter().map(|key| key.name).filter(|name| !name.ends_with("SIZE")).collect();
        assert_eq!(OPTIONS.map(|(name, ..)| name).to_vec(), names);
    }
}
