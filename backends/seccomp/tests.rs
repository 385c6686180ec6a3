//! The emitted programs, run by an interpreter, against a plain reading of the policy; and the real kernel.
#![allow(unsafe_code)]

use std::collections::HashSet;

use berth_arch::cpu::{ABIS, Abi, RISCV64, host_abi, native_abis};
use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompBuilder, LinuxSeccompOperator,
    LinuxSyscall,
};

use super::compile::{ALLOW, NO_SUCH_CALL, WRONG_ARCHITECTURE, X32_BIT};
use super::policy::{ARCHES, argument, rule};
use super::*;

const EPERM: u32 = 0x0005_0000 | libc::EPERM as u32;

/// What the kernel hands to a filter (struct seccomp_data).
#[derive(Debug, Clone, Copy)]
struct Call {
    number: u32,
    arch: u32,
    args: [u64; 6],
}

/// Runs `program`; also how many instructions it took. Panics where the kernel's checker would refuse.
fn run(program: &[bpf::Instruction], call: &Call) -> (u32, usize) {
    let word = |offset: u32| match offset {
        0 => call.number,
        4 => call.arch,
        offset => {
            let arg = call.args[(offset as usize - 16) / 8];
            if offset % 8 == 0 { arg as u32 } else { (arg >> 32) as u32 }
        }
    };
    let (mut at, mut a) = (0usize, 0u32);
    for count in 1.. {
        let bpf::Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            0x20 => a = word(k),
            0x54 => a &= k,
            0x05 => at += k as usize,
            0x15 => jump(a == k),
            0x25 => jump(a > k),
            0x35 => jump(a >= k),
            0x06 => return (k, count),
            other => panic!("instruction {other:#x}"),
        }
    }
    unreachable!()
}

fn value_of(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    match action {
        LinuxSeccompAction::ScmpActAllow => 0x7fff_0000,
        LinuxSeccompAction::ScmpActErrno => 0x0005_0000 | errno.unwrap_or(1),
        LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
        LinuxSeccompAction::ScmpActTrap => 0x0003_0000,
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        other => panic!("{other:?}"),
    }
}

fn holds(abi: &Abi, name: &str, arg: &LinuxSeccompArg, args: &[u64; 6]) -> bool {
    let low = matches!(abi.name, "i386" | "arm")
        || (name == "socket" && arg.index() < 3)
        || (name == "personality" && arg.index() == 0)
        || (name == "socketpair" && arg.index() < 2);
    let cut = |value: u64| if low { value & 0xffff_ffff } else { value };
    let (actual, value) = (cut(args[arg.index()]), cut(arg.value()));
    match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => actual != value,
        LinuxSeccompOperator::ScmpCmpLt => actual < value,
        LinuxSeccompOperator::ScmpCmpLe => actual <= value,
        LinuxSeccompOperator::ScmpCmpEq => actual == value,
        LinuxSeccompOperator::ScmpCmpGe => actual >= value,
        LinuxSeccompOperator::ScmpCmpGt => actual > value,
        LinuxSeccompOperator::ScmpCmpMaskedEq => actual & value == cut(arg.value_two().unwrap_or(0)),
    }
}

