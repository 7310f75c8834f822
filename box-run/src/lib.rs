//! The primitives put together: one command line that makes a box, by the same links as the chain
//! of lone tools that `--print` shows.
//!
//! | file | holds |
//! | --- | --- |
//! | `args.rs` | the command line |
//! | `expand.rs`, `presets.rs` | words that stand for others |
//! | `links.rs` | the links, with what a box has unless something else is said |
//! | `network.rs` | what of that is about a network that leads out |
//! | `privileges.rs` | what of that is about privileges and the environment |
//! | `owner.rs` | who root in a box is outside |
//! | `modes.rs`, `secrets.rs`, `walk.rs` | the host's tree as the root, and what is hidden in it |
//! | `place.rs` | where another root is put together |
//! | `print.rs` | the chain of lone tools |
//! | `boxes.rs` | boxes that have a name |
//! | `terminal.rs` | a terminal of its own for who enters a box |
//! | `check.rs` | what a machine can have |

mod args;
mod boxes;
mod check;
mod expand;
mod links;
mod modes;
mod network;
mod owner;
mod place;
mod presets;
mod print;
mod privileges;
mod secrets;
mod terminal;
mod walk;

pub use args::Args;
