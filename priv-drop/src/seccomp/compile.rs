//! From a profile to the program that the kernel runs at each system call (seccomp(2)).
//!
//! seccompiler makes a program of rules with one action, which returns another one for what no rule fits.
//! Here the programs of several actions stand behind each other: where one would return that, it goes on to
//! the next.
//!
//! Such a program asks for one system call after the other. When a filter is installed, the kernel runs it for each
//! that there is (`seccomp_cache_prepare()` in kernel/seccomp.c), which takes longer than all else that makes a box's
//! command what it is. So before them stands a search by halves for those that are allowed whatever their arguments,
//! which are nearly all.

use std::{
    collections::{BTreeMap, BTreeSet},
    process,
};

use caps::CapsHashSet;
use chain::{Error, Result};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpOp, SeccompFilter, SeccompRule, TargetArch,
    sock_filter,
};

use super::profile::{Profile, Rule, int_is};

/// Stands for "no rule fits" until it is known where the next part begins. No profile may have it.
const NEXT_PART: SeccompAction = SeccompAction::Trace(0xffff);

/// The most instructions that the kernel takes: BPF_MAXINSNS of linux/bpf_common.h.
const LONGEST: usize = 4096;

/// The bit in the numbers of system calls that enter by the x32 ABI: __X32_SYSCALL_BIT of asm/unistd.h.
const X32: u32 = 0x4000_0000;

/// The number that a tracer gives a system call which it wants skipped (ptrace(2)).
const SKIPPED: u32 = u32::MAX;

/// The program for a command that keeps these capabilities.
pub(super) fn program(profile: &Profile, kept: &CapsHashSet) -> Result<BpfProgram> {
    let mut program = part(BTreeMap::new(), SeccompAction::Allow).map_err(failed)?;
    program.extend(entry(profile));
    let allowed = allowed(profile, kept);
    program.extend(search(&allowed));
    for (action, rules) in in_parts(profile, kept, &allowed) {
        program.extend(part(rules, action).map_err(failed)?);
    }
    program.push(returns(&profile.default));
    if program.len() > LONGEST {
        return Err(failed(BackendError::FilterTooLarge(program.len())));
    }
    Ok(program)
}

fn failed(error: BackendError) -> Error {
    match error {
        BackendError::FilterTooLarge(length) => Error::new(
            "compile the profile",
            format!("{length} instructions, and the kernel takes {LONGEST}"),
        )
        .hint("name fewer system calls"),
        error => Error::new("compile the profile", error.to_string()),
    }
}

/// The system calls for which the first rule that is about them allows them whatever their arguments.
fn allowed(profile: &Profile, kept: &CapsHashSet) -> BTreeSet<u32> {
    let mut decided = BTreeMap::new();
    for rule in profile.rules.iter().filter(|rule| rule.when.holds(kept)) {
        let is_allowed = rule.action == SeccompAction::Allow && conditions(rule).is_none();
        for number in &rule.numbers {
            decided.entry(*number).or_insert(is_allowed);
        }
    }
    decided.into_iter().filter_map(|(number, is_allowed)| is_allowed.then_some(number)).collect()
}

/// Allows these, the number being loaded, and goes on behind its end for all others.
fn search(numbers: &BTreeSet<u32>) -> BpfProgram {
    // Where those that are allowed begin, and those that are not, by turns.
    let mut borders = vec![(0, false)];
    for number in numbers {
        match borders.last_mut() {
            Some(last) if last.0 == *number => last.1 = true,
            _ => borders.push((*number, true)),
        }
        borders.push((number + 1, false));
    }
    let mut program = halves(&borders);
    let length = program.len();
    for (at, instruction) in program.iter_mut().enumerate() {
        if *instruction == returns(&NEXT_PART) {
            *instruction = go_on(length - at - 1);
        }
    }
    program
}

