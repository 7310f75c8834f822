//! The launch that every chainbox program shares.
//!
//! A program is one [`Link`] or a row of them in front of NEXT, the command. A [`Tool`] says which
//! from its command line; [`main`] does the rest: it prepares the links, makes the namespaces,
//! runs NEXT behind them, passes signals on, reports, cleans up, and ends as NEXT ended.
//!
//! | file | holds |
//! | --- | --- |
//! | `cli.rs` | the shared grammar and the one `main` |
//! | `attached.rs` | values in the word of their short option |
//! | `link.rs` | what a link can ask for, and when it is called |
//! | `launch.rs` | the order of a launch |
//! | `supervisor.rs`, `signals.rs` | the process that waits outside |
//! | `init.rs` | process 1 of a pid namespace, where NEXT is not that itself |
//! | `channel.rs` | how the child tells why it failed |
//! | `next.rs` | exec, and what its errors mean |
//! | `program.rs` | NEXT as a file that was opened before the root is another |
//! | `reexec.rs` | this program run from where nobody can change it |
//! | `report.rs` | the file that is written when NEXT has ended |
//! | `error.rs` | the error line and the exit codes |
//! | `kernel_log.rs` | what the kernel says only in its log |
//! | `loopback.rs` | the interface that every network namespace has |
//! | `mount.rs` | mounts by descriptor |
//! | `idmap.rs` | a map of owners for a mount |
//! | `counted.rs` | whether a user's processes are counted |
//! | `cgroups.rs` | the groups that a process is in |
//! | `memory.rs` | memory on musl |
//! | `modes.rs` | files with the modes that are written |
//! | `mountinfo.rs` | the list of mounts that the kernel gives |
//! | `nearest.rs` | a word that is known, for one that is not |
//! | `size.rs`, `span.rs` | `4M`, `max`; `1.5s` |
//! | `table.rs` | columns for people |
//! | `xattr.rs` | extended attributes by descriptor |
//! | `sys.rs` | system calls that nix and rustix lack |

mod attached;
pub mod cgroups;
mod channel;
mod cli;
mod counted;
mod error;
mod idmap;
mod init;
pub mod kernel_log;
mod launch;
mod link;
mod loopback;
#[cfg(target_env = "musl")]
mod memory;
mod modes;
pub mod mount;
pub mod mountinfo;
mod nearest;
mod next;
mod program;
mod reexec;
mod report;
mod signals;
mod size;
mod span;
mod supervisor;
mod sys;
pub mod table;
pub mod xattr;

pub use cli::{
    Job, Operands, Options, Tool, Words, descriptor, json, main, note, parse, print, print_bytes, text,
    wrong_value,
};
pub use counted::counts_processes;
pub use error::{Doing, Error, FAILED, NOT_FOUND, NOT_RUNNABLE, Remedy, Result, errno, one_line};
pub use idmap::{IdMap, owners_mapped};
pub use link::{Birth, Ended, Ending, Launch, Link, Links, Propagation, Timeout};
pub use loopback::set_loopback_up;
pub use modes::with_exact_modes;
pub use nearest::nearest;
pub use next::Next;
pub use reexec::run_unchangeable;
pub use report::ReportFile;
pub use signals::{die_of, proc_is_ours, undisturbed, wait_readable};
pub use size::{Limit, Size};
pub use span::Span;
pub use sys::{
    call_when_something_is_made, close_all_but, exit_now, in_user_namespace, start::keep_words, take_fd,
};
