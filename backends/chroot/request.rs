//! What a specification may ask of this backend, and what is made of it.

use oci_spec::runtime::{Capability, LinuxNamespaceType, PosixRlimitBuilder, PosixRlimitType, Process, Spec};

use super::NAME;
use crate::namespace::HIDE_PROCESSES;
use crate::{Bundle, Error, Isolation, Result};

/// The bundle as the shared steps are to have it, and what is to be said about it.
pub(super) fn judge(bundle: &Bundle, own_mounts: bool) -> Result<(Bundle, Vec<String>)> {
    let mut bundle = bundle.clone();
    refuse(&bundle, own_mounts)?;
    let mut warnings = undone(&bundle.spec, own_mounts);
    hide_processes(&mut bundle.spec);
    let limit = memory_limit(&bundle.spec);
    if let (Some(limit), Some(process)) = (limit, bundle.spec.process_mut()) {
        limit_data(process, limit);
        warnings.push(format!(
            "memory limit: without a memory controller it holds for the data of each process (RLIMIT_DATA, {limit} bytes) and \
             not for all of them together"
        ));
    }
    Ok((bundle, warnings))
}

fn refuse(bundle: &Bundle, own_mounts: bool) -> Result<()> {
    let none = |what: &str, why: &str| Err(Error::Unavailable(format!("{what}: the {NAME} backend {why}")));
    if bundle.standalone.is_some() {
        return none("a container that outlives its creator", "does not make such: use the namespace backend");
    }
    let linux = bundle.spec.linux().as_ref();
    for namespace in linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten() {
        let made = own_mounts && namespace.typ() == LinuxNamespaceType::Mount && namespace.path().is_none();
        if !made {
            let what = format!("namespace {}", namespace.typ());
            return none(&what, "makes none: leave it out, or use the namespace backend");
        }
    }
    Ok(())
}

/// Capabilities by which a program could undo what this backend does.
fn undone(spec: &Spec, own_mounts: bool) -> Vec<String> {
    let process = spec.process().as_ref();
    let sets = process.and_then(|process| process.capabilities().as_ref());
    let bounding = sets.and_then(|sets| sets.bounding().as_ref());
    let isolation = Isolation { mount: own_mounts, ..Isolation::default() };
    let has = |one: &&(Capability, &str)| bounding.is_some_and(|set| set.contains(&one.0));
    isolation.undone_by().iter().filter(has).map(|(capability, why)| format!("CAP_{capability}: {why}")).collect()
}

/// The container has the host's processes, and sees of them what it could trace.
fn hide_processes(spec: &mut Spec) {
    for mount in spec.mounts_mut().iter_mut().flatten() {
        if mount.typ().as_deref() == Some("proc") {
            let mut words = mount.options().clone().unwrap_or_default();
            if !words.iter().any(|word| word.starts_with("hidepid=")) {
                words.push(HIDE_PROCESSES.to_owned());
            }
            mount.set_options(Some(words));
        }
    }
}

/// What is asked for in bytes, and has no controller here.
pub(super) fn memory_limit(spec: &Spec) -> Option<u64> {
    let resources = spec.linux().as_ref()?.resources().as_ref()?;
    let limit = u64::try_from(resources.memory().as_ref()?.limit()?).ok().filter(|&limit| limit > 0)?;
    let groups = berth_arch::kernel::cgroup::Cgroups::detect().ok();
    let controlled =
        groups.is_some_and(|groups| crate::namespace::controllers(&groups).iter().any(|one| one == "memory"));
    (!controlled).then_some(limit)
}

/// Unless the process has a limit of that kind of its own.
pub(super) fn limit_data(process: &mut Process, limit: u64) {
    // Before 4.7 it counts the heap of brk(2) alone.
    let kind =
        if berth_arch::kernel::is_at_least(4, 7) { PosixRlimitType::RlimitData } else { PosixRlimitType::RlimitAs };
    let mut limits = process.rlimits().clone().unwrap_or_default();
    if limits.iter().any(|known| known.typ() == kind) {
        return;
    }
    if let Ok(one) = PosixRlimitBuilder::default().typ(kind).soft(limit).hard(limit).build() {
        limits.push(one);
        process.set_rlimits(Some(limits));
    }
}
