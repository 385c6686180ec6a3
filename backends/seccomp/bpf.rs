//! A small emitter of classic BPF (the kernel's networking/filter.rst), for what seccomp filters need.
//!
//! Programs are made from their end to their start; a jump that does not fit into eight bits goes by a longer one.

use berth_arch::cpu::Abi;

pub(super) use libc::sock_filter as Instruction;

const LOAD: u16 = 0x20; // LD | W | ABS
const AND: u16 = 0x54; // ALU | AND | K
const JUMP: u16 = 0x05; // JMP | JA
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06; // RET | K

/// BPF_MAXINSNS (linux/bpf_common.h).
pub(super) const MAXIMUM: usize = 4096;

// Offsets in struct seccomp_data (linux/seccomp.h).
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn load(offset: u32) -> Instruction {
    instruction(LOAD, offset, 0, 0)
}

/// An instruction that is already there; what jumps to it is made later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program in the making, the last instruction first: jumps only go forward, so each knows its target.
#[derive(Default)]
pub(super) struct Program {
    reversed: Vec<Instruction>,
    /// The latest return of each value.
    returns: Vec<(u32, Label)>,
}

impl Program {
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        self.reversed.reverse();
        self.reversed
    }

    fn push(&mut self, instruction: Instruction) -> Label {
        self.reversed.push(instruction);
        Label(self.reversed.len() - 1)
    }

    /// How many instructions lie between the next one to be made, after `more` others, and `target`.
    fn distance(&self, target: Label, more: usize) -> usize {
        self.reversed.len() + more - target.0 - 1
    }

    /// Makes a return, unless one with this value is near.
    pub(super) fn ret(&mut self, value: u32) -> Label {
        let known = self.returns.iter().position(|(other, _)| *other == value);
        if let Some(at) = known
            && self.distance(self.returns[at].1, 0) < 200
        {
            return self.returns[at].1;
        }
        let label = self.push(instruction(RETURN, value, 0, 0));
        match known {
            Some(at) => self.returns[at].1 = label,
            None => self.returns.push((value, label)),
        }
        label
    }

    fn jump(&mut self, target: Label) -> Label {
        let distance = self.distance(target, 0);
        self.push(instruction(JUMP, distance as u32, 0, 0))
    }

    /// Loads the word at `offset`, then goes on at `next`.
    pub(super) fn load(&mut self, offset: u32, next: Label) -> Label {
        self.plain(load(offset), next)
    }

    fn plain(&mut self, instruction: Instruction, next: Label) -> Label {
        if self.distance(next, 0) != 0 {
            self.jump(next);
        }
        self.push(instruction)
    }

    fn branch(&mut self, code: u16, k: u32, mut then: Label, mut otherwise: Label) -> Label {
        const FAR: usize = u8::MAX as usize;
        if self.distance(then, 1) > FAR {
            then = self.jump(then);
        }
        if self.distance(otherwise, 0) > FAR {
            otherwise = self.jump(otherwise);
        }
        let (jt, jf) = (self.distance(then, 0) as u8, self.distance(otherwise, 0) as u8);
        self.push(instruction(code, k, jt, jf))
    }

    pub(super) fn if_at_least(&mut self, k: u32, then: Label, otherwise: Label) -> Label {
        self.branch(JUMP_GREATER_EQUAL, k, then, otherwise)
    }

    pub(super) fn if_equal(&mut self, k: u32, then: Label, otherwise: Label) -> Label {
        self.branch(JUMP_EQUAL, k, then, otherwise)
    }

    /// All `conditions` hold: return `action`. Otherwise go on at `next`.
    pub(super) fn rule(&mut self, abi: &Abi, conditions: &[Condition], action: u32, next: Label) -> Label {
        let mut label = self.ret(action);
        for condition in conditions.iter().rev() {
            let pass = label;
            for step in steps(abi, condition).into_iter().rev() {
                let target = |to| match to {
                    To::Next => label,
                    To::Pass => pass,
                    To::Fail => next,
                };
                label = match step {
                    Step::Plain(instruction) => self.plain(instruction, label),
                    Step::Test(code, k, then, otherwise) => self.branch(code, k, target(then), target(otherwise)),
                };
            }
        }
        label
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    NotEqual,
    Less,
    LessEqual,
    Equal,
    GreaterEqual,
    Greater,
    /// The argument under this mask.
    Masked(u64),
}

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) index: u32,
    pub(super) operator: Operator,
    pub(super) value: u64,
    /// Only the low word counts: for 32-bit programs, and for arguments of which the kernel reads no more.
    pub(super) narrow: bool,
}

#[derive(Clone, Copy)]
enum To {
    Next,
    Pass,
    Fail,
}

enum Step {
    Plain(Instruction),
    Test(u16, u32, To, To),
}

/// A 64-bit comparison with 32-bit words: the high ones decide unless they are equal.
fn steps(abi: &Abi, condition: &Condition) -> Vec<Step> {
    use Operator::*;
    use To::*;
    let (high, low) = ((condition.value >> 32) as u32, condition.value as u32);
    let big_endian = abi.audit_arch & 0x4000_0000 == 0; // __AUDIT_ARCH_LE
    let word = |is_high: bool| load(ARGUMENTS + condition.index * 8 + if is_high == big_endian { 0 } else { 4 });
    let mut steps = Vec::with_capacity(6);
    if !condition.narrow {
        let (high_mask, trivial) = match condition.operator {
            Masked(mask) => (Some((mask >> 32) as u32), mask >> 32 == 0 && high == 0),
            _ => (None, false),
        };
        if !trivial {
            steps.push(Step::Plain(word(true)));
            steps.extend(high_mask.map(|mask| Step::Plain(instruction(AND, mask, 0, 0))));
            match condition.operator {
                Equal | Masked(_) => steps.push(Step::Test(JUMP_EQUAL, high, Next, Fail)),
                NotEqual => steps.push(Step::Test(JUMP_EQUAL, high, Next, Pass)),
                Greater | GreaterEqual => {
                    steps.push(Step::Test(JUMP_GREATER, high, Pass, Next));
                    steps.push(Step::Test(JUMP_EQUAL, high, Next, Fail));
                }
                Less | LessEqual => {
                    steps.push(Step::Test(JUMP_GREATER, high, Fail, Next));
                    steps.push(Step::Test(JUMP_EQUAL, high, Next, Pass));
                }
            }
        }
    }
    steps.push(Step::Plain(word(false)));
    if let Masked(mask) = condition.operator {
        steps.push(Step::Plain(instruction(AND, mask as u32, 0, 0)));
    }
    steps.push(match condition.operator {
        Equal | Masked(_) => Step::Test(JUMP_EQUAL, low, Pass, Fail),
        NotEqual => Step::Test(JUMP_EQUAL, low, Fail, Pass),
        Greater => Step::Test(JUMP_GREATER, low, Pass, Fail),
        GreaterEqual => Step::Test(JUMP_GREATER_EQUAL, low, Pass, Fail),
        Less => Step::Test(JUMP_GREATER_EQUAL, low, Fail, Pass),
        LessEqual => Step::Test(JUMP_GREATER, low, Fail, Pass),
    });
    steps
}
