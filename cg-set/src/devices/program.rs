//! The list as a program for the kernel's virtual machine, which is asked before a device is opened or
//! made, and answers 1 for yes (BPF_PROG_TYPE_CGROUP_DEVICE; Documentation/bpf/standardization/ of the
//! kernel has the instructions).

use super::{Access, Kind, List, Numbers};

/// One instruction (struct bpf_insn in <linux/bpf.h>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    value: i32,
}

/// Where the answer is in the end, and a place to reckon before.
const ANSWER: u8 = 0;
/// Where the question is in the beginning (struct bpf_cgroup_dev_ctx).
const QUESTION: u8 = 1;
/// Where its parts are kept.
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xbf;
const SET: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

fn with_value(code: u8, register: u8, value: i32) -> Instruction {
    Instruction { code, registers: registers(register, 0), offset: 0, value }
}

fn from_register(code: u8, register: u8, from: u8, offset: i16) -> Instruction {
    Instruction { code, registers: registers(register, from), offset, value: 0 }
}

/// They are bit fields in C, which begin at the other end on big-endian machines.
fn registers(first: u8, second: u8) -> u8 {
    if cfg!(target_endian = "big") { first << 4 | second } else { first | second << 4 }
}

fn answer(yes: bool) -> [Instruction; 2] {
    [with_value(SET, ANSWER, yes.into()), with_value(EXIT, 0, 0)]
}

/// The program that allows what is in the list.
pub(super) fn of(list: &List) -> Vec<Instruction> {
    // The first word of the question is the kind of device in its lower half, the access in its upper.
    let mut program = vec![
        from_register(LOAD_WORD, KIND, QUESTION, 0),
        from_register(MOVE, ACCESS, KIND, 0),
        with_value(AND, KIND, 0xffff),
        with_value(SHIFT_RIGHT, ACCESS, 16),
        from_register(LOAD_WORD, MAJOR, QUESTION, 4),
        from_register(LOAD_WORD, MINOR, QUESTION, 8),
    ];
    for (numbers, access) in list {
        program.extend(rule(*numbers, *access));
    }
    program.extend(answer(false));
    program
}

/// Yes if the question is about these devices and asks for no more than this access; else on to what follows.
fn rule(numbers: Numbers, access: Access) -> Vec<Instruction> {
    let kind = match numbers.kind {
        Kind::Block => 1,
        Kind::Char => 2,
    };
    let differs = |register, value| with_value(JUMP_UNLESS_EQUAL, register, value);
    let number = |number: u32| i32::try_from(number).unwrap_or(-1);
    let mut rule = vec![differs(KIND, kind)];
    rule.extend(numbers.major.map(|major| differs(MAJOR, number(major))));
    rule.extend(numbers.minor.map(|minor| differs(MINOR, number(minor))));
    if let Some(refused) = Access::ALL.without(access) {
        rule.push(from_register(MOVE, ANSWER, ACCESS, 0));
        rule.push(with_value(AND, ANSWER, refused.0.into()));
        rule.push(differs(ANSWER, 0));
    }
    rule.extend(answer(true));
    let length = rule.len();
    for (at, instruction) in rule.iter_mut().enumerate().filter(|(_, found)| found.code == JUMP_UNLESS_EQUAL)
    {
        // From the instruction after this one. A rule has at most eight.
        instruction.offset = i16::try_from(length - at - 1).unwrap_or(0);
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs a program as the kernel would, for a question of three words.
    fn run(program: &[Instruction], question: [u32; 3]) -> u64 {
        let mut registers = [0_u64; 6];
        let mut at = 0;
        for _ in 0..=program.len() {
            let Instruction { code, registers: of, offset, value } = program[at];
            let (to, from) = (usize::from(of & 15), usize::from(of >> 4));
            let value = i64::from(value).cast_unsigned();
            at += 1;
            match code {
                LOAD_WORD => registers[to] = question[usize::try_from(offset).expect("positive") / 4].into(),
                MOVE => registers[to] = registers[from],
                SET => registers[to] = value,
                AND => registers[to] &= value,
                SHIFT_RIGHT => registers[to] >>= value,
                JUMP_UNLESS_EQUAL if registers[to] == value => {}
                JUMP_UNLESS_EQUAL => at += usize::try_from(offset).expect("forward"),
                EXIT => return registers[0],
                code => panic!("code {code:#x}"),
            }
        }
        panic!("it does not end");
    }

    fn numbers() -> impl Strategy<Value = Numbers> {
        let number = || prop_oneof![Just(None), (0..3_u32).prop_map(Some)];
        (prop_oneof![Just(Kind::Char), Just(Kind::Block)], number(), number())
            .prop_map(|(kind, major, minor)| Numbers { kind, major, minor })
    }

    #[test]
    fn an_instruction_has_the_kernels_form() {
        assert_eq!(size_of::<Instruction>(), 8);
        let load = from_register(LOAD_WORD, MAJOR, QUESTION, 4);
        assert_eq!((load.code, load.registers, load.offset, load.value), (0x61, 0x14, 4, 0));
    }

    #[test]
    fn without_a_rule_the_answer_is_no() {
        for access in 0..=7 {
            assert_eq!(run(&of(&List::new()), [access << 16 | 2, 1, 3]), 0);
        }
    }

    proptest! {
        #[test]
        fn the_answer_is_yes_if_one_rule_allows_all_that_is_asked(
            rules in prop::collection::vec((numbers(), 1..=7_u8), 0..5),
            is_block in any::<bool>(), major in 0..4_u32, minor in 0..4_u32, access in 0..=7_u8,
        ) {
            let list: List = rules.into_iter().map(|(numbers, bits)| (numbers, Access(bits))).collect();
            let kind = if is_block { Kind::Block } else { Kind::Char };
            let device = Numbers { kind, major: Some(major), minor: Some(minor) };
            let allowed = list.iter().any(|(of, to)| of.holds(device) && to.holds(Access(access)));
            let first = u32::from(access) << 16 | if is_block { 1 } else { 2 };
            prop_assert_eq!(run(&of(&list), [first, major, minor]), u64::from(allowed));
        }
    }
}
