//! Containers of any OCI runtime that is installed: runc, crun, youki, runsc and others.

use std::path::PathBuf;

use berth_arch::{Host, Probe};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use crate::{Backend, Bundle, ContainerId, Error, Isolation, Result, Sandbox, SavedSandbox, Stdio};

pub(crate) const NAME: &str = "oci";

/// Runtimes that are looked for on the PATH, in this order.
pub const KNOWN: &[&str] = &["crun", "runc", "youki", "runsc", "kata-runtime", "runj"];

/// An OCI runtime's program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Runtime {
    /// Absolute, or a name that is looked for along the PATH.
    pub path: PathBuf,
    /// What it is called with before the verb.
    #[serde(default, alias = "runtime-args", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

impl Runtime {
    pub fn on_the_path(name: &str) -> Self {
        Self { path: name.into(), args: Vec::new() }
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub struct External {
    name: String,
    runtime: Runtime,
}

impl External {
    pub fn new(name: &str, runtime: Runtime) -> Self {
        Self { name: name.to_owned(), runtime }
    }
}

impl Backend for External {
    fn name(&self) -> &str {
        &self.name
    }

    fn runtime(&self) -> Option<&Runtime> {
        Some(&self.runtime)
    }

    fn probe(&self, _host: &Host) -> Probe<Isolation> {
        Probe::unavailable("containers of external runtimes come with a later version", "use the namespace backend")
    }

    fn create(&self, _id: &ContainerId, _bundle: &Bundle, _io: Stdio) -> Result<Box<dyn Sandbox>> {
        Err(Error::Unavailable("containers of external runtimes come with a later version".into()))
    }

    fn load(&self, _id: &ContainerId, _saved: &SavedSandbox, _spec: Option<&Spec>) -> Result<Box<dyn Sandbox>> {
        Err(Error::Unavailable("containers of external runtimes come with a later version".into()))
    }
}
