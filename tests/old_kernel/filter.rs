//! From a profile to a filter in classic BPF (the kernel's userspace-api/seccomp_filter.rst).

use berth_arch::cpu::{Abi, native_abis};
use libc::sock_filter;

use crate::profiles::Profile;
use crate::since::{self, Test, Version};

// struct seccomp_data of linux/seccomp.h.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = 0x20; // LD | W | ABS
const JUMP: u16 = 0x05; // JMP | JA
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Above the calls of x32, which has the audit number of x86_64.
const X32_BIT: u32 = 0x4000_0000;

/// What is left to the supervisor. It knows the native ABI alone, and whose kernel is another one.
const NOTIFIED: &[&str] = &[
    "uname",
    "mount",
    "fsopen",
    "fsconfig",
    "setns",
    "seccomp",
    "clone3",
    "bpf",
    "open",
    "openat",
    "stat",
    "lstat",
    "newfstatat",
    "fstatat64",
    "stat64",
    "lstat64",
    "access",
    "faccessat",
    "readlink",
    "readlinkat",
    "statx",
    "sendto",
    "sendmsg",
];

/// A rule: the call with these arguments is answered so.
struct Rule {
    number: u32,
    conditions: Vec<(u32, Test)>,
    action: u32,
}

fn refuse(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

pub(crate) fn compile(profile: &Profile) -> Vec<sock_filter> {
    let blocks: Vec<_> = native_abis().iter().enumerate().map(|(at, abi)| block(profile, abi, at == 0)).collect();
    blocks.concat().into_iter().chain([instruction(RETURN, libc::SECCOMP_RET_ALLOW)]).collect()
}

/// What is done for the calls of one ABI; those of another jump over it.
fn block(profile: &Profile, abi: &Abi, native: bool) -> Vec<sock_filter> {
    let mut code = vec![instruction(LOAD, NUMBER)];
    for rule in rules(profile, abi, native) {
        let mut body = Vec::new();
        let loads = rule.conditions.len() * 2;
        for (index, (argument, test)) in rule.conditions.iter().enumerate() {
            let low = if cfg!(target_endian = "big") { 4 } else { 0 };
            body.push(instruction(LOAD, ARGUMENTS + argument * 8 + low));
            let past = (loads - index * 2 - 1) as u8;
            body.push(match test {
                Test::Is(value) => sock_filter { code: EQUAL, jt: 0, jf: past, k: *value },
                Test::HasOneOf(bits) => sock_filter { code: ANY_BIT, jt: 0, jf: past, k: *bits },
            });
        }
        body.push(instruction(RETURN, rule.action));
        if loads > 0 {
            body.push(instruction(LOAD, NUMBER));
        }
        code.push(sock_filter { code: EQUAL, jt: 0, jf: body.len() as u8, k: rule.number });
        code.append(&mut body);
    }
    // What the kernel that runs has and the tables do not know.
    let bit = if abi.name == "x32" { X32_BIT } else { 0 };
    let newest =
        abi.syscalls.iter().map(|(_, number)| number).filter(|number| number - bit < 0xf_0000).max().unwrap_or(0);
    code.push(sock_filter { code: AT_LEAST, jt: 0, jf: 3, k: newest + 1 });
    code.push(sock_filter { code: AT_LEAST, jt: 2, jf: 0, k: if bit == 0 { 0xf_0000 } else { u32::MAX } });
    code.push(instruction(RETURN, refuse(profile.missing)));
    code.push(instruction(JUMP, 0));
    code.push(instruction(RETURN, libc::SECCOMP_RET_ALLOW));
    guarded(abi, code)
}

/// `code` for the calls of `abi`. x32 and x86_64 have one audit number, and are told apart by a bit.
fn guarded(abi: &Abi, code: Vec<sock_filter>) -> Vec<sock_filter> {
    let mut guard = vec![instruction(LOAD, ARCHITECTURE)];
    let apart = abi.name == "x32" || abi.name == "x86_64";
    let skip = code.len() as u32 + if apart { 3 } else { 0 };
    guard.push(sock_filter { code: EQUAL, jt: 1, jf: 0, k: abi.audit_arch });
    guard.push(instruction(JUMP, skip));
    if apart {
        let x32 = abi.name == "x32";
        guard.push(instruction(LOAD, NUMBER));
        guard.push(sock_filter { code: AT_LEAST, jt: u8::from(x32), jf: u8::from(!x32), k: X32_BIT });
        guard.push(instruction(JUMP, code.len() as u32));
    }
    guard.extend(code);
    guard
}

fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// In the order in which they are tried.
fn rules(profile: &Profile, abi: &Abi, native: bool) -> Vec<Rule> {
    let plain = |number, action| Rule { number, conditions: Vec::new(), action };
    let mut rules = Vec::new();
    for (name, answer) in profile.odd {
        rules.extend(abi.number(name).map(|number| plain(number, refuse(*answer))));
    }
    for (name, since) in since::calls(abi.name) {
        if since > profile.calls {
            rules.extend(abi.number(name).map(|number| plain(number, refuse(profile.missing))));
        }
    }
    let Some(kernel) = profile.kernel else { return rules };
    for argument in since::arguments() {
        let number = abi.number(argument.call).filter(|_| argument.since > kernel.version);
        rules.extend(number.map(|number| Rule {
            number,
            conditions: argument.conditions,
            action: refuse(argument.answer),
        }));
    }
    if native {
        rules.extend(notified(abi, kernel.version));
    }
    rules
}

fn notified(abi: &Abi, version: Version) -> Vec<Rule> {
    let worth = |name: &&&str| match **name {
        // Messages to nf_tables.
        "sendto" | "sendmsg" => version < Version(4, 10),
        "clone3" => version < Version(5, 7),
        "setns" => version < Version(5, 8),
        _ => true,
    };
    let mut rules = Vec::new();
    for name in NOTIFIED.iter().filter(worth) {
        let Some(number) = abi.number(name) else { continue };
        // fstat(3) is newfstatat with an empty path.
        if ["newfstatat", "fstatat64"].contains(name) {
            let conditions = vec![(3, Test::HasOneOf(libc::AT_EMPTY_PATH as u32))];
            rules.push(Rule { number, conditions, action: libc::SECCOMP_RET_ALLOW });
        }
        rules.push(Rule { number, conditions: Vec::new(), action: libc::SECCOMP_RET_USER_NOTIF });
    }
    rules
}