fn halves(borders: &[(u32, bool)]) -> BpfProgram {
    if let [(_, is_allowed)] = borders {
        return vec![returns(if *is_allowed { &SeccompAction::Allow } else { &NEXT_PART })];
    }
    let (low, high) = borders.split_at(borders.len() / 2);
    let (below, above) = (halves(low), halves(high));
    let mut program = match u8::try_from(below.len()) {
        Ok(length) => vec![jump(libc::BPF_JGE, high[0].0, length, 0)],
        Err(_) => vec![jump(libc::BPF_JGE, high[0].0, 0, 1), go_on(below.len())],
    };
    program.extend(below);
    program.extend(above);
    program
}

/// The rules that hold, in parts of one action each, in their order, without what is `decided` already.
fn in_parts(
    profile: &Profile,
    kept: &CapsHashSet,
    decided: &BTreeSet<u32>,
) -> Vec<(SeccompAction, BTreeMap<i64, Vec<SeccompRule>>)> {
    let mut parts: Vec<(SeccompAction, BTreeMap<i64, Vec<SeccompRule>>)> = Vec::new();
    for rule in profile.rules.iter().filter(|rule| rule.when.holds(kept)) {
        if parts.last().is_none_or(|(action, _)| *action != rule.action) {
            parts.push((rule.action.clone(), BTreeMap::new()));
        }
        let Some((_, rules)) = parts.last_mut() else { continue };
        let fits = conditions(rule);
        for number in rule.numbers.iter().filter(|number| !decided.contains(number)) {
            // One without conditions fits always, which is a list without rules.
            match (&fits, rules.get_mut(&i64::from(*number))) {
                (None, _) => drop(rules.insert(i64::from(*number), Vec::new())),
                (Some(fits), None) => drop(rules.insert(i64::from(*number), vec![fits.clone()])),
                (Some(_), Some(present)) if present.is_empty() => {}
                (Some(fits), Some(present)) => present.push(fits.clone()),
            }
        }
    }
    parts
}

fn conditions(rule: &Rule) -> Option<SeccompRule> {
    let own = rule.of_itself.then(|| int_is(0, SeccompCmpOp::Eq, process::id().into()));
    let conditions: Vec<_> = rule.args.iter().cloned().chain(own).collect();
    SeccompRule::new(conditions).ok()
}

/// The rules of one action, as a program that goes on behind its end if none of them fits. Without
/// rules it is only what all have at their beginning: whoever comes by the entry point of another
/// architecture (int 0x80 of i386) is killed.
fn part(rules: BTreeMap<i64, Vec<SeccompRule>>, action: SeccompAction) -> Result<BpfProgram, BackendError> {
    let here = TargetArch::try_from(std::env::consts::ARCH)?;
    let mut program: BpfProgram = SeccompFilter::new(rules, NEXT_PART, action, here)?.try_into()?;
    let length = program.len();
    for (at, instruction) in program.iter_mut().enumerate() {
        if *instruction == returns(&NEXT_PART) {
            *instruction = go_on(length - at - 1);
        }
    }
    Ok(program)
}

/// What is asked before the rules. x32 is an entry point of its own on the same architecture, so it is
/// closed here. A system call that is newer than the profile is missing, as on an older kernel, not
/// forbidden: the C library then does without it.
fn entry(profile: &Profile) -> Vec<sock_filter> {
    let mut entry = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    if cfg!(target_arch = "x86_64") {
        entry.push(jump(libc::BPF_JGE, X32, 0, 2));
        entry.push(jump(libc::BPF_JEQ, SKIPPED, 1, 0));
        entry.push(returns(&SeccompAction::KillProcess));
    }
    let missing = super::profile::errno(libc::ENOSYS);
    let newest = profile.rules.iter().flat_map(|rule| &rule.numbers).max();
    if let (SeccompAction::Errno(_), Some(newest)) = (&profile.default, newest)
        && profile.default != missing
    {
        entry.push(jump(libc::BPF_JGT, *newest, 0, 1));
        entry.push(returns(&missing));
    }
    entry
}

/// Goes over so many instructions.
fn go_on(length: usize) -> sock_filter {
    statement(libc::BPF_JMP | libc::BPF_JA, u32::try_from(length).unwrap_or(u32::MAX))
}

