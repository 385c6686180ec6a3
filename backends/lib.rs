//! Isolation backends: how a program is kept apart from the host.
//!
//! The traits are in `backend.rs`, what they are given in `bundle.rs`, the list and the selection in
//! `registry.rs`. Every backend consumes the OCI runtime Spec. Depends on `arch`, never on `fs-drivers`:
//! the two meet as a list of mounts. Synchronous, no tokio.

mod absent;
mod backend;
mod bundle;
mod checkpoint;
mod children;
mod error;
mod jail;
mod registry;
mod runtime;
mod words;

/// A word of a bind mount that is followed by a relative path: not the source itself is bound, but what is there. It is
/// resolved inside the source at the moment of mounting, so that no link in a volume leads out of it.
pub const SUBPATH: &str = "X-berth.subpath=";

pub use backend::{
    AnyBackend, Backend, ExecChild, ExitStatus, Freezer, Isolation, Limiter, Sample, Sandbox, SavedSandbox, Stats,
    Stdio,
};
pub use bundle::{Bundle, ContainerId, Lent, Standalone};
pub use checkpoint::{Checkpoint, Checkpointer, GroupMode, RESTORE_MOUNTS, Restorer};
pub use error::{Error, Result};
pub use registry::{ORDER, Refused, Registry, Selection, by_name};
pub use runtime::Runtime;

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod assemble;
        pub mod cgroup;
        pub mod chroot;
        pub mod criu;
        pub mod lxc;
        pub mod namespace;
        pub mod oci;
        mod protected;
        pub mod seccomp;

        pub use cgroup::MemoryWatch;
        pub use namespace::{Known, known, run_hooks};
        pub use protected::{protected_program, sealed_program};
    } else {
        /// Of want of memory one can only ask there.
        #[derive(Debug)]
        pub enum MemoryWatch {}
    }
}
