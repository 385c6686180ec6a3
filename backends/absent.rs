//! Backends that stand on what another system has: their names are known everywhere, and say why they do not work here.

use berth_arch::{Host, Probe};
use oci_spec::runtime::Spec;

use crate::{AnyBackend, Backend, Bundle, ContainerId, Error, Isolation, Result, Sandbox, SavedSandbox, Stdio};

/// See the module.
#[derive(Debug, Clone, Copy)]
struct Absent {
    name: &'static str,
    reason: &'static str,
    hint: &'static str,
}

#[cfg(target_os = "linux")]
const ABSENT: &[Absent] =
    &[Absent { name: "jail", reason: "jails are FreeBSD's, and this is Linux", hint: "use another backend" }];

#[cfg(not(target_os = "linux"))]
const ABSENT: &[Absent] = &[Absent {
    name: "namespace",
    reason: "namespaces are Linux's, and this is FreeBSD",
    hint: "use the jail backend",
}];

pub(crate) fn of(name: &str) -> Option<AnyBackend> {
    ABSENT.iter().find(|absent| absent.name == name).map(|absent| Box::new(*absent) as AnyBackend)
}

impl Absent {
    fn refusal(&self) -> Error {
        Error::Unavailable(format!("isolation backend {}: {}; {}", self.name, self.reason, self.hint))
    }
}

impl Backend for Absent {
    fn name(&self) -> &str {
        self.name
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
}
