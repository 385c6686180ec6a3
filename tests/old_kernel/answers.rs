//! What the older kernel answers to calls that a filter cannot judge by numbers.
#![allow(unsafe_code)]

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use berth_arch::cpu::native_abis;

use crate::memory;
use crate::paths::{self, Paths};
use crate::profiles::{Kernel, Profile};
use crate::since::{self, Version};

pub(crate) struct Call {
    /// The calling thread.
    pub(crate) pid: u32,
    pub(crate) number: u32,
    pub(crate) arguments: [u64; 6],
}

pub(crate) enum Answer {
    /// The kernel that runs answers.
    Continue,
    /// 0, all that it does is done.
    Done,
    Error(i32),
    /// A descriptor of a file with this content, and whether it is close-on-exec.
    File(Vec<u8>, bool),
}

pub(crate) struct Answers {
    profile: &'static Profile,
    kernel: Kernel,
    paths: Paths,
    /// By their numbers.
    names: Vec<(u32, &'static str)>,
    /// `overlay:index` and the like that are not there.
    options: Vec<(&'static str, &'static str)>,
    /// The user namespace of the host.
    users: Option<std::path::PathBuf>,
}

impl Answers {
    /// None for a profile that leaves nothing to answer.
    pub(crate) fn new(profile: &'static Profile) -> Option<Self> {
        let kernel = profile.kernel?;
        let options = since::filesystems().into_iter().filter(|(_, since)| profile.lacks(*since));
        let mut names: Vec<_> = native_abis()[0].syscalls.iter().map(|(name, number)| (number, name)).collect();
        names.sort_unstable();
        Some(Self {
            profile,
            kernel,
            paths: Paths::new(profile, kernel),
            names,
            options: options.filter_map(|(name, _)| name.split_once(':')).collect(),
            users: fs::read_link("/proc/self/ns/user").ok(),
        })
    }

    pub(crate) fn of(&self, call: &Call) -> Answer {
        let argument = |index: usize| call.arguments[index];
        let at = self.names.binary_search_by_key(&call.number, |(number, _)| *number);
        let folder = argument(0) as u32 as i32;
        match at.map_or("", |at| self.names[at].1) {
            "uname" => self.uname(call),
            "open" => self.open(call, libc::AT_FDCWD, argument(0), argument(1)),
            "openat" => self.open(call, folder, argument(1), argument(2)),
            "stat" | "lstat" | "stat64" | "lstat64" | "access" => self.look(call, libc::AT_FDCWD, argument(0)),
            "newfstatat" | "fstatat64" | "faccessat" | "statx" => self.look(call, folder, argument(1)),
            "readlink" => self.read_link(call, libc::AT_FDCWD, argument(0)),
            "readlinkat" => self.read_link(call, folder, argument(1)),
            "mount" => self.mount(call),
            "fsopen" => self.filesystem(call, &text(call.pid, argument(0))),
            "fsconfig" => self.fsconfig(call),
            "setns" => self.setns(call),
            "seccomp" => self.seccomp(call),
            "clone3" => self.clone3(call),
            "bpf" => self.bpf(call),
            "sendto" => self.to_netfilter(&memory::read(call.pid, argument(1), 8192.min(argument(2) as usize)), call),
            "sendmsg" => self.sendmsg(call),
            _ => Answer::Continue,
        }
    }