/// The policy as a reader understands it.
fn expected(policy: &LinuxSeccomp, call: &Call) -> u32 {
    let listed = |abi: &Abi| {
        let arch = ARCHES.iter().find(|(_, name, _)| *name == abi.name).unwrap().0;
        policy.architectures().as_ref().unwrap().contains(&arch)
    };
    let is_x32 = |abi: &Abi| (abi.name == "x32") == (call.arch == 0xc000_003e && call.number >= X32_BIT);
    let same_arch: Vec<_> = ABIS.iter().filter(|abi| abi.audit_arch == call.arch && listed(abi)).collect();
    let Some(abi) = same_arch.iter().find(|abi| is_x32(abi)) else {
        let x32 = !same_arch.is_empty() && call.number >= X32_BIT;
        return if x32 { NO_SUCH_CALL } else { WRONG_ARCHITECTURE };
    };
    let default = value_of(policy.default_action(), policy.default_errno_ret());
    let denies = default < 0x7ff0_0000 || default == 0x8000_0000;
    let Some(name) = abi.name_of(call.number) else { return if denies { NO_SUCH_CALL } else { default } };
    let rules: Vec<&LinuxSyscall> = policy.syscalls().as_ref().unwrap().iter().collect();
    let named = |rule: &&&LinuxSyscall| {
        rule.names().iter().any(|other| abi.number(other) == Some(call.number))
            && value_of(rule.action(), rule.errno_ret().or(policy.default_errno_ret())) != default
    };
    let mine: Vec<_> = rules.iter().filter(named).collect();
    let value = |rule: &LinuxSyscall| value_of(rule.action(), rule.errno_ret().or(policy.default_errno_ret()));
    if let Some(rule) = mine.iter().find(|rule| rule.args().as_ref().is_none_or(|args| args.is_empty())) {
        return value(rule);
    }
    for rule in mine {
        let args = rule.args().as_ref().unwrap();
        let indices: HashSet<usize> = args.iter().map(|arg| arg.index()).collect();
        let holding = args.iter().filter(|arg| holds(abi, name, arg, &call.args)).count();
        if if indices.len() < args.len() { holding > 0 } else { holding == args.len() } {
            return value(rule);
        }
    }
    let newest = rules
        .iter()
        .flat_map(|rule| rule.names())
        .filter_map(|name| abi.number(name))
        .filter(|&number| abi.name != "arm" || number < 0xf_0000)
        .max();
    let private = abi.name == "arm" && call.number >= 0xf_0000;
    if denies && !private && newest.is_some_and(|newest| call.number > newest) { NO_SUCH_CALL } else { default }
}

/// Numbers without a pattern (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Values at which comparisons turn.
    fn value(&mut self, near: &[u64]) -> u64 {
        let base = if near.is_empty() { 0 } else { near[self.below(near.len())] };
        match self.below(8) {
            0 => self.next(),
            1 => base.wrapping_add(1),
            2 => base.wrapping_sub(1),
            3 => base ^ (1 << 32),
            4 => base ^ (1 << self.below(64)),
            5 => self.next() & 0xff,
            _ => base,
        }
    }
}

fn check(policy: &LinuxSeccomp, random: &mut Random) -> usize {
    let views = policy.architectures().iter().flatten().filter_map(|arch| {
        let name = ARCHES.iter().find(|(known, ..)| known == arch)?.1;
        ABIS.iter().find(|abi| abi.name == name).copied()
    });
    let abis: Vec<&Abi> = views.collect();
    let filter = Filter::compile(policy).unwrap();
    assert!(filter.program.len() <= bpf::MAXIMUM);
    let near: Vec<u64> = policy
        .syscalls()
        .iter()
        .flatten()
        .flat_map(|rule| rule.args().iter().flatten())
        .map(|arg| arg.value())
        .collect();
    let mut count = 0;
    for abi in ABIS {
        if !abis.iter().any(|other| other.audit_arch == abi.audit_arch) && abi.audit_arch == native_abis()[0].audit_arch
        {
            continue; // Always added by `compile`, and not in the policy.
        }
        let mut numbers: Vec<u32> = abi.syscalls.iter().map(|(_, number)| number).collect();
        numbers.extend(numbers.clone().iter().flat_map(|&number| [number.wrapping_sub(1), number + 1]));
        numbers.extend([0, 9999, 511, 512, X32_BIT - 1, X32_BIT, X32_BIT + 9999, u32::MAX, 0xf_0000, 0xf_0006]);
        numbers.sort_unstable();
        numbers.dedup();
        let compared: HashSet<u32> = policy
            .syscalls()
            .iter()
            .flatten()
            .filter(|rule| rule.args().is_some())
            .flat_map(|rule| rule.names())
            .filter_map(|name| abi.number(name))
            .collect();
        for number in numbers {
            for _ in 0..if compared.contains(&number) { 40 } else { 1 } {
                let args = std::array::from_fn(|_| random.value(&near));
                let call = Call { number, arch: abi.audit_arch, args };
                assert_eq!(run(&filter.program, &call).0, expected(policy, &call), "{} {call:x?}", abi.name);
                count += 1;
            }
        }
    }
    count
}

fn on_all_architectures(mut policy: LinuxSeccomp) -> LinuxSeccomp {
    policy.set_architectures(Some(ARCHES.iter().map(|(arch, ..)| *arch).collect()));
    policy
}

