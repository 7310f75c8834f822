//! `ovl-diff`: what has changed in an overlay, from its upper directory.
//!
//! | file | holds |
//! | --- | --- |
//! | `args.rs` | the command line |
//! | `text.rs` | one line a path |
//! | `json.rs` | one object a path |
//! | `stat.rs` | how many and how much |
//! | `patch.rs` | as diff -u would |

mod args;
mod json;
mod patch;
mod stat;
mod text;

pub use args::Args;
pub(crate) use text::lines;

use std::path::PathBuf;

use chain::Result;

use crate::changes::{Lowers, changes, names, upper};

/// There are no changes, as diff(1) says it.
const SAME: u8 = 0;
/// There are.
const DIFFERENT: u8 = 1;

/// How changes are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Quiet,
    Lines,
    Raw,
    Json,
    Stat,
    Patch,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    upper: PathBuf,
    lower: Vec<PathBuf>,
    userxattr: bool,
    form: Form,
}

/// Shows the changes; the exit status says whether there are any.
pub(crate) fn show(question: &Question) -> Result<u8> {
    let (upper, prefix) = upper(&question.upper, "upper directory", question.userxattr)?;
    let lowers = match question.lower.as_slice() {
        [] => None,
        paths => Some(Lowers::open(paths, prefix)?),
    };
    let found = changes(&upper, prefix, lowers.as_ref())?;
    names::check_all(&found)?;
    let text = match (question.form, &lowers) {
        (Form::Lines, _) => text::lines(&found).into_bytes(),
        (Form::Raw, _) => text::raw(&found),
        (Form::Json, _) => json::lines(&found)?.into_bytes(),
        (Form::Stat, _) => stat::table(&found).into_bytes(),
        (Form::Patch, Some(lowers)) => patch::patch(&upper, lowers, &found)?,
        // The command line wants lower layers for a patch.
        (Form::Quiet, _) | (Form::Patch, None) => Vec::new(),
    };
    chain::print_bytes(&text)?;
    Ok(if found.is_empty() { SAME } else { DIFFERENT })
}
