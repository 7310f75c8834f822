//! What the tests of every chainbox program share: a scene in which tools run, and which fails the
//! test if anything is left over after it.

#![expect(clippy::missing_panics_doc, reason = "a helper that cannot do its work fails the test")]

mod holder;
mod leftovers;
mod machine;
mod running;
mod scene;
mod terminal;
mod walk;

pub use holder::{Holder, namespace};
pub use leftovers::Leftovers;
pub use machine::{kernel_is_from, on_v2, skip};
pub use running::{Running, last_descendant_is};
pub use scene::{ORDINARY_USER, Scene, slowness, wait_until};
pub use terminal::Terminal;
pub use walk::walk;