    /// With the names of the caller's own UTS namespace, in which the supervisor is from then on.
    fn uname(&self, call: &Call) -> Answer {
        if let Ok(file) = File::open(format!("/proc/{}/ns/uts", call.pid)) {
            // SAFETY: integers only.
            unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWUTS) };
        }
        // SAFETY: all zeros is a valid utsname, and the kernel fills it.
        let mut name: libc::utsname = unsafe { std::mem::zeroed() };
        // SAFETY: as above.
        unsafe { libc::uname(&raw mut name) };
        let mut put = |field: fn(&mut libc::utsname) -> &mut [libc::c_char], text: &str| {
            let field = field(&mut name);
            field.fill(0);
            field.iter_mut().zip(text.bytes()).for_each(|(to, byte)| *to = byte as libc::c_char);
        };
        put(|name| &mut name.release, self.kernel.release);
        put(|name| &mut name.version, "#1 SMP");
        let start = (&raw const name).cast::<u8>();
        // SAFETY: it is a structure of arrays of bytes, without holes.
        let bytes = unsafe { std::slice::from_raw_parts(start, size_of::<libc::utsname>()) };
        if memory::write(call.pid, call.arguments[0], bytes) { Answer::Done } else { Answer::Error(libc::EFAULT) }
    }

    fn path(&self, call: &Call, folder: i32, name: u64) -> Option<String> {
        let name = memory::string(call.pid, name)?;
        paths::whole(call.pid, folder, &name)
    }

    fn open(&self, call: &Call, folder: i32, name: u64, flags: u64) -> Answer {
        let Some(path) = self.path(call, folder, name) else { return Answer::Continue };
        if self.paths.lacks(&path) {
            return Answer::Error(libc::ENOENT);
        }
        let flags = flags as i32;
        if flags & libc::O_ACCMODE != libc::O_RDONLY || flags & (libc::O_PATH | libc::O_DIRECTORY) != 0 {
            return Answer::Continue;
        }
        match self.paths.content(call.pid, &path) {
            Some(content) => Answer::File(content, flags & libc::O_CLOEXEC != 0),
            None => Answer::Continue,
        }
    }

    fn look(&self, call: &Call, folder: i32, name: u64) -> Answer {
        match self.path(call, folder, name) {
            Some(path) if self.paths.lacks(&path) => Answer::Error(libc::ENOENT),
            _ => Answer::Continue,
        }
    }

    /// What is in /proc/PID/ns were files and no links before 3.8.
    fn read_link(&self, call: &Call, folder: i32, name: u64) -> Answer {
        let Some(path) = self.path(call, folder, name) else { return Answer::Continue };
        if self.paths.lacks(&path) {
            return Answer::Error(libc::ENOENT);
        }
        let namespace = path.starts_with("/proc/") && path.rsplit('/').nth(1) == Some("ns");
        if namespace && self.kernel.version < Version(3, 8) { Answer::Error(libc::EINVAL) } else { Answer::Continue }
    }

    fn mount(&self, call: &Call) -> Answer {
        let flags = call.arguments[3] as libc::c_ulong;
        let moves =
            libc::MS_BIND | libc::MS_MOVE | libc::MS_SHARED | libc::MS_PRIVATE | libc::MS_SLAVE | libc::MS_UNBINDABLE;
        if flags & (moves | libc::MS_REMOUNT) != 0 {
            return Answer::Continue;
        }
        let kind = text(call.pid, call.arguments[2]);
        let options = text(call.pid, call.arguments[4]);
        match self.filesystem(call, &kind) {
            Answer::Continue if options.split(',').any(|option| self.lacks_option(&kind, option)) => {
                Answer::Error(libc::EINVAL)
            }
            answer => answer,
        }
    }

    /// Whether it can be mounted by the caller.
    fn filesystem(&self, call: &Call, kind: &str) -> Answer {
        if !self.paths.has_filesystem(kind) {
            return Answer::Error(libc::ENODEV);
        }
        let in_users = || fs::read_link(format!("/proc/{}/ns/user", call.pid)).ok() != self.users;
        let restricted = self.options.contains(&(kind, "*")) && in_users();
        if restricted { Answer::Error(libc::EPERM) } else { Answer::Continue }
    }

    fn lacks_option(&self, kind: &str, option: &str) -> bool {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let absent = |name: &str| self.options.contains(&(kind, name));
        absent(key) || (key == "lowerdir" && value.contains(':') && absent(":lower"))
    }

    fn fsconfig(&self, call: &Call) -> Answer {
        let key = text(call.pid, call.arguments[2]);
        if self.lacks_option("overlay", &key) { Answer::Error(libc::EINVAL) } else { Answer::Continue }
    }

    /// By a pidfd since 5.8.
    fn setns(&self, call: &Call) -> Answer {
        let link = fs::read_link(format!("/proc/{}/fd/{}", call.pid, call.arguments[0]));
        let pidfd = link.is_ok_and(|link| link.to_string_lossy().contains("pidfd"));
        if pidfd { Answer::Error(libc::EINVAL) } else { Answer::Continue }
    }

    /// The supervisor's is the only listener that there can be: there is none on any profile.
    fn seccomp(&self, call: &Call) -> Answer {
        const GET_ACTION_AVAIL: u64 = 2;
        let action = || memory::read(call.pid, call.arguments[2], 4);
        let notify = call.arguments[0] == GET_ACTION_AVAIL && action() == libc::SECCOMP_RET_USER_NOTIF.to_ne_bytes();
        if notify { Answer::Error(libc::EOPNOTSUPP) } else { Answer::Continue }
    }

    /// Before 5.5 the structure had 64 bytes, and 5.7 brought the group.
    fn clone3(&self, call: &Call) -> Answer {
        const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
        const INTO_CGROUP: u64 = 0x2_0000_0000;
        let given = memory::read(call.pid, call.arguments[0], (call.arguments[1] as usize).min(4096));
        let Some(flags) = given.first_chunk::<8>().map(|bytes| u64::from_ne_bytes(*bytes)) else {
            return Answer::Continue;
        };
        let version = self.kernel.version;
        let size = if version < Version(5, 5) { 64 } else { 80 };
        if given.iter().skip(size).any(|byte| *byte != 0) {
            return Answer::Error(libc::E2BIG);
        }
        let mut unknown = if version < Version(5, 7) { INTO_CGROUP } else { 0 };
        unknown |= if version < Version(5, 5) { CLEAR_SIGHAND } else { 0 };
        unknown |= if version < Version(5, 6) { 0x80 } else { 0 };
        if flags & unknown != 0 { Answer::Error(libc::EINVAL) } else { Answer::Continue }
    }

    /// Programs that decide about devices since 4.15.
    fn bpf(&self, call: &Call) -> Answer {
        const PROG_LOAD: u64 = 5;
        const CGROUP_DEVICE: u32 = 15;
        let kind = || memory::read(call.pid, call.arguments[1], 4);
        let device = call.arguments[0] == PROG_LOAD && kind() == CGROUP_DEVICE.to_ne_bytes();
        if device && self.profile.lacks(Version(4, 15)) { Answer::Error(libc::EINVAL) } else { Answer::Continue }
    }

    fn sendmsg(&self, call: &Call) -> Answer {
        let word = |bytes: &[u8], at: usize| {
            bytes
                .get(at * size_of::<usize>()..)
                .and_then(|rest| rest.first_chunk())
                .map(|word| usize::from_ne_bytes(*word))
        };
        // msg_iov is the third word of struct msghdr: name, its length (padded), parts.
        let header = memory::read(call.pid, call.arguments[1], 4 * size_of::<usize>());
        let part = word(&header, 2).map(|parts| memory::read(call.pid, parts as u64, 2 * size_of::<usize>()));
        let Some((start, length)) = part.and_then(|part| Some((word(&part, 0)?, word(&part, 1)?))) else {
            return Answer::Continue;
        };
        self.to_netfilter(&memory::read(call.pid, start as u64, length.min(8192)), call)
    }

    /// nf_tables came with 3.13, the expression `fib` with 4.10. The kernel says so in its answer to a message, which cannot be
    /// had here: the message is refused.
    fn to_netfilter(&self, message: &[u8], call: &Call) -> Answer {
        const NF_TABLES: u8 = 10;
        const BATCH_BEGIN: [u8; 2] = 0x10u16.to_ne_bytes();
        let Some(kind) = message.get(4..6) else { return Answer::Continue };
        if kind != BATCH_BEGIN && kind[usize::from(cfg!(target_endian = "little"))] != NF_TABLES {
            return Answer::Continue;
        }
        let link = fs::read_link(format!("/proc/{}/fd/{}", call.pid, call.arguments[0]));
        if !link.is_ok_and(|link| link.to_string_lossy().starts_with("socket:")) || !self.is_netfilter(call) {
            return Answer::Continue;
        }
        let absent = self.profile.lacks(Version(3, 13));
        let fib = self.profile.lacks(Version(4, 10)) && message.windows(4).any(|bytes| bytes == b"fib\0");
        match (absent, fib) {
            (true, _) => Answer::Error(libc::EINVAL),
            (_, true) => Answer::Error(libc::ENOENT),
            _ => Answer::Continue,
        }
    }

    /// By a copy of the caller's socket: only netlink has a protocol 12 in its own family.
    fn is_netfilter(&self, call: &Call) -> bool {
        let option = |socket: libc::c_int, name: libc::c_int| {
            let (mut value, mut length) = (0, size_of::<libc::c_int>() as libc::socklen_t);
            // SAFETY: the kernel writes one integer.
            unsafe {
                libc::getsockopt(socket, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length);
            }
            value
        };
        // SAFETY: integers only; what is opened is closed below.
        unsafe {
            let process = libc::syscall(libc::SYS_pidfd_open, call.pid, libc::O_EXCL) as libc::c_int;
            let socket = libc::syscall(libc::SYS_pidfd_getfd, process, call.arguments[0], 0) as libc::c_int;
            let found = option(socket, libc::SO_DOMAIN) == libc::AF_NETLINK
                && option(socket, libc::SO_PROTOCOL) == libc::NETLINK_NETFILTER;
            libc::close(socket);
            libc::close(process);
            found
        }
    }
}

fn text(pid: u32, address: u64) -> String {
    memory::string(pid, address).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
