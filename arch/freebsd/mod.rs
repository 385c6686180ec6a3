//! What is FreeBSD's own: the files that stand in for those of the same names beside this folder, and its system calls.
//!
//! `process.rs` has the surface of `arch/process.rs` as far as processes can be named without /proc; `sysctl.rs` asks the
//! kernel about itself; `mount.rs` makes and undoes mounts, and `pairs.rs` calls what takes names and values.

pub(crate) mod mount;
pub mod pairs;
pub mod process;
pub(crate) mod signals;
mod sys;
pub mod sysctl;