#[test]
fn the_default_policy_is_what_the_filter_does_on_every_architecture() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let all = [Capability::SysAdmin, Capability::SysPtrace, Capability::SysTime].into_iter().collect();
    let mut count = 0;
    for capabilities in [HashSet::new(), all] {
        count += check(&docker_default(&capabilities), &mut random);
        count += check(&on_all_architectures(docker_default(&capabilities)), &mut random);
    }
    assert!(count > 5_000, "{count}");
}

#[test]
fn random_policies_are_what_their_filters_do() {
    use LinuxSeccompOperator::*;
    let mut random = Random(88_172_645_463_325_252);
    let names: Vec<&str> = ABIS.iter().flat_map(|abi| abi.syscalls.iter()).map(|(name, _)| name).collect();
    let operators = [ScmpCmpNe, ScmpCmpLt, ScmpCmpLe, ScmpCmpEq, ScmpCmpGe, ScmpCmpGt, ScmpCmpMaskedEq];
    let actions = [
        LinuxSeccompAction::ScmpActAllow,
        LinuxSeccompAction::ScmpActErrno,
        LinuxSeccompAction::ScmpActTrap,
        LinuxSeccompAction::ScmpActKillProcess,
        LinuxSeccompAction::ScmpActLog,
    ];
    for round in 0..30 {
        let mut syscalls = Vec::new();
        for _ in 0..random.below(if round % 4 == 0 { 30 } else { 10 }) + 1 {
            let some: Vec<&str> = (0..random.below(5) + 1).map(|_| names[random.below(names.len())]).collect();
            let action = actions[random.below(actions.len())];
            let errno = (random.below(2) == 0).then(|| random.below(200) as u32);
            let mut rule = rule(&some, action, errno.filter(|_| action == LinuxSeccompAction::ScmpActErrno), None);
            let mut args = Vec::new();
            for _ in 0..random.below(4) {
                let operator = operators[random.below(operators.len())];
                let value = random.value(&[0, 38, 0x7e02_0000, u64::MAX, 1 << 32]);
                let masked = operator == ScmpCmpMaskedEq;
                let second = masked.then(|| if random.below(4) == 0 { random.next() } else { value & random.next() });
                args.push(argument(random.below(6), operator, value, second));
            }
            rule.set_args(Some(args));
            syscalls.push(rule);
        }
        let default = actions[random.below(actions.len())];
        let policy = LinuxSeccompBuilder::default().default_action(default).syscalls(syscalls).build().unwrap();
        check(&on_all_architectures(policy), &mut random);
    }
}

#[test]
fn unknown_calls_are_absent_and_known_ones_forbidden() {
    let filter = Filter::compile(&on_all_architectures(docker_default(&HashSet::new()))).unwrap();
    for abi in ABIS {
        let outcome = |number: u32, first: u64| {
            run(&filter.program, &Call { number, arch: abi.audit_arch, args: [first, 0, 0, 0, 0, 0] }).0
        };
        let named = |name: &str, first| outcome(abi.number(name).unwrap(), first);
        let base = if abi.name == "x32" { X32_BIT } else { 0 };
        for number in [base + 600, base + 9999, base + 0xff_ffff] {
            assert_eq!(outcome(number, 0), NO_SUCH_CALL, "{} {number}", abi.name);
        }
        assert_eq!(outcome(u32::MAX, 0), NO_SUCH_CALL);
        assert_eq!(named("read", 0), ALLOW);
        assert_eq!(named("mount", 0), EPERM);
        assert_eq!(named("clone3", 0), NO_SUCH_CALL);
        assert_eq!(named("clone", 17), ALLOW);
        assert_eq!(named("clone", 0x1000_0000), EPERM);
        for (family, value) in [(2, ALLOW), (38, EPERM), (39, ALLOW), (40, EPERM), (41, ALLOW)] {
            assert_eq!(named("socket", family), value, "{} family {family}", abi.name);
            assert_eq!(named("socket", family | 1 << 32), value, "{} family {family} with bits above", abi.name);
        }
    }
    let foreign = Call { number: 0, arch: 0x8000_0016, args: [0; 6] };
    assert_eq!(run(&filter.program, &foreign).0, WRONG_ARCHITECTURE);
}

