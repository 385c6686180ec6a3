//! `/berth/emulation`: whose programs this host runs, and by what. `GET` lists [`Emulator`]s, `POST` takes an
//! [`Installation`] and answers with those that are installed then, `DELETE` (query `architectures`, separated by
//! commas; none: all) with the names of those that were.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Emulator {
    /// As the OCI image specification names it: `arm64`.
    pub architecture: String,
    pub how: How,
    /// QEMU on the host.
    pub interpreter: Option<String>,
    /// In binfmt_misc.
    pub registration: Option<String>,
    /// Whether the registration's interpreter was opened when it was registered; otherwise each container is given it.
    pub fixed: bool,
    /// By `berth emulation install`: registered again after a boot, when it is needed.
    pub installed: bool,
    pub reason: Option<String>,
    pub remedy: Option<String>,
}

/// What runs an architecture's programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The processor: it is this host's.
    Native,
    /// The kernel, beside its own.
    Kernel,
    /// An interpreter that is registered with the kernel.
    Registered,
    /// An interpreter, which starts one program and not those that it starts.
    Interpreter,
    #[default]
    Nothing,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
pub struct Installation {
    /// None: all that there is a QEMU for.
    pub architectures: Vec<String>,
    /// A static QEMU on the engine's host, for one architecture.
    pub file: Option<String>,
    /// An image that has static QEMUs.
    pub image: Option<String>,
}
