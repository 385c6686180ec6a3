//! Network namespaces of the tests' own: each world is a host of its own, with its own links, addresses and rules.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace with its loopback up; it goes with the last handle and the last process in it.
#[derive(Debug, Clone)]
pub(crate) struct Net {
    namespace: Arc<File>,
}

impl Net {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().expect("ip (iproute2)");
            assert!(up.success(), "ip link set lo up: {up}");
            File::open("/proc/thread-self/ns/net").expect("the namespace's file")
        });
        Self { namespace: Arc::new(made.join().expect("make a network namespace")) }
    }

    /// The one that a process is in: a container's.
    pub(crate) fn of(pid: &str) -> Self {
        let path = format!("/proc/{pid}/ns/net");
        Self { namespace: Arc::new(File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"))) }
    }

    /// What `command` starts is in this namespace.
    pub(crate) fn enter(&self, command: &mut Command) {
        let namespace = self.namespace.clone();
        // SAFETY: between fork and exec the closure makes one system call; it allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(move || Ok(setns(&*namespace, CloneFlags::CLONE_NEWNET)?));
        }
    }

    /// Runs `f` on a thread that is in this namespace: for sockets of the test's own.
    pub(crate) fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&*self.namespace, CloneFlags::CLONE_NEWNET).expect("enter a network namespace");
                f()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// As `ip netns` names one: for `ip link set NAME netns PATH` by a process that has this one as its parent.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd())
    }
}
