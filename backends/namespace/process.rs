//! What a program is run with, for the first one of a container and for further ones: everything that can be
//! computed before the clone.

use std::ffi::{CString, c_int, c_ulong};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use berth_arch::{Ids, Probe};
use oci_spec::runtime::{
    IOPriorityClass, LinuxNamespaceType, LinuxPersonalityDomain, LinuxSeccomp, PosixRlimitType, Process, Spec, User,
};
use rustix::io::Errno;
use rustix::process::{Gid, Resource, Rlimit, Uid};

use super::capabilities::Sets;
use super::report::above_stdio;
use super::scheduling::Policy;
use super::sys::Strings;
pub(crate) use crate::error::setup;
use crate::seccomp::Filter;
pub(super) use crate::words::c_strings;
use crate::words::{candidates, exec_error};
use crate::{Error, Result, Stdio};

/// Of personality(2).
const PER_LINUX32: c_ulong = 0x0008;

pub(super) struct ProcessPlan {
    /// As the user wrote it, for messages.
    pub(super) program: String,
    /// What to try, in order: the program itself if it has a slash, else one for each entry of PATH.
    pub(super) candidates: Vec<CString>,
    pub(super) arguments: Strings,
    pub(super) environment: Strings,
    pub(super) directory: CString,
    pub(super) user: Uid,
    pub(super) group: Gid,
    pub(super) groups: Vec<Gid>,
    pub(super) umask: u32,
    pub(super) capabilities: Option<Sets>,
    pub(super) no_new_privileges: bool,
    pub(super) rlimits: Vec<(Resource, Rlimit)>,
    /// As text for /proc/self/oom_score_adj.
    pub(super) oom_score: Option<Vec<u8>>,
    pub(super) seccomp: Option<Filter>,
    /// For /proc/self/attr/exec: a security module's label of the program.
    pub(super) label: Option<Vec<u8>>,
    pub(super) personality: Option<c_ulong>,
    pub(super) io_priority: Option<c_int>,
    pub(super) scheduler: Option<Policy>,
    pub(super) streams: Streams,
    /// What the program has from 3 on.
    pub(super) preserved: Vec<OwnedFd>,
    /// The program's end is not that of this process.
    pub(super) outlives: bool,
    pub(super) keep_keyring: bool,
}

pub(super) enum Streams {
    Pipes([OwnedFd; 3]),
    Terminal { size: Option<(u16, u16)> },
}

impl Streams {
    pub(super) fn new(io: Stdio) -> Result<Self> {
        match io {
            Stdio::Terminal { size } => Ok(Self::Terminal { size }),
            Stdio::Pipes { stdin, stdout, stderr } => {
                let move_up = |fd| above_stdio(fd).map_err(setup("duplicate a stream"));
                Ok(Self::Pipes([move_up(stdin)?, move_up(stdout)?, move_up(stderr)?]))
            }
        }
    }
}

/// Of somebody who is not there the kernel says too little.
fn check_identity(user: &User, spec: &Spec) -> Result<()> {
    let groups: Vec<u32> =
        user.additional_gids().iter().flatten().copied().filter(|&group| group != user.gid()).collect();
    if (user.uid(), user.gid()) == (0, 0) && groups.is_empty() || has_own_users(spec) {
        return Ok(());
    }
    let ids = Ids::here();
    let missing = if !ids.has_user(user.uid()) {
        format!("user {}", user.uid())
    } else if let Some(group) = [user.gid()].into_iter().chain(groups).find(|&group| !ids.has_group(group)) {
        format!("group {group}")
    } else {
        return Ok(());
    };
    Err(Error::Unavailable(Ids::missing(&missing)))
}

/// Whether the specification has users of its own.
pub(super) fn has_own_users(spec: &Spec) -> bool {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    listed.into_iter().flatten().any(|namespace| namespace.typ() == LinuxNamespaceType::User)
}

