//! Containers as jails of FreeBSD (jail(8)).
//!
//! `plan.rs` (with `refuse.rs`, `parameters.rs`, `privileges.rs`, `network.rs`, `mounts.rs`, `limits.rs` and `program.rs`)
//! computes what a jail is made of from the specification; it is pure, and tested on Linux too. `sys.rs` has the system calls,
//! all that is unsafe; `root.rs` makes the mounts, `devices.rs` and `interfaces.rs` call the system's own programs for device
//! rules and interfaces; `exec.rs` starts a program, and `child.rs` is what its process does between fork and exec;
//! `sandbox.rs` is what the creator holds. What FreeBSD has no namespaces for is undone by hand: mounts are the whole host's, so
//! they are taken off when the container is deleted.

cfg_if::cfg_if! {
    if #[cfg(target_os = "freebsd")] {
        mod child;
        mod devices;
        mod exec;
        mod interfaces;
        mod probe;
        mod root;
        mod sandbox;
        mod stats;
        mod sys;

        pub(crate) use self::sandbox::Jail;
    }
}
cfg_if::cfg_if! {
    if #[cfg(any(test, target_os = "freebsd"))] {
        mod limits;
        mod mounts;
        mod network;
        mod parameters;
        mod plan;
        mod privileges;
        mod program;
        mod refuse;
    }
}
#[cfg(test)]
mod tests;

pub(crate) const NAME: &str = "jail";
