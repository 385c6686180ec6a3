//! External OCI runtimes, as a configuration names them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Stands for all of them.
pub(crate) const NAME: &str = "oci";

/// Runtimes that are looked for on the PATH, in this order.
pub(crate) const KNOWN: &[&str] = &["crun", "runc", "youki", "runsc", "kata-runtime", "runj"];

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
    pub(crate) fn program(&self) -> Option<PathBuf> {
        if self.path.is_absolute() {
            return self.path.is_file().then(|| self.path.clone());
        }
        self.path.to_str().and_then(berth_arch::program::find)
    }
}
