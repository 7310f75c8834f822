//! `ovl-commit`: the changes in an upper directory, applied to a directory.
//!
//! Path by path, in an order in which it can be interrupted at any moment and run again: what is applied already is
//! seen to be the same, and left. Only renames need a journal.
//!
//! | file | holds |
//! | --- | --- |
//! | `args.rs` | the command line |
//! | `choice.rs` | which paths |
//! | `conflict.rs` | what was changed on both sides |
//! | `loss.rs` | what goes besides |
//! | `moves.rs` | renames, and their journal |
//! | `apply.rs` | everything else, in its order |
//! | `above.rs` | directories above what is applied |
//! | `file.rs` | one file, made aside and put into its place |
//! | `tree.rs` | the directory that is changed |

mod above;
mod apply;
mod args;
mod choice;
mod conflict;
mod file;
mod loss;
mod moves;
mod tree;

pub use args::Args;

use std::path::{Path, PathBuf};

use chain::{Doing, Error, Result};

use crate::changes::{Change, Kind, Lowers, Stat, changes, names, root, upper};
use above::Above;
use choice::Choice;
use loss::Rules;
use moves::{Begun, Done};
use tree::{GOING, STAGE, Tree};

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Order {
    upper: PathBuf,
    to: PathBuf,
    choice: Choice,
    force: bool,
    userxattr: bool,
    dry_run: bool,
}

pub(crate) fn commit(order: &Order) -> Result<()> {
    let (upper, prefix) = upper(&order.upper, "upper directory", order.userxattr)?;
    let tree = Tree { root: root(&order.to, "directory")? };
    let doing = || order.to.display().to_string();
    let target = Stat::of_open(&tree.root).doing(doing)?;
    let own = Stat::of_open(&upper).doing(doing)?;
    if own.identity() == target.identity() {
        return Err(Error::new(doing(), "it is the upper directory itself"));
    }
    for name in [STAGE, GOING] {
        if Stat::find(&upper, name).doing(doing)?.is_some() {
            let why = format!("it has a {}, which is a name that ovl-commit uses", name.to_string_lossy());
            return Err(Error::new("upper directory", why));
        }
    }
    let _only = tree.lock()?;
    tree.check_going()?;
    let title = moves::title(&own, &order.choice);
    let begun = moves::begun(&tree, &title)?;
    let done = Done::new(prefix, begun.as_ref(), &target);
    let wanted = moves::wanted(&upper, prefix, &done, &order.choice)?;
    let plain = || tree.root.try_clone().doing(doing).map(Lowers::plain);
    if begun.is_none() || order.dry_run {
        let lowers = if wanted.moves.is_empty() { plain()?.moved() } else { plain()? };
        let found = chosen(changes(&upper, prefix, Some(&lowers))?, &order.choice, &wanted.moves);
        names::check_all(&found)?;
        let newer = match begun {
            None => {
                Rules { tree: &tree, upper: &upper, choice: &order.choice, wanted: &wanted }.check(&found)?
            }
            Some(_) => Vec::new(),
        };
        if order.dry_run {
            chain::print(&crate::diff::lines(&found))?;
        }
        // What was begun is completed without another look.
        if begun.is_none() && !order.force {
            conflict::refuse(&found, &newer)?;
        }
        if order.dry_run {
            return Ok(());
        }
    }
    let Begun { stage, moves, .. } = match begun {
        Some(begun) => begun,
        None => moves::begin(&tree, &title, &wanted.moves, &upper, &done)?,
    };
    let above = Above::new(&tree, &stage, &upper, prefix);
    moves::carry_out(&above, &moves, &done)?;
    let found = chosen(changes(&upper, prefix, Some(&plain()?.moved()))?, &order.choice, &wanted.moves);
    names::check_all(&found)?;
    apply::all(&above, &found, &order.choice, &wanted.further_names)?;
    tree.sync()?;
    tree.unstage()
}

/// Those of the changes that are asked for. What goes because it was renamed goes if the new name comes.
fn chosen(found: Vec<Change>, choice: &Choice, moves: &[(PathBuf, PathBuf)]) -> Vec<Change> {
    let is_taken =
        |path: &Path, kind| match moves.iter().find(|(from, _)| kind == Kind::Removed && from == path) {
            Some((_, to)) => choice.takes(to),
            None => choice.takes(path),
        };
    found.into_iter().filter(|change| is_taken(&change.path, change.kind)).collect()
}
