//! What a program of a jail is run with: everything that can be computed before the fork.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::{PosixRlimitType, Process};

use super::refuse::{cannot, check_process};
use crate::words::{c_strings, candidates};
use crate::{Error, Result};

#[derive(Debug)]
pub(super) struct Program {
    /// As the user wrote it, for messages.
    pub(super) name: String,
    /// What to try, in order.
    pub(super) candidates: Vec<CString>,
    pub(super) arguments: Vec<CString>,
    pub(super) environment: Vec<CString>,
    pub(super) directory: CString,
    pub(super) user: u32,
    /// The first is the program's own group, as setgroups(2) wants it on FreeBSD before 15.
    pub(super) groups: Vec<u32>,
    pub(super) umask: u16,
    pub(super) no_new_privileges: bool,
    pub(super) limits: Vec<Limit>,
}

/// Of setrlimit(2); `u64::MAX` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) resource: i32,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

impl Program {
    pub(super) fn new(process: &Process) -> Result<Self> {
        check_process(process)?;
        let words = process.args().clone().unwrap_or_default();
        let Some(name) = words.first().cloned() else {
            return Err(Error::InvalidArgument("process: it has no program".into()));
        };
        let environment = process.env().clone().unwrap_or_default();
        let user = process.user();
        let others = user.additional_gids().iter().flatten().copied();
        Ok(Self {
            candidates: candidates(&name, &environment)?,
            arguments: c_strings(words, "argument")?,
            environment: c_strings(environment, "environment variable")?,
            directory: CString::new(process.cwd().as_os_str().as_bytes())
                .map_err(|_| Error::InvalidArgument("working directory: it holds a NUL byte".into()))?,
            user: user.uid(),
            groups: std::iter::once(user.gid()).chain(others.filter(|&group| group != user.gid())).collect(),
            umask: (user.umask().unwrap_or(0o022) & 0o777) as u16,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            limits: process.rlimits().iter().flatten().map(limit).collect::<Result<_>>()?,
            name,
        })
    }
}

fn limit(limit: &oci_spec::runtime::PosixRlimit) -> Result<Limit> {
    use PosixRlimitType as R;
    // RLIMIT_* of sys/resource.h.
    let resource = match limit.typ() {
        R::RlimitCpu => 0,
        R::RlimitFsize => 1,
        R::RlimitData => 2,
        R::RlimitStack => 3,
        R::RlimitCore => 4,
        R::RlimitRss => 5,
        R::RlimitMemlock => 6,
        R::RlimitNproc => 7,
        R::RlimitNofile => 8,
        R::RlimitAs => 10,
        R::RlimitLocks
        | R::RlimitSigpending
        | R::RlimitMsgqueue
        | R::RlimitNice
        | R::RlimitRtprio
        | R::RlimitRttime => {
            let option = format!("--ulimit {:?}", limit.typ());
            return Err(cannot(&option, "it is a limit of Linux's", "leave it out"));
        }
    };
    Ok(Limit { resource, soft: limit.soft(), hard: limit.hard() })
}
