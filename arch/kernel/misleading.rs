//! System calls that programs try and do without only if the answer is that there is no such call (ENOSYS).
//!
//! Filters that do not know them answer that they are not permitted (Docker's before 20.10.10), and some vendors' kernels have
//! calls of their own at these numbers. Then no thread and no program can be started (clone3), names cannot be resolved
//! (faccessat2, by realpath), files not be looked at (statx), a 32-bit program has no time, and LXC does not start (openat2).
//! There this process, and what it starts, gets a filter that says what they understand.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::version;
use crate::sys;

/// Calls that are there together, or are not.
struct Calls {
    numbers: RangeInclusive<u32>,
    /// Older kernels do not have them, whatever they answer. (0, 0) of those that distributions bring to older kernels.
    since: (u32, u32),
    /// Arguments for the first one that a kernel that has it refuses at once (EINVAL; QEMU's user mode may say EFAULT).
    nonsense: [isize; 5],
}

const fn call(number: u32, since: (u32, u32), nonsense: [isize; 5]) -> Calls {
    Calls { numbers: number..=number, since, nonsense }
}

const FLAGS: isize = i32::MAX as isize;

/// In the order in which they are asked.
const CALLS: &[Calls] = &[
    // statx: a mask that is reserved.
    call(libc::SYS_statx as u32, (0, 0), [-1, 0, 0, i32::MIN as isize, 0]),
    // Those with 64 bits for the time. clock_gettime64: a clock that does not exist.
    #[cfg(target_pointer_width = "32")]
    Calls { numbers: 403..=423, since: (5, 1), nonsense: [FLAGS, 0, 0, 0, 0] },
    // clone3: a size of 0.
    call(435, (5, 3), [0; 5]),
    // faccessat2: flags that do not exist.
    call(439, (5, 8), [-1, 0, 0, FLAGS, 0]),
    // pidfd_send_signal: flags.
    call(424, (5, 1), [-1, 0, 0, FLAGS, 0]),
    // pidfd_open: a negative process.
    call(434, (5, 3), [-1, 0, 0, 0, 0]),
    // close_range: the first above the last.
    call(436, (5, 9), [1, 0, 0, 0, 0]),
    // openat2: a size of 0.
    call(437, (5, 6), [-1, 0, 0, 0, 0]),
    // fchmodat2: flags.
    call(452, (0, 0), [-1, 0, 0, FLAGS, 0]),
];

/// Those that filters refuse to whoever has no right to them: asked only where another one misleads.
const PRIVILEGED: &[Calls] = &[
    // open_tree, move_mount, fsopen, fsconfig, fsmount, fspick: flags.
    Calls { numbers: 428..=433, since: (5, 2), nonsense: [-1, 0, FLAGS, 0, 0] },
    // mount_setattr: flags.
    call(442, (5, 12), [-1, 0, FLAGS, 0, 0]),
];

/// From here on the numbers are the same on all processors, and came with Linux 5.1 and later; a vendor's own are below 512.
const NEW: RangeInclusive<u32> = 424..=511;

/// Called before a thread or a program is started, and costs some eight system calls where all is well. Not for what runs inside a
/// container: whose filter refuses these calls there means it. Where a filter may not be set (before
/// Linux 3.5, and without CAP_SYS_ADMIN), nothing changes.
pub fn hide() {
    let calls = misleading();
    if !calls.is_empty() {
        HIDDEN.store(sys::answer_nosys_to(&calls).is_ok(), Ordering::Relaxed);
    }
}

/// As [`hide`], for who executes nothing that is to have more rights (a client): an ordinary user may set a filter with that
/// promise (no_new_privs).
pub fn hide_for_good() {
    let calls = misleading();
    if !calls.is_empty() {
        let hidden = rustix::thread::set_no_new_privs(true).and_then(|()| sys::answer_nosys_to(&calls));
        HIDDEN.store(hidden.is_ok(), Ordering::Relaxed);
    }
}

/// Where an old kernel has something at a number that was nobody's then, nothing more is tried: all are hidden.
fn misleading() -> Vec<RangeInclusive<u32>> {
    let kernel = version();
    let mut found = Vec::new();
    for list in [CALLS, PRIVILEGED] {
        for calls in list.iter().filter(|calls| calls.mislead(kernel)) {
            if NEW.contains(calls.numbers.start()) && kernel < (5, 1) {
                found.push(NEW);
                return found;
            }
            found.push(calls.numbers.clone());
        }
        if found.is_empty() {
            break;
        }
    }
    found
}

impl Calls {
    fn mislead(&self, kernel: (u32, u32)) -> bool {
        match sys::refusal(*self.numbers.start(), self.nonsense) {
            Errno::NOSYS => false,
            // The kernel has looked at the arguments.
            Errno::INVAL | Errno::FAULT | Errno::BADF => kernel < self.since,
            _ => true,
        }
    }
}

static HIDDEN: AtomicBool = AtomicBool::new(false);

/// Whether [`hide`] has put a filter in force.
pub fn is_hidden() -> bool {
    HIDDEN.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_is_refused_by_a_kernel_that_has_the_call() {
        for calls in CALLS.iter().chain(PRIVILEGED) {
            let number = calls.numbers.start();
            let said = sys::refusal(*number, calls.nonsense);
            assert!(matches!(said, Errno::NOSYS | Errno::INVAL | Errno::FAULT), "{number}: {said}");
        }
    }
}
