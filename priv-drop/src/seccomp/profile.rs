//! What a profile says, wherever it comes from: which system calls, with which arguments, and what becomes
//! of them.

use caps::{Capability, CapsHashSet};
use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};

use super::syscalls;

/// Rules in their order, of which the first that fits decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    /// What becomes of a system call that no rule is about.
    pub(crate) default: SeccompAction,
    pub(crate) rules: Vec<Rule>,
}

/// What becomes of some system calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Their numbers on this machine.
    pub(crate) numbers: Vec<u32>,
    pub(crate) action: SeccompAction,
    /// All of these must hold.
    pub(crate) args: Vec<SeccompCondition>,
    /// The first argument must be the number of the process that the filter is made in, which stays that
    /// of the command.
    pub(crate) of_itself: bool,
    pub(crate) when: When,
}

/// For which commands a rule is there at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct When {
    /// For those that keep all of these.
    pub(crate) with: Vec<Capability>,
    /// For those that keep none of these.
    pub(crate) without: Vec<Capability>,
}

impl When {
    pub(crate) fn holds(&self, kept: &CapsHashSet) -> bool {
        self.with.iter().all(|cap| kept.contains(cap)) && !self.without.iter().any(|cap| kept.contains(cap))
    }
}

impl Rule {
    /// A rule about all of the named that this machine has, whatever their arguments.
    pub(super) fn new(names: &[&str], action: SeccompAction) -> Self {
        let numbers = names.iter().filter_map(|name| syscalls::number(name)).collect();
        Self { numbers, action, args: Vec::new(), of_itself: false, when: When::default() }
    }

    /// A rule that lets them pass.
    pub(super) fn allow(names: &[&str]) -> Self {
        Self::new(names, SeccompAction::Allow)
    }
}

/// A condition on an argument that the kernel takes as an int, so that it does not see the upper half of
/// the register, and neither may the filter: 2^32 + 40 is 40 to it.
pub(super) fn int_is(index: u8, op: SeccompCmpOp, value: u64) -> SeccompCondition {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value).expect("an index below 6")
}

/// Flags of the C library's headers as a filter compares them.
pub(super) fn mask(flags: i32) -> u64 {
    flags.cast_unsigned().into()
}

/// The system call fails with this error.
pub(super) fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.cast_unsigned())
}
