//! criu itself: where it is, and whether it works on this kernel.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use berth_arch::host::User;
use berth_arch::{Probe, pretend, program};

use super::rpc::{self, Kind};
use crate::{Error, Result};

const NAME: &str = "criu";
const REMEDY: &str = "install a criu that knows this kernel, or name one by `criu = \"/path\"` in berth.toml";

/// `configured`, or the one that is installed.
pub(super) fn find(configured: Option<&Path>) -> Result<PathBuf> {
    match missing(configured) {
        Ok(path) => Ok(path),
        Err((reason, hint)) => Err(Error::Unavailable(format!("checkpoint and restore: {reason}; {hint}"))),
    }
}

/// Whether criu can do its work here, by its own trial (`criu check`, some tenths of a second). The detail is its version.
pub fn probe(configured: Option<&Path>) -> Probe<String> {
    match missing(configured).and_then(|path| check(&path).map(|()| path)) {
        Ok(path) => {
            Probe::available(version(&path).map_or_else(String::new, |(major, minor)| format!("{major}.{minor}")))
        }
        Err((reason, hint)) => Probe::unavailable(reason, hint),
    }
}

/// After something has gone wrong: whether nothing else was to be expected.
pub(super) fn explain(path: &Path) -> Option<Error> {
    let (reason, hint) = check(path).err()?;
    Some(Error::Unavailable(format!("checkpoint and restore: {reason}; {hint}")))
}

type Reason = (String, &'static str);

fn missing(configured: Option<&Path>) -> std::result::Result<PathBuf, Reason> {
    if pretend::without(NAME) {
        return Err(("criu is pretended to be missing".to_owned(), "take it out of BERTH_PRETEND_WITHOUT"));
    }
    if User::detect().in_user_namespace {
        return Err((
            "criu cannot put together what it has taken apart without root's rights on the host".to_owned(),
            "run the engine as root",
        ));
    }
    match configured {
        Some(path) if path.is_file() => Ok(path.to_owned()),
        Some(path) => Err((format!("there is no {}", path.display()), "correct `criu` in berth.toml")),
        None => program::find(NAME).ok_or_else(|| {
            ("criu is not installed".to_owned(), "install it, or name it by `criu = \"/path\"` in berth.toml")
        }),
    }
}

fn check(path: &Path) -> std::result::Result<(), Reason> {
    let mut command = Command::new(path);
    let output = command.arg("check").stdin(Stdio::null()).output();
    let output = output.map_err(|error| (format!("run {}: {error}", path.display()), REMEDY))?;
    if output.status.success() {
        return Ok(());
    }
    // The first error is the reason of the others; what comes before it are warnings.
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let reason = said.lines().find_map(super::log::reason).unwrap_or_else(|| program::first_line(&output.stderr));
    Err((format!("{} check: {reason}", path.display()), REMEDY))
}

/// Major and minor.
pub(super) fn version(path: &Path) -> Option<(u64, u64)> {
    rpc::ask(path, Kind::Version, None, &mut |_| Ok(())).ok()?.version
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_and_not_there_is_said() {
        let said = find(Some(Path::new("/no/criu"))).unwrap_err().to_string();
        assert!(said.contains("/no/criu") || said.contains("root"), "{said}");
        assert!(probe(Some(Path::new("/bin/false"))).reason().is_some());
    }
}
