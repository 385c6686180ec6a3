//! From a policy to a program: what becomes of each call number of each architecture.

use std::cmp::Ordering;

use berth_arch::cpu::{ABIS, Abi, host_abi, native_abis};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};

use super::bpf::{self, Condition, Instruction, Label, Operator, Program};
use super::policy::ARCHES;
use crate::{Error, Result};

// SECCOMP_RET_* (linux/seccomp.h); the low half is data.
const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const NOTIFY: u32 = 0x7fc0_0000;
pub(super) const ALLOW: u32 = 0x7fff_0000;

pub(super) const NO_SUCH_CALL: u32 = ERRNO | libc::ENOSYS as u32;
/// Calls of an architecture that the policy does not list, as libseccomp treats them.
pub(super) const WRONG_ARCHITECTURE: u32 = KILL_PROCESS;

/// Bit 30 tells x32's calls from x86_64's (asm/unistd.h).
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// Arguments of which the kernel reads the low word only. Compared whole, a caller could smuggle a forbidden
/// value past the filter by setting bits above.
const NARROW: &[(&str, usize)] =
    &[("socket", 0), ("socket", 1), ("socket", 2), ("socketpair", 0), ("socketpair", 1), ("personality", 0)];

/// What becomes of one call: the first rule whose conditions all hold, else `otherwise`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) rules: Vec<(Vec<Condition>, u32)>,
    pub(super) otherwise: u32,
}

/// A policy as one architecture sees it.
pub(super) struct View {
    pub(super) abi: &'static Abi,
    /// Sorted by number; all that the table has.
    pub(super) decisions: Vec<(u32, Decision)>,
    /// For numbers that are not in the table.
    pub(super) unknown: u32,
}

pub(super) fn compile(policy: &LinuxSeccomp) -> Result<Vec<Instruction>> {
    let views = views(policy)?;
    let program = emit(&views);
    if program.len() > bpf::MAXIMUM {
        return Err(Error::InvalidArgument(format!(
            "seccomp policy: it needs {} instructions of a filter, the kernel takes {}",
            program.len(),
            bpf::MAXIMUM
        )));
    }
    Ok(program)
}

/// One for each architecture of the policy that berth knows, and always the host's, and berth's own, which calls the kernel
/// until the program has started.
pub(super) fn views(policy: &LinuxSeccomp) -> Result<Vec<View>> {
    let mut abis: Vec<&'static Abi> = vec![];
    for arch in policy.architectures().iter().flatten() {
        let name = ARCHES.iter().find(|(known, ..)| known == arch).map(|(_, name, _)| *name);
        abis.extend(ABIS.iter().copied().find(|abi| name == Some(abi.name)));
    }
    for always in [native_abis()[0], host_abi()] {
        if !abis.iter().any(|abi| abi.name == always.name) {
            abis.insert(0, always);
        }
    }
    abis.into_iter().map(|abi| view(abi, policy)).collect()
}

