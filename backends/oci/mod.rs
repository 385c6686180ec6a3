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

use berth_arch::{Host, Probe};
use oci_spec::runtime::Spec;

use self::call::Call;
use self::folder::Folder;
pub use self::folder::clear_left_over;
use crate::runtime::{KNOWN, NAME, Runtime};
use crate::{Backend, Bundle, ContainerId, Error, Isolation, Result, Sandbox, SavedSandbox, Stdio};

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

    fn clear(&self, id: &ContainerId, saved: &SavedSandbox) -> Result<()> {
        crate::cgroup::clear(&saved.cgroups)?;
        saved.folder.as_deref().map_or(Ok(()), |folder| Folder::at(folder).remove(self, id))
    }
}

impl External {
    /// A call of the runtime.
    fn call(&self) -> Result<Call> {
        Call::new(&self.name, &self.runtime)
    }
}