fn returns(action: &SeccompAction) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action.clone().into())
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: u16::try_from(code).unwrap_or(u16::MAX), jt: 0, jf: 0, k }
}

/// Goes on so many instructions further if the comparison holds, and if it does not.
fn jump(comparison: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { jt, jf, ..statement(libc::BPF_JMP | comparison | libc::BPF_K, k) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*, sample::select};

    use crate::seccomp::{default, profile::When, strict};

    /// What the kernel does with a program, as far as these use it: the number of the system call is loaded from 0, the
    /// architecture from 4, and the arguments from 16 on.
    fn run(program: &[sock_filter], number: u32, args: [u32; 2]) -> u32 {
        let (mut at, mut loaded) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            at += 1;
            let (class, operation) = (u32::from(code) & 7, u32::from(code) & 0xf0);
            let goes = match operation {
                libc::BPF_JEQ => loaded == k,
                libc::BPF_JGT => loaded > k,
                libc::BPF_JGE => loaded >= k,
                _ => loaded & k != 0,
            };
            match class {
                libc::BPF_LD => {
                    loaded = match k {
                        0 => number,
                        4 => 0xC000_003E,
                        16 => args[0],
                        24 => args[1],
                        _ => 0,
                    }
                }
                libc::BPF_RET => return k,
                libc::BPF_ALU => loaded &= k,
                libc::BPF_JMP if operation == libc::BPF_JA => at += k as usize,
                libc::BPF_JMP => at += usize::from(if goes { jt } else { jf }),
                _ => panic!("not an instruction that is used: {code}"),
            }
        }
    }

    /// What the rules say, one after the other.
    fn meant(profile: &Profile, kept: &CapsHashSet, number: u32, args: [u32; 2]) -> u32 {
        let newest = profile.rules.iter().flat_map(|rule| &rule.numbers).max();
        if newest.is_none_or(|newest| number > *newest) {
            return super::super::profile::errno(libc::ENOSYS).into();
        }
        let fits = |rule: &&Rule| {
            let holds = rule.args.iter().all(|condition| {
                // Only such are made here.
                [0, 1].into_iter().any(|index| {
                    (0..3).any(|value| {
                        *condition == int_is(index, SeccompCmpOp::Eq, value)
                            && u64::from(args[usize::from(index)]) == value
                    })
                })
            });
            rule.when.holds(kept) && rule.numbers.contains(&number) && holds
        };
        profile.rules.iter().find(fits).map_or(&profile.default, |rule| &rule.action).clone().into()
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let action = select(vec![SeccompAction::Allow, SeccompAction::Errno(1), SeccompAction::KillProcess]);
        let condition = (0_u8..2, 0_u64..3).prop_map(|(index, value)| int_is(index, SeccompCmpOp::Eq, value));
        (vec(0_u32..400, 1..150), action, vec(condition, 0..2)).prop_map(|(numbers, action, args)| Rule {
            numbers,
            action,
            args,
            of_itself: false,
            when: When::default(),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_program_does_what_the_rules_say(rules in vec(rule(), 1..6), args in any::<[bool; 2]>()) {
            let profile = Profile { default: SeccompAction::Errno(13), rules };
            let kept = CapsHashSet::new();
            let args = args.map(u32::from);
            let program = program(&profile, &kept).expect("compiles");
            for number in (0..420).chain([u32::MAX - 1]) {
                let meant = if number == u32::MAX - 1 { SeccompAction::KillProcess.into() } else { meant(&profile, &kept, number, args) };
                prop_assert_eq!(run(&program, number, args), meant, "{}", number);
            }
        }
    }

    #[test]
    fn our_own_profiles_are_short_enough_to_be_installed_fast() {
        for profile in [default::profile(), strict::profile()] {
            let program = program(&profile, &CapsHashSet::new()).expect("compiles");
            assert!(program.len() < 900, "{}", program.len());
        }
    }
}