impl ProcessPlan {
    /// `spec` gives what is the container's: seccomp and personality.
    pub(super) fn new(process: &Process, spec: &Spec, io: Stdio) -> Result<Self> {
        let words = process.args().clone().unwrap_or_default();
        let Some(program) = words.first().cloned() else {
            return Err(Error::InvalidArgument("process: it has no program".into()));
        };
        let environment = process.env().clone().unwrap_or_default();
        let user = process.user();
        check_identity(user, spec)?;
        let linux = spec.linux().as_ref();
        let seccomp = linux.and_then(|linux| linux.seccomp().as_ref()).map(filter).transpose()?;
        Ok(Self {
            candidates: candidates(&program, &environment)?,
            arguments: Strings::new(c_strings(words, "argument")?),
            environment: Strings::new(c_strings(environment, "environment variable")?),
            directory: CString::new(process.cwd().as_os_str().as_bytes())
                .map_err(|_| Error::InvalidArgument("working directory: it holds a NUL byte".into()))?,
            user: Uid::from_raw(user.uid()),
            group: Gid::from_raw(user.gid()),
            groups: user.additional_gids().iter().flatten().map(|&group| Gid::from_raw(group)).collect(),
            umask: user.umask().unwrap_or(0o022) & 0o777,
            capabilities: process.capabilities().as_ref().map(Sets::new),
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            rlimits: process.rlimits().iter().flatten().map(rlimit).collect(),
            oom_score: process.oom_score_adj().map(|score| score.to_string().into_bytes()),
            seccomp,
            label: label(process),
            personality: linux.and_then(|linux| linux.personality().as_ref()).map(|personality| {
                match personality.domain() {
                    LinuxPersonalityDomain::PerLinux => 0,
                    LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
                }
            }),
            io_priority: process.io_priority().as_ref().map(|priority| {
                // ioprio_set(2): the class above bit 13.
                let class = match priority.class() {
                    IOPriorityClass::IoprioClassRt => 1,
                    IOPriorityClass::IoprioClassBe => 2,
                    IOPriorityClass::IoprioClassIdle => 3,
                };
                class << 13 | priority.priority().clamp(0, 7) as c_int
            }),
            scheduler: process.scheduler().as_ref().map(Policy::new).transpose()?,
            streams: Streams::new(io)?,
            preserved: Vec::new(),
            outlives: false,
            keep_keyring: false,
            program,
        })
    }

    /// Has `preserved` installed from 3 on. They are moved out of the way of what is installed before them.
    pub(super) fn preserve(&mut self, preserved: Vec<OwnedFd>) -> Result<()> {
        let first = self.first_closed(preserved.len());
        let moved = preserved.into_iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, first));
        self.preserved = moved.collect::<rustix::io::Result<_>>().map_err(setup("duplicate a preserved descriptor"))?;
        Ok(())
    }

    /// Above the program's own descriptors there are the channel, the gate and /dev/null for hooks.
    pub(super) fn first_closed(&self, preserved: usize) -> i32 {
        3 + preserved as i32 + 3
    }

    pub(super) fn exec_error(&self, errno: Errno) -> Error {
        exec_error(&self.program, errno)
    }
}

fn filter(policy: &LinuxSeccomp) -> Result<Filter> {
    if let Probe::Unavailable { reason, hint } = berth_arch::kernel::seccomp::probe() {
        let hint = hint.map(|hint| format!("{hint}, or ")).unwrap_or_default();
        return Err(Error::Unavailable(format!(
            "the namespace backend cannot filter system calls: {reason}; {hint}run it with --security-opt seccomp=unconfined"
        )));
    }
    Filter::compile(policy)
}

fn label(process: &Process) -> Option<Vec<u8>> {
    if let Some(label) = process.selinux_label().as_deref().filter(|label| !label.is_empty()) {
        return Some(label.as_bytes().to_vec());
    }
    let profile = process.apparmor_profile().as_deref()?;
    (!profile.is_empty() && profile != "unconfined").then(|| format!("exec {profile}").into_bytes())
}

pub(crate) fn rlimit(limit: &oci_spec::runtime::PosixRlimit) -> (Resource, Rlimit) {
    let resource = match limit.typ() {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    };
    let value = |value: u64| (value != u64::MAX).then_some(value);
    (resource, Rlimit { current: value(limit.soft()), maximum: value(limit.hard()) })
}
