//! Capabilities: Docker's default set, and what `--cap-add` and `--cap-drop` make of it.

use std::collections::HashSet;

use berth_backends::Isolation;
use oci_spec::runtime::Capability;

use crate::{Error, Result};

use Capability as C;

const DEFAULT: [Capability; 14] = [
    C::Chown,
    C::DacOverride,
    C::Fsetid,
    C::Fowner,
    C::Mknod,
    C::NetRaw,
    C::Setgid,
    C::Setuid,
    C::Setfcap,
    C::Setpcap,
    C::NetBindService,
    C::SysChroot,
    C::Kill,
    C::AuditWrite,
];

/// In the kernel's order (linux/capability.h): a capability's place is its number.
const ALL: [Capability; 41] = [
    C::Chown,
    C::DacOverride,
    C::DacReadSearch,
    C::Fowner,
    C::Fsetid,
    C::Kill,
    C::Setgid,
    C::Setuid,
    C::Setpcap,
    C::LinuxImmutable,
    C::NetBindService,
    C::NetBroadcast,
    C::NetAdmin,
    C::NetRaw,
    C::IpcLock,
    C::IpcOwner,
    C::SysModule,
    C::SysRawio,
    C::SysChroot,
    C::SysPtrace,
    C::SysPacct,
    C::SysAdmin,
    C::SysBoot,
    C::SysNice,
    C::SysResource,
    C::SysTime,
    C::SysTtyConfig,
    C::Mknod,
    C::Lease,
    C::AuditWrite,
    C::AuditControl,
    C::Setfcap,
    C::MacOverride,
    C::MacAdmin,
    C::Syslog,
    C::WakeAlarm,
    C::BlockSuspend,
    C::AuditRead,
    C::Perfmon,
    C::Bpf,
    C::CheckpointRestore,
];

/// Every capability that this process can hand on: a privileged container has them all, and asking for one that
/// the host does not give would fail.
pub(crate) fn available() -> HashSet<Capability> {
    let bounding = berth_arch::kernel_file::read_to_string("/proc/self/status").ok().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    let bits = bounding.unwrap_or((1 << ALL.len()) - 1);
    ALL.iter().enumerate().filter(|(number, _)| bits & (1 << number) != 0).map(|(_, one)| *one).collect()
}

/// One name; `None` for `ALL`.
fn parse(text: &str) -> Result<Option<Capability>> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if name == "ALL" {
        return Ok(None);
    }
    ALL.iter()
        .find(|known| known.to_string().trim_start_matches("CAP_") == name)
        .map(|known| Some(*known))
        .ok_or_else(|| Error::invalid(format!("invalid capability: \"{text}\"")))
}

/// As Docker does it: privileged wins; `ALL` dropped keeps only what is added; `ALL` added leaves out what is dropped. What
/// would undo the isolation that there is is not among the default.
pub(crate) fn compute(
    add: &[String],
    drop: &[String],
    privileged: bool,
    isolation: &Isolation,
) -> Result<HashSet<Capability>> {
    let add = add.iter().map(|text| parse(text)).collect::<Result<HashSet<_>>>()?;
    let drop = drop.iter().map(|text| parse(text)).collect::<Result<HashSet<_>>>()?;
    if privileged {
        return Ok(available());
    }
    let named = add.iter().copied().flatten();
    if drop.contains(&None) {
        return Ok(if add.contains(&None) { available() } else { named.collect() });
    }
    let undone = |one: &Capability| isolation.undone_by().iter().any(|(undone, _)| undone == one);
    let usual = DEFAULT.into_iter().filter(|one| !undone(one));
    let base: HashSet<_> = if add.contains(&None) { available() } else { usual.chain(named).collect() };
    Ok(base.into_iter().filter(|one| !drop.contains(&Some(*one))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    fn namespaces() -> Isolation {
        Isolation { pid: true, mount: true, ..Isolation::default() }
    }

    #[test]
    fn what_leads_out_of_a_chroot_is_there_if_it_is_asked_for() {
        let chroot = Isolation::default();
        assert!(compute(&[], &[], false, &namespaces()).unwrap().contains(&C::SysChroot));
        assert!(!compute(&[], &[], false, &chroot).unwrap().contains(&C::SysChroot));
        assert!(compute(&texts(&["SYS_CHROOT"]), &[], false, &chroot).unwrap().contains(&C::SysChroot));
    }

    #[test]
    fn additions_and_drops_apply_to_the_default_set() {
        let set = compute(&texts(&["net_admin", "CAP_SYS_TIME"]), &texts(&["chown"]), false, &namespaces()).unwrap();
        assert_eq!(set.len(), 15);
        assert!(set.contains(&C::NetAdmin) && set.contains(&C::SysTime) && !set.contains(&C::Chown));
    }

    #[test]
    fn dropping_all_keeps_only_what_is_added() {
        let set = compute(&texts(&["KILL"]), &texts(&["ALL"]), false, &namespaces()).unwrap();
        assert_eq!(set, HashSet::from([C::Kill]));
    }

    #[test]
    fn every_name_is_known_and_others_are_refused() {
        for capability in ALL {
            assert_eq!(parse(&capability.to_string()).unwrap(), Some(capability));
        }
        assert!(compute(&texts(&["SYS_FOO"]), &[], false, &namespaces()).is_err());
        assert!(compute(&[], &texts(&[""]), true, &namespaces()).is_err());
    }
}
