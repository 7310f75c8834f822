//! The modes of what is made.

use nix::sys::stat::{Mode, umask};

/// Makes files with the modes as they are written in the code, whatever the caller's umask (umask(2)).
pub fn with_exact_modes<T>(make: impl FnOnce() -> T) -> T {
    let before = umask(Mode::empty());
    let result = make();
    umask(before);
    result
}