#[test]
fn capabilities_open_their_calls() {
    let native = native_abis()[0];
    let outcome = |capabilities: &[Capability], name: &str| {
        let filter = Filter::compile(&docker_default(&capabilities.iter().copied().collect())).unwrap();
        let call = Call { number: native.number(name).unwrap(), arch: native.audit_arch, args: [0; 6] };
        run(&filter.program, &call).0
    };
    assert_eq!(outcome(&[], "mount"), EPERM);
    assert_eq!(outcome(&[Capability::SysAdmin], "mount"), ALLOW);
    assert_eq!(outcome(&[Capability::SysAdmin], "clone3"), ALLOW);
    assert_eq!(outcome(&[Capability::SysTime], "settimeofday"), ALLOW);
    assert_eq!(outcome(&[], "chroot"), EPERM);
    assert_eq!(outcome(&[Capability::SysChroot], "chroot"), ALLOW);
}

#[test]
fn common_calls_take_few_instructions() {
    let filter = Filter::compile(&docker_default(&HashSet::new())).unwrap();
    let native = native_abis()[0];
    // ARM has mmap2 alone.
    let mmap = if native.number("mmap").is_some() { "mmap" } else { "mmap2" };
    for name in ["read", "write", "close", "openat", mmap, "execve", "futex", "clock_gettime"] {
        let call = Call { number: native.number(name).unwrap(), arch: native.audit_arch, args: [0; 6] };
        let (value, count) = run(&filter.program, &call);
        assert_eq!(value, ALLOW);
        assert!(count <= 24, "{name} takes {count}");
    }
}

