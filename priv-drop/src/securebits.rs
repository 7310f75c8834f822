//! Securebits: what root's number means, locked for good (capabilities(7), "The securebits flags").

use chain::{Doing, Remedy, Result};
use nix::errno::Errno;
use rustix::thread::{CapabilitiesSecureBits as Bits, set_capabilities_secure_bits};

/// From here on user 0 is a user like any other: running a file or changing the user neither gives nor
/// takes capabilities, and none can be made ambient. No process below can undo it.
pub(crate) fn lock() -> Result<()> {
    let set = Bits::NO_ROOT
        | Bits::NO_ROOT_LOCKED
        | Bits::NO_SETUID_FIXUP
        | Bits::NO_SETUID_FIXUP_LOCKED
        | Bits::KEEP_CAPS_LOCKED
        | Bits::NO_CAP_AMBIENT_RAISE
        | Bits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(set)
        .doing(|| "lock the securebits".into())
        .remedy(Errno::EPERM, "CAP_SETPCAP is needed: run as root, or leave out --locked")
}
