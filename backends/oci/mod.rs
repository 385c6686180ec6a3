//! Containers of any OCI runtime that is installed: runc, crun, youki and others.
//!
//! `probe.rs` asks what a runtime can do, `call.rs` calls it, `view.rs` is what it sees of the host, `adapt.rs` makes the
//! specification one that it knows, `sources.rs` mounts what it is to
//! bind, `explain.rs` reads what it says. `folder.rs` is what is kept of a container, and
//! `warden.rs` ends it with its creator. `sandbox.rs` and `exec.rs` are what the creator holds: the runtime makes and
//! removes; whatever can be done by process and control group is done so, without it.

mod adapt;
mod call;
mod console;
mod exec;
mod explain;
mod folder;
mod limits;
mod probe;
mod sandbox;
mod sources;
mod view;
mod warden;

use std::path::PathBuf;

use berth_arch::{Host, Probe};
use oci_spec::runtime::Spec;
use serde::{Deserialize, Serialize};

use self::call::Call;
pub use self::folder::clear_left_over;
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

    /// Where the program is.
    fn program(&self) -> Option<PathBuf> {
        if self.path.is_absolute() {
            return self.path.is_file().then(|| self.path.clone());
        }
        self.path.to_str().and_then(berth_arch::program::find)
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

    /// Asks the runtime for its version and features: two calls of it.
    fn probe(&self, host: &Host) -> Probe<Isolation> {
        probe::probe(&self.name, &self.runtime, host)
    }

    fn create(&self, id: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Box<dyn Sandbox>> {
        if bundle.standalone.is_some() {
            return Err(Error::Unavailable(format!(
                "berth oci: the {} backend makes no containers that another process starts: it is an OCI runtime \
                 itself; call {} in place of berth oci, or use the namespace backend",
                self.name,
                self.runtime.path.display()
            )));
        }
        Ok(Box::new(sandbox::create(self, id, bundle, io)?))
    }

    fn load(&self, id: &ContainerId, saved: &SavedSandbox, spec: Option<&Spec>) -> Result<Box<dyn Sandbox>> {
        Ok(Box::new(sandbox::load(self, id, saved, spec)?))
    }
}

impl External {
    /// A call of the runtime.
    fn call(&self) -> Result<Call> {
        Call::new(&self.name, &self.runtime)
    }
}
