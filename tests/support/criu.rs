//! A criu that works on this kernel: `BERTH_CRIU`, the installed one, or Debian's newest, which is unpacked once and kept
//! beside the build.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

use super::debian::folder;
use super::{Mode, World, find_program, kernel, skip};

const SUITE: &str = "sid";

/// Its path; without one, a reason is printed.
pub(crate) fn criu() -> Option<&'static str> {
    static FOUND: OnceLock<Result<String, String>> = OnceLock::new();
    match FOUND.get_or_init(find) {
        Ok(path) => Some(path),
        Err(reason) => {
            skip(reason);
            None
        }
    }
}

/// A world whose engines know it.
pub(crate) fn world(mode: Mode) -> Option<World> {
    let path = criu()?;
    let world = World::new(Mode::Embedded);
    world.set("BERTH_CRIU", path);
    Some(world.into_mode(mode))
}

fn find() -> Result<String, String> {
    if kernel::profile().is_some() {
        return Err("criu suspends what filters a process, and the older kernel is a filter here".to_owned());
    }
    let named = std::env::var_os("BERTH_CRIU").map(PathBuf::from);
    for path in named.into_iter().chain(find_program("criu")) {
        if check(&path).is_ok() {
            return Ok(path.to_str().ok_or("criu's path is not UTF-8")?.to_owned());
        }
    }
    unpack()
}

fn check(path: &Path) -> Result<(), String> {
    let output = Command::new(path).arg("check").output().map_err(|error| format!("{}: {error}", path.display()))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{} check: {}", path.display(), said.trim())) }
}

/// From the archive that apt knows, if that has the suite.
fn unpack() -> Result<String, String> {
    let folder = folder();
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let lock = File::create(folder.join("criu.lock")).map_err(|error| error.to_string())?;
    flock(&lock, FlockOperation::LockExclusive).map_err(|error| error.to_string())?;
    let (root, program) = (folder.join("criu"), folder.join("criu.sh"));
    if !program.is_file() {
        let tool = find_program("mmdebstrap").ok_or("mmdebstrap is not installed (`ci/setup test` does it)")?;
        let archive = archive()?;
        let _ = fs::remove_dir_all(&root);
        let output = Command::new(tool)
            .args(["--variant=extract", "--quiet", "--include=criu", SUITE])
            .arg(&root)
            .arg(format!("deb [check-valid-until=no] {archive} {SUITE} main"))
            .output()
            .map_err(|error| error.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("mmdebstrap: {}", said.lines().last().unwrap_or_default()));
        }
        let (libraries, loader) = find_loader(&root).ok_or("the unpacked criu has no loader")?;
        let [loader, libraries, criu] = [loader, libraries, root.join("usr/sbin/criu")].map(|path| quoted(&path));
        let text = format!("#!/bin/sh\nexec {loader} --library-path {libraries} {criu} \"$@\"\n");
        // Whole from the moment that it has its name.
        let new = folder.join("criu.sh.new");
        fs::write(&new, text)
            .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(0o755)))
            .and_then(|()| fs::rename(&new, &program))
            .map_err(|error| format!("{}: {error}", program.display()))?;
    }
    check(&program)?;
    Ok(program.to_str().ok_or("the cache's path is not UTF-8")?.to_owned())
}

/// The folder of its libraries, and the program loader in it.
fn find_loader(root: &Path) -> Option<(PathBuf, PathBuf)> {
    fs::read_dir(root.join("usr/lib")).ok()?.flatten().find_map(|entry| {
        let found = fs::read_dir(entry.path()).ok()?.flatten().find(|file| {
            file.file_name().to_str().is_some_and(|name| name.starts_with("ld-linux") || name == "ld64.so.1")
        })?;
        Some((entry.path(), found.path()))
    })
}

fn archive() -> Result<String, String> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/archive");
    let output = Command::new(&program).output().map_err(|error| format!("{}: {error}", program.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// For a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
