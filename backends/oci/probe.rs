//! What a runtime can do on this host: what it says of itself (runtime-spec, features.md) and what the kernel has. Runtimes
//! that have no `features` are known by their name and version.

use std::path::Path;

use berth_arch::kernel::cgroup::{Cgroups, Layout, Version};
use berth_arch::{Host, Probe, answers};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Runtime;
use super::call::{BRIEF, Call};
use crate::Isolation;
use crate::namespace::{controllers, kernel_has};

const CAP_SYS_ADMIN: u64 = 1 << 21;

/// Those whose containers run under a kernel of their own.
const MACHINES: &[(&str, &str)] = &[
    ("runsc", "the exit codes of its programs are told by its own verb wait alone"),
    ("kata", "since version 2 it is driven by containerd's shim protocol and not by OCI's command line"),
];

/// What it knows of the specification.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Features {
    /// `None`: it does not say.
    said: Option<Value>,
    /// The first lines of its version.
    version: String,
}

impl Features {
    /// The reason why it is no runtime to use, or what it knows. The program is asked once a boot, until it changes.
    pub(super) fn ask(name: &str, runtime: &Runtime) -> Result<Self, (String, String)> {
        let Some(program) = runtime.program() else { return Self::ask_now(name, runtime) };
        let called = format!("runtime {} {}", program.display(), runtime.args.join(" "));
        let found = answers::remembered(&called, &answers::identity(&program), || match Self::ask_now(name, runtime) {
            Ok(features) => Probe::available(serde_json::to_string(&features).unwrap_or_default()),
            Err((reason, hint)) => Probe::unavailable(reason, hint),
        });
        match found {
            Probe::Available { detail } => match serde_json::from_str(&detail) {
                Ok(features) => Ok(features),
                Err(_) => Self::ask_now(name, runtime),
            },
            Probe::Unavailable { reason, hint } => Err((reason, hint.unwrap_or_default())),
        }
    }

    fn ask_now(name: &str, runtime: &Runtime) -> Result<Self, (String, String)> {
        let path = runtime.path.display();
        let Ok(call) = Call::new(name, runtime) else {
            return Err((
                format!("{path} is not installed"),
                format!("install it, or correct runtimes.{name}.path in berth.toml"),
            ));
        };
        let ask = |verb: &str| {
            let mut call = call.clone();
            call.push(verb);
            call.run(BRIEF).map_err(|error| error.to_string())
        };
        let remedy = || format!("try {path} --version; correct it, or runtimes.{name} in berth.toml");
        let answer = ask("--version").map_err(|reason| (reason, remedy()))?;
        if !answer.status.success() {
            return Err((format!("{path} --version does not succeed: {}", answer.reason()), remedy()));
        }
        let version: String = answer.output.chars().take(500).collect();
        let is_runtime = version.lines().any(|line| line.starts_with("spec:"))
            || version.lines().next().is_some_and(|line| line.to_lowercase().contains("version"));
        if !is_runtime {
            let said: String = version.lines().next().unwrap_or_default().chars().take(60).collect();
            return Err((format!("{path} --version says {said:?}, which is no OCI runtime's version"), remedy()));
        }
        let said = ask("features").ok().filter(|answer| answer.status.success());
        let said = said.and_then(|answer| serde_json::from_str(&answer.output).ok()).filter(Value::is_object);
        Ok(Self { said, version })
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        self.said.as_ref()?.pointer(pointer)
    }

    fn lists(&self, pointer: &str, word: &str) -> Option<bool> {
        let list = self.at(pointer)?.as_array()?;
        Some(list.iter().any(|one| one.as_str() == Some(word)))
    }

    /// By the specification's names: `mount`, `network`, ...
    pub(super) fn has_namespace(&self, name: &str) -> bool {
        self.lists("/linux/namespaces", name).unwrap_or(name != "time")
    }

    pub(super) fn has_seccomp(&self) -> bool {
        let built_with = || self.version.contains("+SECCOMP") || self.version.contains("libseccomp");
        self.at("/linux/seccomp/enabled").and_then(Value::as_bool).unwrap_or_else(built_with)
    }

    /// `None`: it does not say.
    pub(super) fn knows_mount_option(&self, word: &str) -> Option<bool> {
        self.lists("/mountOptions", word)
    }

