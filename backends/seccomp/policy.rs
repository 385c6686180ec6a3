//! Docker's default policy: everything denied with EPERM but what is listed here.
//!
//! After github.com/moby/profiles (seccomp/default_linux.go, as of Docker 29).

use std::collections::HashSet;

use berth_arch::cpu::{Abi, native_abis};
use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

const ALWAYS: &[&str] = include!("always_allowed.in");

/// Tracing was a way around seccomp before this kernel (seccomp(2), "Caveats").
const TRACING_SINCE: (u32, u32) = (4, 8);
const TRACING: &[&str] = &["process_vm_readv", "process_vm_writev", "ptrace"];

/// OCI's architecture (GOARCH) and what it allows beyond.
const BY_ARCHITECTURE: &[(&[&str], &[&str])] = &[
    (
        &["arm", "arm64"],
        &["arm_fadvise64_64", "arm_sync_file_range", "breakpoint", "cacheflush", "set_tls", "sync_file_range2"],
    ),
    (&["amd64", "386"], &["arch_prctl", "modify_ldt"]),
    (&["riscv64"], &["riscv_flush_icache"]),
];

const BY_CAPABILITY: &[(Capability, &[&str])] = &[
    (Capability::DacReadSearch, &["open_by_handle_at"]),
    (
        Capability::SysAdmin,
        &[
            "bpf",
            "clone",
            "clone3",
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "lsm_get_self_attr",
            "lsm_list_modules",
            "lsm_set_self_attr",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "perf_event_open",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "syslog",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    (Capability::SysBoot, &["reboot"]),
    (Capability::SysChroot, &["chroot"]),
    (Capability::SysModule, &["delete_module", "finit_module", "init_module"]),
    (Capability::SysPacct, &["acct"]),
    (
        Capability::SysPtrace,
        &["kcmp", "pidfd_getfd", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace"],
    ),
    (Capability::SysRawio, &["ioperm", "iopl"]),
    (Capability::SysTime, &["clock_settime", "clock_settime64", "settimeofday", "stime"]),
    (Capability::SysTtyConfig, &["vhangup"]),
    (Capability::SysNice, &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
    (Capability::Syslog, &["syslog"]),
    (Capability::Bpf, &["bpf"]),
    (Capability::Perfmon, &["perf_event_open"]),
];

/// All CLONE_NEW* flags but CLONE_NEWTIME, which shares a bit with the exit signal (linux/sched.h).
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// AF_ALG (38) and AF_VSOCK (40) are kept away: the one is attack surface, the other reaches the host's
/// hypervisor whatever the network namespace.
const SOCKET_FAMILIES: &[(LinuxSeccompOperator, u64)] = &[
    (LinuxSeccompOperator::ScmpCmpLt, 38),
    (LinuxSeccompOperator::ScmpCmpEq, 39),
    (LinuxSeccompOperator::ScmpCmpGt, 40),
];

/// PER_LINUX, PER_LINUX32, both with UNAME26, and the query (personality(2)).
const PERSONALITIES: &[u64] = &[0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Docker's default policy for a container with `capabilities` (the bounding set).
pub fn docker_default(capabilities: &HashSet<Capability>) -> LinuxSeccomp {
    let mut names: Vec<&str> = ALWAYS.to_vec();
    if kernel() >= TRACING_SINCE {
        names.extend(TRACING);
    }
    let architecture = berth_arch::cpu::OCI_ARCHITECTURE;
    for (architectures, more) in BY_ARCHITECTURE {
        if architectures.contains(&architecture) {
            names.extend(*more);
        }
    }
    for (capability, more) in BY_CAPABILITY {
        if capabilities.contains(capability) {
            names.extend(*more);
        }
    }
    let mut syscalls = vec![rule(&names, LinuxSeccompAction::ScmpActAllow, None, None)];
    let mut allow_if = |name, operator, value, second| {
        let argument = argument(0, operator, value, second);
        syscalls.push(rule(&[name], LinuxSeccompAction::ScmpActAllow, None, Some(argument)));
    };
    for &(operator, family) in SOCKET_FAMILIES {
        allow_if("socket", operator, family, None);
    }
    for &personality in PERSONALITIES {
        allow_if("personality", LinuxSeccompOperator::ScmpCmpEq, personality, None);
    }
    if !capabilities.contains(&Capability::SysAdmin) {
        allow_if("clone", LinuxSeccompOperator::ScmpCmpMaskedEq, CLONE_NAMESPACES, Some(0));
        // Its flags are out of a filter's sight; with ENOSYS, C libraries fall back to clone.
        syscalls.push(rule(&["clone3"], LinuxSeccompAction::ScmpActErrno, Some(libc::ENOSYS as u32), None));
    }
    built(
        LinuxSeccompBuilder::default()
            .default_action(LinuxSeccompAction::ScmpActErrno)
            .default_errno_ret(libc::EPERM as u32)
            .architectures(native_abis().iter().filter_map(|abi| oci_arch(abi)).collect::<Vec<_>>())
            .syscalls(syscalls)
            .build(),
    )
}

pub(super) fn rule(
    names: &[&str],
    action: LinuxSeccompAction,
    errno: Option<u32>,
    argument: Option<LinuxSeccompArg>,
) -> LinuxSyscall {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut builder = LinuxSyscallBuilder::default().names(names).action(action);
    if let Some(errno) = errno {
        builder = builder.errno_ret(errno);
    }
    if let Some(argument) = argument {
        builder = builder.args(vec![argument]);
    }
    built(builder.build())
}

pub(super) fn argument(
    index: usize,
    operator: LinuxSeccompOperator,
    value: u64,
    second: Option<u64>,
) -> LinuxSeccompArg {
    let builder = LinuxSeccompArgBuilder::default().index(index).op(operator).value(value);
    built(match second {
        Some(second) => builder.value_two(second).build(),
        None => builder.build(),
    })
}

/// The builders fail only where a mandatory field was not given.
pub(super) fn built<T>(result: oci_spec::Result<T>) -> T {
    result.unwrap_or_else(|error| unreachable!("{error}"))
}

pub(super) fn oci_arch(abi: &Abi) -> Option<Arch> {
    ARCHES.iter().find(|(_, name, _)| *name == abi.name).map(|(arch, ..)| *arch)
}

/// OCI's architecture, our ABI's name, and Docker's name for it in profiles.
pub(super) const ARCHES: &[(Arch, &str, &str)] = &[
    (Arch::ScmpArchX86_64, "x86_64", "amd64"),
    (Arch::ScmpArchX86, "i386", "x86"),
    (Arch::ScmpArchX32, "x32", "x32"),
    (Arch::ScmpArchAarch64, "aarch64", "arm64"),
    (Arch::ScmpArchArm, "arm", "arm"),
    (Arch::ScmpArchRiscv64, "riscv64", "riscv64"),
];

/// The kernel's major and minor version.
pub(super) fn kernel() -> (u32, u32) {
    let name = rustix::system::uname();
    parse_version(&name.release().to_string_lossy()).unwrap_or((0, 0))
}

pub(super) fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
