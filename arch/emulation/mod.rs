//! Programs for other machines: those that the kernel runs by itself (32-bit ones beside a 64-bit kernel), and those of
//! foreign processors, by QEMU's user emulation.
//!
//! The kernel finds QEMU where it is registered with binfmt_misc. Without that a single program can still be run by
//! starting QEMU with it, as long as it starts no others.

mod binfmt;
mod machine;
mod trial;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::host::Platform;
use crate::{Probe, answers, pretend, program};

pub use binfmt::{Registration, is_mounted, is_open, is_registered, mount, register, registration, unregister};
pub use machine::{HEADER, MACHINES, Machine, of_static_program};

/// How this host runs a machine's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Support {
    /// The kernel does.
    Direct,
    /// The kernel does with this interpreter.
    Registered(Registration),
    /// By starting this static QEMU with the program.
    Interpreter(PathBuf),
}

/// Where ordinary PATHs and packages have QEMU.
const FOLDERS: &[&str] = &["/usr/bin", "/usr/local/bin", "/bin"];

/// The architecture of the host's kernel: its programs need no help, also where berth itself is a 32-bit program on it.
pub fn own() -> &'static str {
    static OWN: LazyLock<String> = LazyLock::new(|| Platform::host().architecture);
    &OWN
}

/// Whether the kernel runs the architecture's programs by itself. Tried once a boot where it works.
pub fn runs_directly(architecture: &str) -> bool {
    if architecture == own() {
        return true;
    }
    let Some(machine) = Machine::find(architecture) else { return false };
    let tried = || match trial::runs(machine, own()) {
        true => Probe::available(String::new()),
        false => Probe::unavailable("its smallest program does not start", ""),
    };
    answers::remembered(&format!("runs-{}", machine.qemu), "", tried).is_available()
}

/// `kept` is a folder with interpreters by QEMU's name for the machine, asked first. Else why not, and what to do.
pub fn support(machine: &Machine, kept: Option<&Path>) -> Result<Support, (String, String)> {
    if machine.architecture == own() {
        return Ok(Support::Direct);
    }
    // Before anything else, as in the kernel.
    if let Some(registration) = registration(machine) {
        return Ok(Support::Registered(registration));
    }
    if runs_directly(machine.architecture) {
        return Ok(Support::Direct);
    }
    interpreter(machine, kept).map(Support::Interpreter)
}

/// The architectures beside this host's own whose programs every container can run: `386, arm64`. Starts processes.
pub fn probe() -> Probe<String> {
    let whole = |machine: &&Machine| {
        machine.architecture != own() && matches!(support(machine, None), Ok(Support::Direct | Support::Registered(_)))
    };
    let names: Vec<_> = MACHINES.iter().filter(whole).map(|machine| machine.architecture).collect();
    match names.as_slice() {
        [] => Probe::unavailable(
            "the kernel runs no 32-bit programs beside its own, and no interpreter is registered with binfmt_misc",
            "`berth emulation install` registers QEMU",
        ),
        names => Probe::available(names.join(", ")),
    }
}

/// A static QEMU for the machine's programs that runs here. Else why not, and what to do.
pub fn interpreter(machine: &Machine, kept: Option<&Path>) -> Result<PathBuf, (String, String)> {
    let names = [format!("qemu-{}-static", machine.qemu), format!("qemu-{}", machine.qemu)];
    let installed = names.iter().flat_map(|name| {
        program::find(name).into_iter().chain(FOLDERS.iter().map(move |folder| Path::new(folder).join(name)))
    });
    let candidates = kept.map(|folder| folder.join(machine.qemu)).into_iter().chain(installed);
    let mut unfit = None;
    for path in candidates.filter(|path| !pretend::without("qemu") && path.is_file()) {
        match of_static_program(&path) {
            Ok(found) if found.architecture == own() => return Ok(path),
            Ok(found) => unfit = Some(format!("{} is a program for {}", path.display(), found.architecture)),
            Err(reason) => unfit = Some(reason),
        }
    }
    let reason = unfit.unwrap_or_else(|| format!("there is no {} on this host", names.join(" and no ")));
    Err((
        format!("no interpreter is registered with the kernel for {} programs, and {reason}", machine.architecture),
        format!(
            "install Debian's package qemu-user-static, or another static QEMU, and run `berth emulation install {}`",
            machine.architecture
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_needs_no_help() {
        let own = Machine::find(own()).unwrap();
        assert_eq!(support(own, None), Ok(Support::Direct));
    }

    #[test]
    fn a_kept_interpreter_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::find("loong64").unwrap();
        std::fs::write(folder.path().join("loongarch64"), "text").unwrap();
        match interpreter(machine, Some(folder.path())) {
            Err((reason, remedy)) => {
                assert!(reason.contains("loong64") && remedy.contains("berth emulation install loong64"), "{reason}");
            }
            Ok(path) => assert!(!path.starts_with(folder.path())),
        }
    }
}
