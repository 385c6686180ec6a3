//! What the monitor has for itself and its container is not to inherit: how unlikely it is to be killed for want of
//! memory, and how many descriptors it may have.

use oci_spec::runtime::{PosixRlimitBuilder, PosixRlimitType, Process};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What was before the monitor changed it; `None` where it has changed nothing.
#[derive(Debug, Default)]
pub(super) struct Own {
    oom_score: Option<i32>,
    files: Option<Rlimit>,
}

impl Own {
    /// Takes what it needs. `relays`: connections of others go through the monitor, several descriptors each.
    pub(super) fn take(relays: bool) -> Self {
        Self { oom_score: spare_oneself(), files: if relays { raise_files() } else { None } }
    }

    /// Gives a program what it would have had, unless it was asked for otherwise.
    pub(super) fn give_back(&self, process: &mut Process) {
        if let Some(score) = self.oom_score
            && process.oom_score_adj().is_none()
        {
            process.set_oom_score_adj(Some(score));
        }
        let Some(Rlimit { current, maximum }) = self.files else { return };
        let kind = PosixRlimitType::RlimitNofile;
        let limit = PosixRlimitBuilder::default()
            .typ(kind)
            .soft(current.unwrap_or(u64::MAX))
            .hard(maximum.unwrap_or(u64::MAX))
            .build();
        let mut limits = process.rlimits().clone().unwrap_or_default();
        if let Ok(limit) = limit
            && limits.iter().all(|limit| limit.typ() != kind)
        {
            limits.push(limit);
            process.set_rlimits(Some(limits));
        }
    }
}

fn spare_oneself() -> Option<i32> {
    let path = "/proc/self/oom_score_adj";
    let own = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok())?;
    // Lowering it takes CAP_SYS_RESOURCE; without, the monitor is as likely a victim as anybody.
    std::fs::write(path, "-999").is_ok().then_some(own)
}

fn raise_files() -> Option<Rlimit> {
    let own = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: own.maximum, maximum: own.maximum };
    (own.current != own.maximum && setrlimit(Resource::Nofile, raised).is_ok()).then_some(own)
}
