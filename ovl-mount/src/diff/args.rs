//! What the command line of `ovl-diff` says.

use std::path::PathBuf;

use chain::{Job, Result, Tool};
use clap::Parser;

use super::{Form, Question, show};

/// Show what has changed in an overlay, from its upper directory
#[derive(Debug, Parser)]
#[command(name = "ovl-diff", version, override_usage = "ovl-diff [OPTIONS] [-l LOWER]... UPPER")]
#[command(after_help = "\
One line a path: A added, C changed, D removed, R replaced by another kind or made
again, M metadata only. The exit status is 1 if there are changes, 0 if not.
Example: ovl-diff -l /etc upper")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    /// The directory that the changes went to
    #[arg(value_name = "UPPER", hide = true)]
    upper: PathBuf,
    /// A directory that was below it; may be repeated, the highest first
    #[arg(short, long, value_name = "LOWER")]
    lower: Vec<PathBuf>,
    /// Say nothing
    #[arg(short, long, group = "form")]
    quiet: bool,
    /// End names with a zero byte, and do not quote them
    #[arg(short = 'z', long, group = "form")]
    null: bool,
    /// Print an object of JSON a line, for programs
    #[arg(long, group = "form")]
    json: bool,
    /// Print how many changes there are, and of how many bytes
    #[arg(long, group = "form")]
    stat: bool,
    /// Print the changes to text files as diff -u does
    #[arg(long, group = "form", requires = "lower")]
    patch: bool,
    /// The upper directory is that of a mount with userxattr, as ordinary users have
    #[arg(long)]
    userxattr: bool,
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        let forms = [
            (self.quiet, Form::Quiet),
            (self.null, Form::Raw),
            (self.json, Form::Json),
            (self.stat, Form::Stat),
            (self.patch, Form::Patch),
        ];
        let form = forms.into_iter().find_map(|(asked, form)| asked.then_some(form)).unwrap_or(Form::Lines);
        let question = Question { upper: self.upper, lower: self.lower, userxattr: self.userxattr, form };
        Ok(Job::Ask(Box::new(move || show(&question))))
    }
}
