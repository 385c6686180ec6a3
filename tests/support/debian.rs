//! A Debian root file system from Debian's packages, made once and kept in `BERTH_TEST_CACHE` (else beside the build).

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

use super::world::World;
use super::{find_program, skip};

const PACKAGES: &str = "procps,vim-tiny,redis-server,redis-tools,libcap2-bin,attr,ncurses-bin,bsdextrautils";

fn folder() -> PathBuf {
    let named = std::env::var_os("BERTH_TEST_CACHE").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cache"))
}

/// The tarball, or why there is none.
fn tarball() -> &'static Result<PathBuf, String> {
    static TARBALL: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    TARBALL.get_or_init(|| {
        let folder = folder();
        let made = folder.join("debian-12.tar");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let lock = File::create(folder.join("lock")).map_err(|error| error.to_string())?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| error.to_string())?;
        if made.is_file() {
            return Ok(made);
        }
        let Some(program) = find_program("mmdebstrap") else {
            return Err("mmdebstrap is not installed (`ci/setup test` does it)".to_owned());
        };
        let partial = folder.join("debian-12.partial.tar");
        let status = Command::new(program)
            .args(["--variant=minbase", "--quiet"])
            .arg(format!("--include={PACKAGES}"))
            .arg("bookworm")
            .arg(&partial)
            .output()
            .map_err(|error| error.to_string())?;
        if !status.status.success() {
            let said = String::from_utf8_lossy(&status.stderr);
            return Err(format!("mmdebstrap: {}", said.lines().last().unwrap_or_default()));
        }
        fs::rename(&partial, &made).map_err(|error| error.to_string())?;
        Ok(made)
    })
}

impl World {
    /// Imports Debian as `debian`. `false`, and a reason printed, when it cannot be had.
    pub(crate) fn import_debian(&self) -> bool {
        match tarball() {
            Ok(path) => {
                self.berth(&["import", path.to_str().unwrap(), "debian"]).ok();
                true
            }
            Err(reason) => {
                skip(reason);
                false
            }
        }
    }
}
