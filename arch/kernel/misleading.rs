//! System calls that the C library tries and gives up only if the answer is that there is no such call (ENOSYS).
//!
//! Filters that do not know them answer that they are not permitted (Docker's before 20.10.10), and some vendors' kernels have
//! calls of their own at these numbers. Then no thread and no program can be started (clone3), and names cannot be resolved
//! (faccessat2, by realpath). There this process, and what it starts, gets a filter that says what the library understands.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::is_at_least;
use crate::sys;

/// A call with the kernel that brought it.
struct Call {
    number: u32,
    since: (u32, u32),
    /// How nonsense is refused: EINVAL if the kernel has the call.
    ask: fn() -> Errno,
}

const CALLS: [Call; 2] = [
    Call { number: sys::CLONE3, since: (5, 3), ask: sys::clone3_with_nothing },
    Call { number: sys::FACCESSAT2, since: (5, 8), ask: sys::faccessat2_with_nothing },
];

/// Called before a thread or a program is started, and costs two system calls where all is well. Not for what runs inside a
/// container: whose filter refuses these calls there means it. Where a filter may not be set (before
/// Linux 3.5, and without CAP_SYS_ADMIN), nothing changes.
pub fn hide() {
    if let Some(calls) = misleading() {
        HIDDEN.store(sys::answer_nosys_to(calls).is_ok(), Ordering::Relaxed);
    }
}

/// As [`hide`], for who executes nothing that is to have more rights (a client): an ordinary user may set a filter with that
/// promise (no_new_privs).
pub fn hide_for_good() {
    if let Some(calls) = misleading() {
        let hidden = rustix::thread::set_no_new_privs(true).and_then(|()| sys::answer_nosys_to(calls));
        HIDDEN.store(hidden.is_ok(), Ordering::Relaxed);
    }
}

fn misleading() -> Option<[u32; 2]> {
    let misleads = |call: &Call| match (call.ask)() {
        Errno::NOSYS => false,
        Errno::INVAL => !is_at_least(call.since.0, call.since.1),
        _ => true,
    };
    let [clone3, faccessat2] = CALLS.map(|call| misleads(&call).then_some(call.number));
    let first = clone3.or(faccessat2)?;
    Some([first, faccessat2.unwrap_or(first)])
}

static HIDDEN: AtomicBool = AtomicBool::new(false);

/// Whether [`hide`] has put a filter in force.
pub fn is_hidden() -> bool {
    HIDDEN.load(Ordering::Relaxed)
}