pub(super) fn view(abi: &'static Abi, policy: &LinuxSeccomp) -> Result<View> {
    let default = action(policy.default_action(), policy.default_errno_ret())?;
    let mut numbers: Vec<u32> = abi.syscalls.iter().map(|(_, number)| number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let decision = Decision { rules: Vec::new(), otherwise: default };
    let mut decisions: Vec<(u32, Decision)> = numbers.iter().map(|&number| (number, decision.clone())).collect();
    // An unconditional rule beats conditional ones wherever it stands, as in libseccomp; the first one counts.
    let mut decided = vec![false; decisions.len()];
    let mut newest = None;
    let mut lookup = Lookup { abi, at: 0 };
    for rule in policy.syscalls().iter().flatten() {
        let value = action(rule.action(), rule.errno_ret().or(policy.default_errno_ret()))?;
        for name in rule.names() {
            let Some(number) = lookup.number(name) else { continue };
            newest = newest.max((!is_private(abi, number)).then_some(number));
            let Ok(at) = numbers.binary_search(&number) else { continue };
            if value == default || decided[at] {
                continue;
            }
            let decision = &mut decisions[at].1;
            match conditions(abi, name, rule.args().as_deref().unwrap_or_default())? {
                Alternatives::Always => {
                    *decision = Decision { rules: Vec::new(), otherwise: value };
                    decided[at] = true;
                }
                Alternatives::If(list) => decision.rules.extend(list.into_iter().map(|all| (all, value))),
            }
        }
    }
    // Programs try new calls and go back to old ones on ENOSYS only, so a call that the policy's author cannot
    // have known is absent, not forbidden. A policy that allows by default needs no such care.
    let denies = !matches!(default & 0xffff_0000, ALLOW | LOG | TRACE);
    if denies && let Some(newest) = newest {
        for (number, decision) in &mut decisions {
            if *number > newest && !is_private(abi, *number) {
                decision.otherwise = NO_SUCH_CALL;
            }
        }
    }
    Ok(View { abi, decisions, unknown: if denies { NO_SUCH_CALL } else { default } })
}

/// ARM's private calls have numbers above all others (asm/unistd.h, __ARM_NR_BASE).
fn is_private(abi: &Abi, number: u32) -> bool {
    abi.name == "arm" && number >= 0xf_0000
}

/// Finds calls by name; quickly if the names come in order, as they do in the default policy.
struct Lookup {
    abi: &'static Abi,
    at: usize,
}

impl Lookup {
    fn number(&mut self, name: &str) -> Option<u32> {
        let table = &self.abi.syscalls;
        for (step, (known, number)) in (self.at..table.len()).map(|at| table.at(at)).take(8).enumerate() {
            match known.cmp(name) {
                Ordering::Less => {}
                Ordering::Equal => {
                    self.at += step;
                    return Some(number);
                }
                // Before this one only if the names are in order.
                Ordering::Greater if step > 0 => return None,
                Ordering::Greater => break,
            }
        }
        let found = table.search(name);
        self.at = found.unwrap_or_else(|at| at).min(table.len() - 1);
        found.ok().map(|at| table.at(at).1)
    }
}

enum Alternatives {
    Always,
    If(Vec<Vec<Condition>>),
}

fn conditions(abi: &Abi, name: &str, args: &[LinuxSeccompArg]) -> Result<Alternatives> {
    let all = args.iter().map(|arg| condition(abi, name, arg)).collect::<Result<Vec<_>>>()?;
    if all.is_empty() {
        return Ok(Alternatives::Always);
    }
    // Several comparisons of one argument are alternatives, as in runc (libcontainer/seccomp).
    let doubled = all.iter().enumerate().any(|(at, one)| all[..at].iter().any(|other| other.index == one.index));
    Ok(Alternatives::If(if doubled { all.into_iter().map(|one| vec![one]).collect() } else { vec![all] }))
}

fn condition(abi: &Abi, name: &str, arg: &LinuxSeccompArg) -> Result<Condition> {
    let index = arg.index();
    if index > 5 {
        return Err(Error::InvalidArgument(format!("seccomp rule of {name}: argument {index}; calls have 0 to 5")));
    }
    let narrow = matches!(abi.name, "i386" | "arm") || NARROW.contains(&(name, index));
    let (operator, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (Operator::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (Operator::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (Operator::LessEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (Operator::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (Operator::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (Operator::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => (Operator::Masked(arg.value()), arg.value_two().unwrap_or_default()),
    };
    Ok(Condition { index: index as u32, operator, value, narrow })
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    let data = |default: i32| match errno.unwrap_or(default as u32) {
        errno @ 0..=4095 => Ok(errno),
        errno => Err(Error::InvalidArgument(format!("seccomp errno {errno}: use 0 to 4095"))),
    };
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => TRAP,
        LinuxSeccompAction::ScmpActErrno => ERRNO | data(libc::EPERM)?,
        LinuxSeccompAction::ScmpActTrace => TRACE | data(libc::EPERM)?,
        LinuxSeccompAction::ScmpActLog => LOG,
        LinuxSeccompAction::ScmpActAllow => ALLOW,
        LinuxSeccompAction::ScmpActNotify => NOTIFY,
    })
}

fn emit(views: &[View]) -> Vec<Instruction> {
    let mut program = Program::default();
    let mut next = program.ret(WRONG_ARCHITECTURE);
    // What is tested first is made last, and the first of the list is usually the native one.
    for (at, view) in views.iter().enumerate().rev() {
        let arch = view.abi.audit_arch;
        if views[..at].iter().any(|earlier| earlier.abi.audit_arch == arch) {
            continue;
        }
        let mut block = |name: &str, absent| match views.iter().find(|view| view.abi.name == name) {
            Some(view) => numbers(&mut program, view),
            None => program.ret(absent),
        };
        let block = if matches!(view.abi.name, "x86_64" | "x32") {
            let (x32, x86_64) = (block("x32", NO_SUCH_CALL), block("x86_64", WRONG_ARCHITECTURE));
            program.if_at_least(X32_BIT, x32, x86_64)
        } else {
            block(view.abi.name, WRONG_ARCHITECTURE)
        };
        let block = program.load(bpf::NUMBER, block);
        next = program.if_equal(arch, block, next);
    }
    program.load(bpf::ARCHITECTURE, next);
    program.finish()
}

/// The outcome from a number on, up to the next range's.
type Range<'a> = (u32, &'a Decision);

/// Neighbours with one outcome are one range.
fn numbers(program: &mut Program, view: &View) -> Label {
    let unknown = Decision { rules: Vec::new(), otherwise: view.unknown };
    let mut ranges: Vec<Range<'_>> = Vec::with_capacity(view.decisions.len());
    let mut next = 0u32;
    for (number, decision) in &view.decisions {
        if *number != next {
            push(&mut ranges, next, &unknown);
        }
        push(&mut ranges, *number, decision);
        next = number.saturating_add(1);
    }
    push(&mut ranges, next, &unknown);
    search(program, view.abi, &ranges)
}

fn push<'a>(ranges: &mut Vec<Range<'a>>, start: u32, decision: &'a Decision) {
    if ranges.last().is_none_or(|(_, last)| *last != decision) {
        ranges.push((start, decision));
    }
}

/// A binary search; the first range also takes what lies below it.
fn search(program: &mut Program, abi: &Abi, ranges: &[Range<'_>]) -> Label {
    if let [(_, decision)] = ranges {
        return outcome(program, abi, decision);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let then = search(program, abi, upper);
    let otherwise = search(program, abi, lower);
    program.if_at_least(upper[0].0, then, otherwise)
}

fn outcome(program: &mut Program, abi: &Abi, decision: &Decision) -> Label {
    let mut next = program.ret(decision.otherwise);
    for (conditions, action) in decision.rules.iter().rev() {
        next = program.rule(abi, conditions, *action, next);
    }
    next
}
