//! What this host can do: the kernel's facilities, the processor, the user, and the few system calls and
//! fallbacks that every other crate builds on.
//!
//! Depends on nothing of ours; everything else depends on it. Storage drivers, isolation backends and the
//! engine ask here instead of looking at versions. A facility that is absent is a value with a reason and a
//! hint ([`Probe`]), and every one can be pretended away ([`pretend`]) so that fallbacks are run by tests.

pub mod cpu;
pub mod host;
pub mod ids;
pub mod message;
pub mod mount;
pub mod pretend;
pub mod probe;
pub mod program;
pub mod root_dir;
pub mod signal;
pub mod terminal;

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod child;
        pub mod fd;
        pub mod kernel;
        pub mod kernel_file;
        pub mod process;
        mod sys;
    } else if #[cfg(target_os = "freebsd")] {
        mod freebsd;
        pub use freebsd::{pairs, process, sysctl};
    } else {
        compile_error!("berth is made for Linux and FreeBSD");
    }
}

pub use host::Host;
pub use ids::Ids;
pub use probe::Probe;
