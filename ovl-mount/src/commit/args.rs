//! What the command line of `ovl-commit` says.

use std::path::PathBuf;

use chain::{Error, Job, Result, Tool};
use clap::Parser;

use super::{
    Order,
    choice::{Choice, Pattern},
    commit,
};

/// Apply the changes in an overlay to a directory, such as the one that was below it
#[derive(Debug, Parser)]
#[command(name = "ovl-commit", version, override_usage = "ovl-commit [OPTIONS] UPPER --to DIR")]
#[command(after_help = "\
Interrupted at any moment, it is run again. UPPER stays, and has no use any more.
Example: ovl-commit upper --to base")]
pub struct Args {
    /// The directory that the changes went to
    #[arg(value_name = "UPPER", hide = true)]
    upper: PathBuf,
    /// The directory that they are applied to
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Apply only what is at such paths, or below; may be repeated
    #[arg(long, value_name = "GLOB")]
    only: Vec<Pattern>,
    /// Leave out what is at such paths, or below; may be repeated
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<Pattern>,
    /// Apply changes also to what has changed in DIR since
    #[arg(long)]
    force: bool,
    /// The upper directory is that of a mount with userxattr, as ordinary users have
    #[arg(long)]
    userxattr: bool,
    /// Say what would be changed, as ovl-diff does, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        let choice = Choice::new(&self.only, &self.exclude).map_err(|why| Error::new("patterns", why))?;
        let order = Order {
            upper: self.upper,
            to: self.to,
            choice,
            force: self.force,
            userxattr: self.userxattr,
            dry_run: self.dry_run,
        };
        Ok(Job::Do(Box::new(move || commit(&order))))
    }
}
