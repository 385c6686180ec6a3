//! Backends that stand on what another system has: their names are known everywhere, and say why they do not work here.

use std::borrow::Cow;

use berth_arch::{Host, Probe};
use oci_spec::runtime::Spec;

use crate::{AnyBackend, Backend, Bundle, ContainerId, Error, Isolation, Result, Sandbox, SavedSandbox, Stdio};

/// See the module.
#[derive(Debug, Clone)]
struct Absent {
    name: Cow<'static, str>,
    reason: &'static str,
    hint: &'static str,
}

/// Names, why they do not work here, and what does.
#[cfg(target_os = "linux")]
const ABSENT: &[(&str, &str, &str)] = &[("jail", "jails are FreeBSD's, and this is Linux", "use another backend")];

#[cfg(not(target_os = "linux"))]
const ABSENT: &[(&str, &str, &str)] = &[
    ("namespace", "namespaces are Linux's, and this is FreeBSD", "use the jail backend"),
    ("lxc", "LXC is Linux's, and this is FreeBSD", "use the jail backend"),
    ("chroot", "it finds its processes by what Linux says of them, and this is FreeBSD", "use the jail backend"),
];

pub(crate) fn of(name: &str) -> Option<AnyBackend> {
    let found = ABSENT.iter().find(|(absent, ..)| *absent == name);
    found.map(|&(name, reason, hint)| Box::new(Absent { name: name.into(), reason, hint }) as AnyBackend)
}

/// An external runtime.
#[cfg(not(target_os = "linux"))]
pub(crate) fn runtime(name: &str) -> AnyBackend {
    Box::new(Absent {
        name: name.to_owned().into(),
        reason: "external runtimes are called on Linux alone so far",
        hint: "use the jail backend",
    })
}

impl Absent {
    fn refusal(&self) -> Error {
        Error::Unavailable(format!("isolation backend {}: {}; {}", self.name, self.reason, self.hint))
    }
}

impl Backend for Absent {
    fn name(&self) -> &str {
        &self.name
    }

    fn probe(&self, _host: &Host) -> Probe<Isolation> {
        Probe::unavailable(self.reason, self.hint)
    }

    fn create(&self, _id: &ContainerId, _bundle: &Bundle, _io: Stdio) -> Result<Box<dyn Sandbox>> {
        Err(self.refusal())
    }

    fn load(&self, _id: &ContainerId, _saved: &SavedSandbox, _spec: Option<&Spec>) -> Result<Box<dyn Sandbox>> {
        Err(self.refusal())
    }

    fn clear(&self, _id: &ContainerId, _saved: &SavedSandbox) -> Result<()> {
        Err(self.refusal())
    }
}
