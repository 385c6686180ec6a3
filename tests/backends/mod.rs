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

use crate::support::World;

/// The backends that work here and what each claims, as `berth doctor` says.
fn working(world: &World) -> Vec<(String, serde_json::Value)> {
    let report = world.berth(&["doctor", "--format", "json"]).json();
    let candidates = report["isolation"]["candidates"].as_array().expect("candidates").clone();
    let works = candidates.into_iter().filter(|one| one["available"] == true);
    works.map(|one| (one["name"].as_str().expect("a name").to_owned(), one["detail"].clone())).collect()
}
