//! Debian root file systems from Debian's packages, made once and kept in `BERTH_TEST_CACHE` (else beside the build).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

use super::world::World;
use super::{find_program, skip};

/// What one of them is made of. Whoever changes a recipe changes its file's name, so that an older one is not taken for it.
struct Recipe {
    file: &'static str,
    packages: &'static str,
    /// Further arguments of mmdebstrap.
    arguments: &'static [&'static str],
    made: OnceLock<Result<PathBuf, String>>,
}

/// Programs that need a terminal, and redis.
static DEBIAN: Recipe = Recipe {
    file: "debian-12",
    packages: "procps,vim-tiny,redis-server,redis-tools,libcap2-bin,attr,ncurses-bin,bsdextrautils",
    arguments: &[],
    made: OnceLock::new(),
};

/// Programs that serve on networks. PostgreSQL's compiler of queries is left out, which is half of all and is loaded for
/// dear queries only; so is the cluster that its package makes.
static SERVERS: Recipe = Recipe {
    file: "debian-12-servers",
    packages: "nginx-light,dnsmasq-base,postgresql-15",
    arguments: &[
        "--dpkgopt=path-exclude=/usr/lib/*/libLLVM*",
        "--dpkgopt=path-exclude=/usr/lib/*/libz3*",
        "--dpkgopt=path-exclude=/usr/lib/postgresql/*/lib/bitcode/*",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/i18n/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--customize-hook=rm -rf \"$1\"/var/lib/postgresql/15",
    ],
    made: OnceLock::new(),
};

fn folder() -> PathBuf {
    let named = std::env::var_os("BERTH_TEST_CACHE").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cache"))
}

impl Recipe {
    /// The tarball, or why there is none.
    fn tarball(&self) -> Result<&Path, &str> {
        let made = self.made.get_or_init(|| self.make());
        made.as_deref().map_err(String::as_str)
    }

    fn make(&self) -> Result<PathBuf, String> {
        let folder = folder();
        let made = folder.join(format!("{}.tar", self.file));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let lock = File::create(folder.join("lock")).map_err(|error| error.to_string())?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| error.to_string())?;
        if made.is_file() {
            return Ok(made);
        }
        let Some(program) = find_program("mmdebstrap") else {
            return Err("mmdebstrap is not installed (`ci/setup test` does it)".to_owned());
        };
        let partial = folder.join(format!("{}.partial.tar", self.file));
        let status = Command::new(program)
            .args(["--variant=minbase", "--quiet"])
            .arg(format!("--include={}", self.packages))
            .args(self.arguments)
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
    }

    fn import(&self, world: &World, image: &str) -> bool {
        match self.tarball() {
            Ok(path) => {
                world.berth(&["import", path.to_str().unwrap(), image]).ok();
                true
            }
            Err(reason) => {
                skip(reason);
                false
            }
        }
    }
}

impl World {
    /// Imports Debian as `debian`. `false`, and a reason printed, when it cannot be had.
    pub(crate) fn import_debian(&self) -> bool {
        DEBIAN.import(self, "debian")
    }

    /// Imports Debian with nginx, dnsmasq and PostgreSQL as `servers`, likewise.
    pub(crate) fn import_servers(&self) -> bool {
        SERVERS.import(self, "servers")
    }
}
