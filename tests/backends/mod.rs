//! Isolation backends, as their users meet them.

/// Containers of chroot(2), with and without mounts of their own.
mod chroot;
/// One scenario on every backend that works here.
mod every;
/// What this program does inside of containers.
mod inside;
/// Containers by LXC's own tools.
mod lxc;
/// Containers of external OCI runtimes.
mod oci;

use crate::support::{World, kernel, skip};

/// The backends that work here and what each claims, as `berth doctor` says. External runtimes see the control groups of the kernel
/// beneath an older one, and take those of version 2 (4.5) for the host's.
fn working(world: &World) -> Vec<(String, serde_json::Value)> {
    let report = world.berth(&["doctor", "--format", "json"]).json();
    let candidates = report["isolation"]["candidates"].as_array().expect("candidates").clone();
    let external =
        |one: &serde_json::Value| !["namespace", "lxc", "chroot"].contains(&one["name"].as_str().unwrap_or_default());
    let hybrid = !kernel::is_at_least(4, 5);
    let works = candidates.into_iter().filter(|one| one["available"] == true && !(hybrid && external(one)));
    works.map(|one| (one["name"].as_str().expect("a name").to_owned(), one["detail"].clone())).collect()
}

/// Whether an older kernel, or what is around berth there, keeps this backend from working: then the test does not run.
pub(crate) fn is_out_of_reach(world: &World, name: &str) -> bool {
    if kernel::profile().is_none() {
        return false;
    }
    let report = world.berth(&["doctor", "--format", "json"]).json();
    let candidates = report["isolation"]["candidates"].as_array().expect("candidates");
    let Some(one) = candidates.iter().find(|one| one["name"] == name && one["available"] == false) else {
        return false;
    };
    skip(&format!("by doctor, no {name}: {}", one["reason"].as_str().unwrap_or_default()));
    true
}
