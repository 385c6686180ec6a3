//! What runtimes say of a failure, as berth's errors: their words differ, and so do their exit codes.

use std::io;
use std::path::Path;

use oci_spec::runtime::{Process, Spec};
use rustix::io::Errno;

use crate::Error;
use crate::words::exec_error;

/// For a container that could not be made or started. `step` is what was called.
pub(super) fn container(step: &str, said: &str, spec: &Spec) -> Error {
    if let Some(error) = spec.process().as_ref().and_then(|process| program(said, process)) {
        return error;
    }
    if let Some(setting) = sysctl(said, spec) {
        return failed(setting, said);
    }
    match said.contains("mount").then(|| mounted(said, spec)).flatten() {
        Some(mount) => failed(mount, said),
        None => failed(step.to_owned(), said),
    }
}

/// For a further program.
pub(super) fn process(step: &str, said: &str, process: &Process) -> Error {
    program(said, process).unwrap_or_else(|| failed(step.to_owned(), said))
}

fn failed(step: String, said: &str) -> Error {
    Error::Setup { step, source: io::Error::other(said.to_owned()) }
}

/// The program or its working directory.
fn program(said: &str, process: &Process) -> Option<Error> {
    let lower = said.to_lowercase();
    let has = |word: &str| lower.contains(word);
    let words = process.args().as_ref()?;
    let name = words.first()?;
    let directory = process.cwd();
    let made = format!("mkdir {}:", directory.display());
    if has("chdir") || has("cwd") || has("working directory") || directory != Path::new("/") && said.contains(&made) {
        return Some(failed(format!("enter the working directory {}", directory.display()), said));
    }
    // runc and Go's exec, crun, youki.
    let about = said.contains(&format!("exec: {name:?}: ")) || has("executable") || has("exec container process");
    let reasons = [
        ("not found", Errno::NOENT),
        ("no such file or directory", Errno::NOENT),
        ("permission denied", Errno::ACCESS),
        ("operation not permitted", Errno::ACCESS),
        ("is a directory", Errno::ACCESS),
        ("exec format error", Errno::NOEXEC),
        ("not a directory", Errno::NOTDIR),
        ("argument list too long", Errno::TOOBIG),
    ];
    let (_, errno) = reasons.into_iter().find(|(words, _)| about && has(words))?;
    Some(exec_error(name, errno))
}

fn sysctl(said: &str, spec: &Spec) -> Option<String> {
    let listed = spec.linux().as_ref()?.sysctl().as_ref()?;
    listed.iter().find_map(|(name, value)| {
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        let path = format!("/proc/sys/{path}");
        said.contains(&path).then(|| format!("write {value:?} to {path}"))
    })
}

/// The mount whose destination is quoted: as the specification has it, or without the first slash.
fn mounted(said: &str, spec: &Spec) -> Option<String> {
    let quoted = |destination: &str| {
        let bare = destination.trim_start_matches('/');
        [
            format!("at {destination:?}"),
            format!("to `{bare}`"),
            format!("`{destination}`"),
            format!("to {destination:?}"),
        ]
        .iter()
        .any(|words| said.contains(words))
    };
    let mount = spec.mounts().iter().flatten().find(|mount| mount.destination().to_str().is_some_and(quoted))?;
    let kind = mount.typ().as_deref().unwrap_or("bind");
    Some(format!("mount {kind} on {}", mount.destination().display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(program: &str) -> Spec {
        let spec = serde_json::json!({
            "ociVersion": "1.0.2",
            "root": { "path": "rootfs" },
            "process": { "args": [program], "cwd": "/work", "user": { "uid": 0, "gid": 0 } },
            "mounts": [{ "destination": "/data", "type": "nofs", "source": "x" }],
            "linux": { "sysctl": { "net.nothing": "1" } }
        });
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn the_words_of_crun_and_runc_come_out_alike() {
        let missing = "exec: \"nothing\": executable file not found in $PATH";
        let at_path = "exec: \"/nothing\": stat /nothing: no such file or directory";
        let denied = "exec: \"/etc\": permission denied";
        let runc = |text: &str| format!("runc create failed: unable to start container process: {text}");
        for (program, said, expected) in [
            ("nothing", runc(missing), missing),
            ("nothing", "executable file `nothing` not found in $PATH: No such file or directory".into(), missing),
            ("/nothing", runc(at_path), at_path),
            ("/nothing", "executable file `/nothing` not found in $PATH: No such file or directory".into(), at_path),
            ("/etc", runc(denied), denied),
            ("/etc", runc("exec: \"/etc\": is a directory"), denied),
            ("/etc", "open executable: Operation not permitted".into(), denied),
        ] {
            assert_eq!(container("crun create", &said, &spec(program)).to_string(), expected, "{said}");
        }
        for (said, expected) in [
            ("chdir `/work`: No such file or directory", "enter the working directory /work: "),
            ("error during container init: mkdir /work: not a directory", "enter the working directory /work: "),
            ("mount `x` to `data`: No such device", "mount nofs on /data: "),
            ("error mounting \"x\" to rootfs at \"/data\": no such device", "mount nofs on /data: "),
            ("open /proc/sys/net/nothing: No such file or directory", "write \"1\" to /proc/sys/net/nothing: "),
            ("something else: no such file or directory", "crun create: something else"),
        ] {
            let error = container("crun create", said, &spec("true")).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
