//! Capabilities by number (linux/capability.h), and the sets of a process.

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

/// In the kernel's order, from 0.
pub(super) const NUMBERS: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The highest number that any kernel could know.
pub(super) const LAST: u32 = 63;

/// The five sets as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sets {
    pub(super) bounding: u64,
    pub(super) effective: u64,
    pub(super) permitted: u64,
    pub(super) inheritable: u64,
    pub(super) ambient: u64,
}

impl Sets {
    /// Whether it was there.
    pub(super) fn take_mknod(&mut self) -> bool {
        const MKNOD: u64 = 1 << 27;
        let there = self.bounding & MKNOD != 0;
        for set in
            [&mut self.bounding, &mut self.effective, &mut self.permitted, &mut self.inheritable, &mut self.ambient]
        {
            *set &= !MKNOD;
        }
        there
    }

    pub(super) fn new(capabilities: &LinuxCapabilities) -> Self {
        let sets = Self {
            bounding: bits(capabilities.bounding()),
            effective: bits(capabilities.effective()),
            permitted: bits(capabilities.permitted()),
            inheritable: bits(capabilities.inheritable()),
            ambient: bits(capabilities.ambient()),
        };
        // The kernel refuses an effective capability that is not permitted, and an ambient one that is not both
        // permitted and inheritable.
        Self {
            effective: sets.effective & sets.permitted,
            ambient: sets.ambient & sets.permitted & sets.inheritable,
            ..sets
        }
    }
}

fn bits(set: &Option<Capabilities>) -> u64 {
    let set = set.iter().flatten();
    set.filter_map(|capability| NUMBERS.iter().position(|other| other == capability)).fold(0, |bits, n| bits | 1 << n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_have_the_kernels_numbers() {
        let one = |capability| bits(&Some([capability].into()));
        assert_eq!(one(Capability::Chown), 1);
        assert_eq!(one(Capability::SysAdmin), 1 << 21);
        assert_eq!(one(Capability::Setfcap), 1 << 31);
        assert_eq!(one(Capability::CheckpointRestore), 1 << 40);
    }

    #[test]
    fn an_effective_capability_has_to_be_permitted() {
        let all: Capabilities = [Capability::Kill, Capability::Chown].into();
        let capabilities = LinuxCapabilities::default()
            .set_effective(Some(all))
            .set_permitted(Some([Capability::Kill].into()))
            .to_owned();
        let sets = Sets::new(&capabilities);
        assert_eq!(sets.effective, sets.permitted);
    }
}
