//! The launch that every chainbox program shares.
//!
//! A program is one [`Link`] or a row of them in front of NEXT, the command. A [`Tool`] says which
//! from its command line; [`main`] does the rest: it prepares the links, makes the namespaces,
//! runs NEXT behind them, passes signals on, reports, cleans up, and ends as NEXT ended.
//!
//! | file | holds |
//! | --- | --- |
//! | `cli.rs` | the shared grammar and the one `main` |
//! | `link.rs` | what a link can ask for, and when it is called |
//! | `launch.rs` | the order of a launch |
//! | `supervisor.rs`, `signals.rs` | the process that waits outside |
//! | `init.rs` | process 1 of a pid namespace, where NEXT is not that itself |
//! | `channel.rs` | how the child tells why it failed |
//! | `next.rs` | exec, and what its errors mean |
//! | `error.rs` | the error line and the exit codes |
//! | `kernel_log.rs` | what the kernel says only in its log |
//! | `mount.rs` | mounts by descriptor |
//! | `mountinfo.rs` | the list of mounts that the kernel gives |
//! | `size.rs`, `span.rs` | `4M`, `max`; `1.5s` |
//! | `table.rs` | columns for people |
//! | `sys.rs` | system calls that nix and rustix lack |

mod channel;
mod cli;
mod error;
mod init;
pub mod kernel_log;
mod launch;
mod link;
pub mod mount;
pub mod mountinfo;
mod next;
mod signals;
mod size;
mod span;
mod supervisor;
mod sys;
pub mod table;

pub use cli::{Job, Operands, Options, Tool, descriptor, json, main, note, print, text};
pub use error::{Doing, Error, FAILED, NOT_FOUND, NOT_RUNNABLE, Remedy, Result, one_line};
pub use link::{Birth, Ended, Ending, Launch, Link, Links, Propagation, Timeout};
pub use next::Next;
pub use signals::proc_is_ours;
pub use size::{Limit, Size};
pub use span::Span;
pub use sys::take_fd;