    pub(super) fn has_idmap(&self) -> bool {
        self.at("/linux/mountExtensions/idmap/enabled").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The newest version of the specification that it takes; some refuse a newer one.
    pub(super) fn newest(&self) -> Option<&str> {
        let line = || self.version.lines().find_map(|line| line.strip_prefix("spec:")).map(str::trim);
        self.at("/ociVersionMax").and_then(Value::as_str).or_else(line)
    }

    fn has_cgroups(&self, version: &str) -> bool {
        self.at(&format!("/linux/cgroup/{version}")).and_then(Value::as_bool).unwrap_or(true)
    }
}

/// See [`crate::Backend::probe`].
pub(super) fn probe(name: &str, runtime: &Runtime, host: &Host) -> Probe<Isolation> {
    if host.user.effective_capabilities & CAP_SYS_ADMIN == 0 {
        return Probe::unavailable(
            "external runtimes are called as root, which this user is not",
            "run berth as root, or use the namespace backend",
        );
    }
    let features = match Features::ask(name, runtime) {
        Ok(features) => features,
        Err((reason, hint)) => return Probe::unavailable(reason, hint),
    };
    let first = features.version.lines().next().unwrap_or_default();
    if let Some((machine, reason)) = MACHINES.iter().find(|(machine, _)| first.starts_with(machine)) {
        return Probe::unavailable(format!("{machine} is not supported: {reason}"), "use crun, runc or youki");
    }
    if first.starts_with("crun ") && !Path::new("/proc/self/setgroups").exists() {
        return Probe::unavailable(
            "crun opens /proc/self/setgroups, which this kernel does not have (Linux 3.19)",
            "use the namespace backend, or another runtime",
        );
    }
    let groups = Cgroups::detect().unwrap_or(Cgroups { layout: Layout::None, hierarchies: vec![], unmounted: vec![] });
    let (version, seen) = match groups.layout {
        Layout::None => {
            return Probe::unavailable(
                "external runtimes need control groups, and none are mounted",
                "mount /sys/fs/cgroup, or use the namespace backend",
            );
        }
        Layout::V2 => ("v2", groups),
        Layout::V1 | Layout::Hybrid => ("v1", v1_of(groups)),
    };
    if !features.has_cgroups(version) {
        return Probe::unavailable(
            format!("{first} is built without support for control groups {version}, which this host has"),
            "use another runtime, or the namespace backend",
        );
    }
    let has = |kind: &str, name: &str| kernel_has(kind) && features.has_namespace(name);
    let controllers = controllers(&seen);
    Probe::available(Isolation {
        pid: has("pid", "pid"),
        mount: has("mnt", "mount"),
        network: has("net", "network"),
        uts: has("uts", "uts"),
        ipc: has("ipc", "ipc"),
        // See `adapt.rs`.
        user: false,
        cgroup_namespace: has("cgroup", "cgroup"),
        pause: controllers.iter().any(|name| name == "freezer"),
        checkpoint: false,
        stats: !controllers.is_empty(),
        controllers,
        capabilities: true,
        no_new_privileges: host.kernel.version >= (3, 5),
        seccomp: berth_arch::kernel::seccomp::filters().is_available() && features.has_seccomp(),
    })
}

/// The controllers that runtimes can use here.
pub(super) fn controllers_here() -> Vec<String> {
    match Cgroups::detect() {
        Ok(groups) if groups.layout == Layout::V2 => controllers(&groups),
        Ok(groups) => controllers(&v1_of(groups)),
        Err(_) => Vec::new(),
    }
}

/// What runtimes see of a hybrid layout (`view.rs`).
fn v1_of(groups: Cgroups) -> Cgroups {
    let hierarchies = groups.hierarchies.into_iter().filter(|hierarchy| hierarchy.version == Version::V1).collect();
    Cgroups { layout: Layout::V1, hierarchies, ..groups }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Runtime {
        Runtime { path: "/bin/sh".into(), args: vec!["-c".into(), text.into(), "runtime".into()] }
    }

    #[test]
    fn what_is_no_runtime_is_said_with_the_remedy() {
        let reason = |runtime: &Runtime| {
            let (reason, remedy) = Features::ask("mine", runtime).unwrap_err();
            assert!(remedy.contains("runtimes.mine"), "{remedy}");
            reason
        };
        assert_eq!(reason(&Runtime::on_the_path("no-such-runtime")), "no-such-runtime is not installed");
        assert_eq!(reason(&script("echo gone >&2; exit 1")), "/bin/sh --version does not succeed: gone");
        let garbage = reason(&script("printf 'garbage\\377'"));
        assert!(garbage.contains("no OCI runtime's version"), "{garbage}");
    }

    #[test]
    fn features_are_what_the_runtime_says_or_else_what_its_version_does() {
        let said = r#"{"ociVersionMax":"1.1.0","mountOptions":["ro"],"linux":{"namespaces":["pid"],"seccomp":{"enabled":true}}}"#;
        let runtime = script(&format!("case $1 in --version) echo x version 1;; *) echo '{said}';; esac"));
        let features = Features::ask("mine", &runtime).unwrap();
        assert!(features.has_namespace("pid") && !features.has_namespace("mount") && features.has_seccomp());
        assert_eq!((features.knows_mount_option("rro"), features.newest()), (Some(false), Some("1.1.0")));
        let runtime =
            script("case $1 in --version) echo crun version 1; echo spec: 1.0.0; echo +SECCOMP;; *) exit 1;; esac");
        let features = Features::ask("mine", &runtime).unwrap();
        assert!(features.has_namespace("mount") && !features.has_namespace("time") && features.has_seccomp());
        assert_eq!((features.knows_mount_option("rro"), features.newest()), (None, Some("1.0.0")));
    }
}
