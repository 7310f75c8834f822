//! The primitives put together: one command line that makes a box, by the same links as the chain
//! of lone tools that `--print` shows.

mod args;
mod place;
mod print;

pub use args::Args;
