//! What the upper directory of an overlay says has changed: the model that `ovl-diff` shows,
//! `ovl-commit` applies and a layer is made of. The format is that of the kernel's
//! Documentation/filesystems/overlayfs.rst and fs/overlayfs/*.c.
//!
//! ```no_run
//! # fn main() -> chain::Result<()> {
//! use ovl_mount::changes::{Lowers, changes, upper};
//! let (upper, prefix) = upper("upper".as_ref(), "upper directory", false)?;
//! let lowers = Lowers::open(&["lower".into()], prefix)?;
//! for change in changes(&upper, prefix, Some(&lowers))? {
//!     println!("{:?} {}", change.kind, change.path.display());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everything is reached by descriptor, one name at a time, and no symbolic link is followed.
//!
//! | file | holds |
//! | --- | --- |
//! | `walk.rs` | the list of changes |
//! | `upper.rs` | the directory that is said to be an upper one |
//! | `dir.rs` | a directory of a layer, read in order |
//! | `file.rs` | what statx(2) tells of a file |
//! | `marks.rs` | what overlayfs wrote on it: whiteout, opaque, redirect, metacopy, origin, nlink |
//! | `names.rs` | names of one file that the upper directory does not have |
//! | `xattr.rs` | which extended attributes are overlayfs's own |
//! | `redirect.rs` | where a moved directory was |
//! | `lower.rs` | what the lower layers show at a place, as overlayfs finds it |
//! | `quote.rs` | names on lines |
//! | `compare.rs` | whether two files are the same |

pub mod compare;
pub(crate) mod dir;
mod file;
pub(crate) mod lower;
mod marks;
pub(crate) mod names;
pub(crate) mod quote;
mod redirect;
mod upper;
mod walk;
pub(crate) mod xattr;

pub use dir::{Dir, Entry, root};
pub use file::{Kind as FileKind, Stat, Time};
pub use lower::{Lower, Lowers, Place};
pub use marks::{Marks, NamesInOverlay};
pub use quote::quoted;
pub use redirect::Redirect;
pub use upper::upper;
pub use walk::{Change, Kind, changes};
pub use xattr::{Attribute, Prefix, Whose};
