//! Personality: how the kernel behaves for programs that expect another one (personality(2)).

use std::fmt;

use chain::{Doing, Result};
use nix::sys::personality;

/// One part of the personality, by the name that setarch(8) has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Persona {
    /// uname(2) tells of a 32-bit machine.
    Linux32,
    /// Addresses are the same each time.
    AddrNoRandomize,
    /// Memory is laid out as by old kernels.
    AddrCompatLayout,
    /// What can be read can be executed.
    ReadImpliesExec,
    /// select(2) leaves the time that remains as it was.
    StickyTimeouts,
    /// uname(2) tells of version 2.6.
    Uname26,
}

/// PER_LINUX32 of personality.h, a number in the lowest byte, which has no name among the flags.
const LINUX32: i32 = 8;
/// UNAME26 of personality.h, which has no name where the C library is musl.
const UNAME26: i32 = 0x0002_0000;

impl Persona {
    fn flag(self) -> personality::Persona {
        match self {
            Self::Linux32 => personality::Persona::from_bits_retain(LINUX32),
            Self::AddrNoRandomize => personality::Persona::ADDR_NO_RANDOMIZE,
            Self::AddrCompatLayout => personality::Persona::ADDR_COMPAT_LAYOUT,
            Self::ReadImpliesExec => personality::Persona::READ_IMPLIES_EXEC,
            Self::StickyTimeouts => personality::Persona::STICKY_TIMEOUTS,
            Self::Uname26 => personality::Persona::from_bits_retain(UNAME26),
        }
    }

    /// Adds it to what there is.
    pub(crate) fn set(self) -> Result<()> {
        let add = |present| personality::set(present | self.flag());
        personality::get().and_then(add).doing(|| format!("personality {self}")).map(drop)
    }
}

impl fmt::Display for Persona {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = clap::ValueEnum::to_possible_value(self);
        f.write_str(name.as_ref().map_or("", clap::builder::PossibleValue::get_name))
    }
}