#[test]
fn docker_profiles_are_read_for_this_host() {
    let native = ARCHES.iter().find(|(_, name, _)| *name == host_abi().name).unwrap();
    let profile = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5,
            "archMap":[{{"architecture":{},"subArchitectures":null}}],
            "syscalls":[
              {{"names":["read"],"action":"SCMP_ACT_ALLOW","args":null,"comment":"","includes":{{}},"excludes":{{}}}},
              {{"name":"write","action":"SCMP_ACT_ALLOW","args":[{{"index":0,"value":1,"valueTwo":0,"op":"SCMP_CMP_EQ"}}]}},
              {{"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{{"caps":["CAP_SYS_ADMIN"]}}}},
              {{"names":["chroot"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"excludes":{{"caps":["CAP_SYS_CHROOT"]}}}},
              {{"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{{"minKernel":"99.1"}}}},
              {{"names":["acct"],"action":"SCMP_ACT_ALLOW","includes":{{"arches":["{}"]}}}},
              {{"names":["reboot"],"action":"SCMP_ACT_ALLOW","includes":{{"arches":["s390x"]}}}}
            ]}}"#,
        serde_json::to_string(&native.0).unwrap(),
        native.2,
    );
    let policy = parse_profile(&profile, &[Capability::SysChroot].into()).unwrap();
    let names: Vec<&str> =
        policy.syscalls().as_ref().unwrap().iter().flat_map(|rule| rule.names()).map(String::as_str).collect();
    assert_eq!(names, ["read", "write", "acct"]);
    assert_eq!(policy.architectures().as_deref(), Some([native.0].as_slice()));
    assert_eq!(policy.default_errno_ret(), Some(5));
    let policy = parse_profile(&profile, &[Capability::SysAdmin].into()).unwrap();
    assert_eq!(policy.syscalls().as_ref().unwrap().len(), 5);
}

#[test]
fn an_oci_policy_is_read_as_it_is() {
    let text = serde_json::to_string(&docker_default(&HashSet::new())).unwrap();
    assert_eq!(parse_profile(&text, &HashSet::new()).unwrap(), {
        let mut policy = docker_default(&HashSet::new());
        policy.set_flags(None);
        policy
    });
}

#[test]
fn mistakes_in_a_profile_are_named_by_their_keys() {
    let cases = [
        ("{", "JSON"),
        ("[]", "top level"),
        ("{}", "defaultAction"),
        (r#"{"defaultAction":"ALLOW"}"#, "defaultAction"),
        (r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"]}]}"#, "syscalls[0].action"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["a"],"action":"SCMP_ACT_LOG"}]}"#,
            "syscalls[0].name",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}"#,
            "syscalls[0].args[0].index",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG","includes":{"minKernel":"x"}}]}"#,
            "syscalls[0].includes.minKernel",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86"}]}"#,
            "archMap",
        ),
    ];
    for (text, key) in cases {
        let message = parse_profile(text, &HashSet::new()).unwrap_err().to_string();
        assert!(message.contains(&format!("seccomp profile: {key}: ")), "{text}: {message}");
    }
}

#[test]
fn notify_needs_an_agent_and_a_policy_beyond_the_kernels_limit_is_refused() {
    let policy = |action| LinuxSeccompBuilder::default().default_action(action).syscalls(vec![]).build().unwrap();
    let said = |policy: &LinuxSeccomp| Filter::compile(policy).unwrap_err().to_string();
    assert!(said(&policy(LinuxSeccompAction::ScmpActNotify)).contains("default"));
    let mut with_agent = policy(LinuxSeccompAction::ScmpActAllow);
    with_agent.set_syscalls(Some(vec![rule(&["mkdir"], LinuxSeccompAction::ScmpActNotify, None, None)]));
    assert!(said(&with_agent).contains("listenerPath"));
    with_agent.set_listener_path(Some("/agent".into()));
    Filter::compile(&with_agent).unwrap();
    with_agent.set_syscalls(Some(vec![rule(&["sendmsg"], LinuxSeccompAction::ScmpActNotify, None, None)]));
    assert!(said(&with_agent).contains("sendmsg"));
    let rules: Vec<LinuxSyscall> = (0..5000u64)
        .map(|value| {
            let argument = argument(0, LinuxSeccompOperator::ScmpCmpEq, value, None);
            rule(&["read"], LinuxSeccompAction::ScmpActTrap, None, Some(argument))
        })
        .collect();
    let mut long = policy(LinuxSeccompAction::ScmpActAllow);
    long.set_syscalls(Some(rules));
    assert!(matches!(Filter::compile(&long), Err(crate::Error::InvalidArgument(_))));
}

/// Runs `probe` in a child under the filter and returns what it returned.
fn in_child(install: impl Fn(&Filter) -> std::io::Result<()>, probe: fn() -> i32) -> i32 {
    let filter = Filter::compile(&docker_default(&HashSet::new())).unwrap();
    // SAFETY: the child makes system calls only, and leaves with `_exit`.
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            let ready = libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && install(&filter).is_ok();
            libc::_exit(if ready { probe() } else { 100 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        assert!(libc::WIFEXITED(status), "{status:#x}");
        libc::WEXITSTATUS(status)
    }
}

fn probe() -> i32 {
    // SAFETY: none of these calls reads or writes memory of ours; the ones with side effects are refused.
    unsafe {
        let fails_with = |result: libc::c_long, errno| result == -1 && *libc::__errno_location() == errno;
        let steps = [
            libc::syscall(libc::SYS_getppid) > 0,
            fails_with(libc::syscall(libc::SYS_mount, 0, 0, 0, 0, 0), libc::EPERM),
            fails_with(libc::syscall(libc::SYS_unshare, libc::CLONE_NEWNS), libc::EPERM),
            fails_with(libc::syscall(libc::SYS_clone3, 0, 0), libc::ENOSYS),
            fails_with(libc::syscall(9999), libc::ENOSYS),
            fails_with(libc::syscall(libc::SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0), libc::EPERM),
            libc::syscall(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0) >= 0,
            libc::syscall(libc::SYS_personality, 0xffff_ffffu32 as libc::c_ulong) >= 0,
        ];
        steps.iter().position(|fine| !fine).map_or(0, |at| at as i32 + 1)
    }
}

#[test]
fn the_kernel_takes_the_filter_by_both_calls() {
    if std::env::var_os("BERTH_TEST_EMULATED").is_some() {
        return println!("skipped: QEMU's user mode takes no filters");
    }
    assert_eq!(in_child(|filter| filter.install().map(drop), probe), 0);
    assert_eq!(in_child(|filter| install::by_prctl(&filter.program), probe), 0);
}

#[test]
fn an_unlisted_architecture_is_not_served() {
    let mut policy = docker_default(&HashSet::new());
    policy.set_architectures(Some(vec![Arch::ScmpArchRiscv64]));
    let filter = Filter::compile(&policy).unwrap();
    // Berth's own and the host's always are.
    let served = [native_abis()[0], host_abi(), &RISCV64].map(|abi| abi.audit_arch);
    let other = ABIS.iter().find(|abi| !served.contains(&abi.audit_arch)).unwrap();
    let call = Call { number: 0, arch: other.audit_arch, args: [0; 6] };
    assert_eq!(run(&filter.program, &call).0, WRONG_ARCHITECTURE);
}
