//! The kernels, and the filters of others, that can be had.

use crate::since::Version;

/// What a program sees of the kernel.
pub(crate) struct Profile {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Calls that came after this one are missing.
    pub(crate) calls: Version,
    /// What missing calls answer.
    pub(crate) missing: i32,
    /// Arguments, files and file systems are of this kernel, and uname(2) says so; None: of the kernel that runs.
    pub(crate) kernel: Option<Kernel>,
    /// Calls that answer something of their own, whatever they are asked. 0 is success without any effect.
    pub(crate) odd: &'static [(&'static str, i32)],
}

#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    pub(crate) version: Version,
    pub(crate) release: &'static str,
}

impl Kernel {
    /// The highest CAP_* that it knows.
    pub(crate) fn last_capability(&self) -> u32 {
        let known = [(Version(5, 9), 40), (Version(5, 8), 39), (Version(3, 16), 37), (Version(3, 5), 36)];
        known.iter().find(|(since, _)| self.version >= *since).map_or(35, |(_, last)| *last)
    }
}

const fn kernel(name: &'static str, about: &'static str, version: Version, release: &'static str) -> Profile {
    let kernel = Some(Kernel { version, release });
    Profile { name, about, calls: version, missing: libc::ENOSYS, kernel, odd: &[] }
}

pub(crate) const ALL: &[Profile] = &[
    kernel("3.2", "Debian 7: no seccomp filters, subreapers, user namespaces, overlay", Version(3, 2), "3.2.102"),
    kernel("3.10", "CentOS 7's base, Synology DSM 6: no overlay, renameat2, seccomp(2)", Version(3, 10), "3.10.108"),
    kernel("3.16", "Debian 8: no overlay, bpf, getrandom", Version(3, 16), "3.16.85"),
    kernel("4.4", "Ubuntu 16.04, Synology DSM 7: no cgroup2, statx", Version(4, 4), "4.4.302"),
    kernel("4.9", "Debian 9: cgroup2 without devices", Version(4, 9), "4.9.337"),
    kernel("4.14", "Amazon Linux 2, many boards: no metacopy, rseq", Version(4, 14), "4.14.336"),
    kernel("4.19", "Debian 10: no pidfd, mount by descriptor", Version(4, 19), "4.19.325"),
    kernel("5.4", "Ubuntu 20.04: no openat2, close_range, mount_setattr", Version(5, 4), "5.4.302"),
    // Docker's default policy for a container with CAP_SYS_ADMIN, as libseccomp 2.3 made it: what it did not know, or was
    // not on the list, was not permitted. moby's profiles/seccomp/default.json of 17.03.
    Profile {
        name: "docker",
        about: "inside a container of Docker 17.03 with SYS_ADMIN: unknown calls answer EPERM",
        calls: Version(4, 10),
        missing: libc::EPERM,
        kernel: None,
        odd: &[
            ("pivot_root", libc::EPERM),
            ("add_key", libc::EPERM),
            ("keyctl", libc::EPERM),
            ("request_key", libc::EPERM),
            ("open_by_handle_at", libc::EPERM),
            ("userfaultfd", libc::EPERM),
            ("kexec_load", libc::EPERM),
            ("pkey_mprotect", libc::EPERM),
            ("pkey_alloc", libc::EPERM),
            ("pkey_free", libc::EPERM),
        ],
    },
    // A vendor's kernel with calls of its own above the last one: no real one's list, but every kind of answer that has been
    // seen. fchmodat2 is QNAP's 5.10 (opencontainers/runc#5415).
    Profile {
        name: "vendor",
        about: "a 4.4 whose vendor has calls of its own where newer kernels have theirs",
        calls: Version(4, 4),
        missing: libc::ENOSYS,
        kernel: Some(Kernel { version: Version(4, 4), release: "4.4.302+" }),
        odd: &[
            ("pidfd_send_signal", 0),
            ("open_tree", libc::EFAULT),
            ("move_mount", 0),
            ("fsopen", libc::ENOTTY),
            ("fsconfig", 0),
            ("fsmount", libc::EFAULT),
            ("pidfd_open", libc::EINVAL),
            ("clone3", libc::EINVAL),
            ("close_range", 0),
            ("openat2", libc::ENOTTY),
            ("faccessat2", libc::EFAULT),
            ("mount_setattr", libc::EINVAL),
            ("fchmodat2", libc::ENOENT),
        ],
    },
];

impl Profile {
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|profile| profile.name == name)
    }

    pub(crate) fn lacks(&self, since: Version) -> bool {
        self.kernel.is_some_and(|kernel| since > kernel.version)
    }
}
