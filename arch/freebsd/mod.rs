//! What is FreeBSD's own: the files that stand in for those of the same names beside this folder, and its system calls.
//!
//! `process.rs` has the surface of `arch/process.rs` as far as processes can be named without /proc; `sysctl.rs` asks the
//! kernel about itself.

pub mod process;
pub(crate) mod signals;
mod sys;
pub mod sysctl;
