//! What a specification may ask for and a jail cannot give. Nothing of it is left out in silence.

use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};

use crate::{Error, Result};

/// The answer to an option that a jail cannot have: what, why, and what the user can do.
pub(super) fn cannot(option: &str, reason: &str, remedy: &str) -> Error {
    Error::Unavailable(format!("the jail backend does not do {option}: {reason}; {remedy}"))
}

pub(super) fn check(spec: &Spec, standalone: bool) -> Result<()> {
    let process = spec.process().as_ref();
    let process = process.ok_or_else(|| Error::InvalidArgument("specification: it has no process".into()))?;
    let hooks = spec.hooks().as_ref().is_some_and(|hooks| *hooks != Default::default());
    refuse(&[
        ("hooks", hooks, "it runs none", "leave them out of the specification"),
        ("containers that outlive their creator", standalone, "a jail ends with its monitor", "run it by the engine"),
    ])?;
    check_process(process)?;
    let Some(linux) = spec.linux() else { return Ok(()) };
    namespaces(linux)?;
    check_linux(linux)
}

/// Also of a program that is run in a container later.
pub(super) fn check_process(process: &Process) -> Result<()> {
    let some = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty() && text != "unconfined");
    const LABELS: &str = "FreeBSD has no such security module";
    refuse(&[
        ("AppArmor profiles", some(process.apparmor_profile()), LABELS, "leave --security-opt apparmor out"),
        ("SELinux labels", some(process.selinux_label()), LABELS, "leave --security-opt label out"),
        ("process.ioPriority", process.io_priority().is_some(), "FreeBSD has no such classes", "leave it out"),
        ("process.scheduler", process.scheduler().is_some(), "its classes are Linux's", "leave it out"),
        (
            "process.execCPUAffinity",
            process.exec_cpu_affinity().is_some(),
            "the jail's processors are set",
            "leave it out",
        ),
        (
            "--oom-score-adj",
            process.oom_score_adj().is_some_and(|score| score != 0),
            "FreeBSD protects processes from its killer or does not",
            "leave it out",
        ),
    ])
}

fn check_linux(linux: &Linux) -> Result<()> {
    const MAPPINGS: &str = "a jail has the host's users";
    let listed = |mappings: &Option<Vec<_>>| mappings.as_ref().is_some_and(|mappings| !mappings.is_empty());
    let sysctl = linux.sysctl().as_ref().and_then(|settings| settings.keys().min());
    if let Some(name) = sysctl {
        let option = format!("--sysctl {name}");
        return Err(cannot(&option, "it is a setting of Linux's", "leave it out"));
    }
    let propagation = linux.rootfs_propagation().as_deref().unwrap_or("private");
    refuse(&[
        (
            "seccomp profiles",
            linux.seccomp().is_some(),
            "FreeBSD has no filters for system calls",
            "run it with --security-opt seccomp=unconfined, or use another backend",
        ),
        ("--userns", listed(linux.uid_mappings()) || listed(linux.gid_mappings()), MAPPINGS, "use --user"),
        (
            "shared mounts",
            !matches!(propagation, "" | "private" | "rprivate" | "slave" | "rslave"),
            "FreeBSD's mounts are all in one place",
            "leave the propagation out",
        ),
        ("linux.intelRdt", linux.intel_rdt().is_some(), "it is Linux's interface", "leave it out"),
        (
            "linux.netDevices",
            linux.net_devices().as_ref().is_some_and(|some| !some.is_empty()),
            "interfaces are given by the annotation org.freebsd.jail.vnet.interface",
            "use that",
        ),
        ("linux.memoryPolicy", linux.memory_policy().is_some(), "it is Linux's interface", "leave it out"),
        ("linux.personality", linux.personality().is_some(), "it is Linux's interface", "leave it out"),
        (
            "linux.timeOffsets",
            linux.time_offsets().as_ref().is_some_and(|some| !some.is_empty()),
            "a jail has the host's clocks",
            "leave them out",
        ),
        (
            "linux.mountLabel",
            linux.mount_label().as_ref().is_some_and(|label| !label.is_empty()),
            "FreeBSD has no such security module",
            "leave it out",
        ),
    ])
}

/// Those that a jail is instead of.
fn namespaces(linux: &Linux) -> Result<()> {
    use LinuxNamespaceType as N;
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    for namespace in listed {
        if namespace.path().is_some() {
            let option = format!("joining the {} namespace of another container", word(namespace.typ()));
            return Err(cannot(&option, "a jail is one container's", "give each its own, or the host's"));
        }
        match namespace.typ() {
            N::User => return Err(cannot("--userns", "a jail has the host's users", "use --user")),
            N::Time => return Err(cannot("time namespaces", "a jail has the host's clocks", "leave them out")),
            N::Mount | N::Cgroup | N::Uts | N::Ipc | N::Pid | N::Network => {}
        }
    }
    if !listed.iter().any(|namespace| namespace.typ() == N::Pid) {
        return Err(cannot("--pid host", "a jail never sees the host's processes", "leave it out"));
    }
    Ok(())
}

fn word(kind: LinuxNamespaceType) -> &'static str {
    use LinuxNamespaceType as N;
    match kind {
        N::Mount => "mount",
        N::Cgroup => "cgroup",
        N::Uts => "uts",
        N::Ipc => "ipc",
        N::User => "user",
        N::Pid => "pid",
        N::Network => "network",
        N::Time => "time",
    }
}

/// The first of these that was asked for.
fn refuse(options: &[(&str, bool, &str, &str)]) -> Result<()> {
    match options.iter().find(|(_, asked, ..)| *asked) {
        Some((option, _, reason, remedy)) => Err(cannot(option, reason, remedy)),
        None => Ok(()),
    }
}

/// Whether a namespace of this kind is asked for. Without a section for Linux a specification says nothing of them.
pub(super) fn asks_for(spec: &Spec, kind: LinuxNamespaceType) -> Option<bool> {
    let linux = spec.linux().as_ref()?;
    Some(linux.namespaces().iter().flatten().any(|namespace| namespace.typ() == kind))
}
