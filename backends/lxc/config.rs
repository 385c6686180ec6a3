//! What a specification comes to in LXC's configuration, for the version that is installed. Pure: text in, text out.
//!
//! LXC makes the namespaces and the control groups, maps the users and names the host; the root, its mounts, the limits and
//! everything about the program are made by the same code as for the namespace backend's containers. So the keys are few,
//! and those that changed their names with LXC 2.1 are named here once.

use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::{Error, Result};

/// Of LXC: the first two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u32, pub(super) u32);

impl Version {
    /// From what `lxc-start --version` prints: `5.0.2`, `2.1.0-rc1`, `4.0.0-devel`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().split(['.', '-', '~', '+']).map(|part| part.parse::<u32>().ok());
        Some(Self(numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }

    /// Whether it starts containers in the background unless told otherwise.
    pub(super) fn needs_foreground(self) -> bool {
        self >= Self(1, 1)
    }

    fn has_new_names(self) -> bool {
        self >= Self(2, 1)
    }

    /// `lxc.namespace.clone`, without which it makes all that it knows; and `--share-pid`.
    fn lists_namespaces(self) -> bool {
        self >= Self(3, 0)
    }

    /// Whether it makes cgroup namespaces.
    pub(super) fn makes_cgroup_namespaces(self) -> bool {
        self >= Self(2, 0)
    }

    /// All of its groups in one place that is the container's own. From 2.1 on it has but one, in a place that is given.
    fn places_groups_together(self) -> bool {
        self >= Self(3, 1)
    }

    /// Each of its groups at a place of its own.
    fn places_each_group(self) -> bool {
        self >= Self(5, 0)
    }

    fn key(self, new: &'static str) -> &'static str {
        let old = OLD_NAMES.iter().find(|(name, _)| *name == new && !self.has_new_names());
        old.map_or(new, |(_, old)| old)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Names since 2.1 and before (lxc.container.conf(5), doc/lxc-update-config).
const OLD_NAMES: &[(&str, &str)] = &[
    ("lxc.uts.name", "lxc.utsname"),
    ("lxc.rootfs.path", "lxc.rootfs"),
    ("lxc.tty.max", "lxc.tty"),
    ("lxc.pty.max", "lxc.pts"),
    ("lxc.console.path", "lxc.console"),
    ("lxc.net.0.type", "lxc.network.type"),
    ("lxc.net.0.flags", "lxc.network.flags"),
    ("lxc.idmap", "lxc.id_map"),
    ("lxc.apparmor.profile", "lxc.aa_profile"),
];

/// What of this host the configuration depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) version: Version,
    /// Where the container's first process starts.
    pub(super) porch: &'a Path,
    /// The control group's place below each hierarchy's top.
    pub(super) group: &'a Path,
    /// Whether that is where it is put without being asked.
    pub(super) usual_group: bool,
    /// Whether the kernel confines by AppArmor.
    pub(super) apparmor: bool,
    /// A process in the host's own namespaces.
    pub(super) host_process: i32,
}

/// A configuration, and what `lxc-start` is told beside it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Configuration {
    pub(super) text: String,
    pub(super) options: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Configuration {
    /// `Unavailable` names what LXC, or this version of it, has no words for.
    pub(super) fn new(spec: &Spec, surroundings: Surroundings<'_>) -> Result<Self> {
        let mut made = Self::default();
        let version = surroundings.version;
        refuse(spec)?;
        // Older ones do not take the kind of storage off again.
        let kind = if version.has_new_names() { "dir:" } else { "" };
        made.line("lxc.rootfs.path", &format!("{kind}{}", text_of(surroundings.porch)?), version)?;
        // What the first process needs to be found and to mount by descriptors; the groups, and what a user namespace has to see
        // whole before the kernel lets it mount its own. All names on the porch are ours.
        made.line("lxc.mount.auto", "proc:rw", version)?;
        made.line("lxc.mount.entry", "/sys sys none rbind 0 0", version)?;
        // Its streams are its own; LXC's devices and terminals are for systems.
        for (key, value) in
            [("lxc.autodev", "0"), ("lxc.tty.max", "0"), ("lxc.pty.max", "0"), ("lxc.console.path", "none")]
        {
            made.line(key, value, version)?;
        }
        if let Some(name) = spec.hostname().as_deref().filter(|name| !name.is_empty()) {
            made.line("lxc.uts.name", name, version)?;
        }
        if surroundings.apparmor {
            // The program's profile is set when it is executed; LXC's own would forbid what has to be done before.
            made.line("lxc.apparmor.profile", "unconfined", version)?;
        }
        made.namespaces(spec, surroundings)?;
        made.mappings(spec, version)?;
        made.groups(surroundings)?;
        Ok(made)
    }

    fn line(&mut self, key: &'static str, value: &str, version: Version) -> Result<()> {
        // Blanks around a value and quotes are taken off, and an empty value clears the key.
        let plain = value.trim() == value && !value.starts_with(['"', '\'']) && !value.is_empty();
        if !plain || value.chars().any(char::is_control) {
            return Err(Error::InvalidArgument(format!("{key} {value:?}: LXC's configuration cannot hold that")));
        }
        self.text += &format!("{} = {value}\n", version.key(key));
        Ok(())
    }

    fn namespaces(&mut self, spec: &Spec, surroundings: Surroundings<'_>) -> Result<()> {
        let version = surroundings.version;
        let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        let find = |kind| listed.into_iter().flatten().find(|one| one.typ() == kind);
        let mut new = vec!["mnt"];
        for (kind, name, word) in SHARED {
            match find(*kind).map(|found| found.path()) {
                Some(None) => new.push(*name),
                Some(Some(path)) => self.share(name, word, path, version)?,
                None if *kind == LinuxNamespaceType::Network || version.lists_namespaces() => {}
                None if *kind == LinuxNamespaceType::Pid => return Err(without_share(word, version)),
                None => self.options.push(format!("--share-{name}={}", surroundings.host_process)),
            }
        }
        match find(LinuxNamespaceType::Network).map(|found| found.path()) {
            Some(None) => self.line("lxc.net.0.type", "empty", version)?,
            // Shared by the option.
            Some(Some(_)) => {}
            None => self.line("lxc.net.0.type", "none", version)?,
        }
        match find(LinuxNamespaceType::Cgroup) {
            Some(_) => new.push("cgroup"),
            None if !version.lists_namespaces() && version.makes_cgroup_namespaces() => {
                self.warnings.push(format!(
                    "the container has a cgroup namespace of its own: LXC {version} makes one whenever it can"
                ));
            }
            None => {}
        }
        if find(LinuxNamespaceType::User).is_some() {
            new.push("user");
        }
        if version.lists_namespaces() {
            self.line("lxc.namespace.clone", &new.join(" "), version)?;
        }
        Ok(())
    }

    /// Another process's namespace, by the process: every version takes that.
    fn share(&mut self, name: &str, word: &str, path: &Path, version: Version) -> Result<()> {
        if name == "pid" && !version.lists_namespaces() {
            return Err(without_share(word, version));
        }
        let process = path.to_str().and_then(|path| path.strip_prefix("/proc/")?.strip_suffix(&format!("/ns/{name}")));
        let process = process.filter(|process| process.parse::<u32>().is_ok());
        let target = match process {
            Some(process) => process.to_owned(),
            None if version.lists_namespaces() => text_of(path)?.to_owned(),
            None => {
                return Err(Error::Unavailable(format!(
                    "the lxc backend cannot join the {word} namespace {}: LXC {version} joins those of processes only; \
                     name /proc/PID/ns/{name}, or use LXC 3.0 or newer",
                    path.display()
                )));
            }
        };
        self.options.push(format!("--share-{name}={target}"));
        Ok(())
    }

    fn mappings(&mut self, spec: &Spec, version: Version) -> Result<()> {
        let linux = spec.linux().as_ref();
        let listed = linux.and_then(|linux| linux.namespaces().as_ref());
        let Some(user) = listed.into_iter().flatten().find(|one| one.typ() == LinuxNamespaceType::User) else {
            return Ok(());
        };
        if user.path().is_some() {
            return Err(Error::Unavailable(
                "the lxc backend cannot join another container's user namespace: LXC has no option for it; \
                 give the container mappings of its own, or use the namespace backend"
                    .into(),
            ));
        }
        let users = linux.and_then(|linux| linux.uid_mappings().as_ref());
        let groups = linux.and_then(|linux| linux.gid_mappings().as_ref());
        for (kind, mappings) in [("u", users), ("g", groups)] {
            for one in mappings.into_iter().flatten() {
                let value = format!("{kind} {} {} {}", one.container_id(), one.host_id(), one.size());
                self.line("lxc.idmap", &value, version)?;
            }
        }
        Ok(())
    }

    /// The group's place, so that it is found again by it. What LXC keeps beside it has names that begin like it.
    fn groups(&mut self, surroundings: Surroundings<'_>) -> Result<()> {
        let version = surroundings.version;
        let group = text_of(surroundings.group)?;
        if version.places_each_group() {
            self.line("lxc.cgroup.dir.container", group, version)?;
            self.line("lxc.cgroup.dir.monitor", &format!("{group}{MONITOR}"), version)?;
            return self.line("lxc.cgroup.dir.monitor.pivot", &format!("{group}{PIVOT}"), version);
        }
        if version.places_groups_together() {
            return self.line("lxc.cgroup.dir", group, version);
        }
        // The container's name is the last part by itself.
        if version.has_new_names()
            && let Some(parent) = surroundings.group.parent().filter(|parent| !parent.as_os_str().is_empty())
        {
            return self.line("lxc.cgroup.dir", text_of(parent)?, version);
        }
        if !surroundings.usual_group {
            return Err(Error::Unavailable(format!(
                "--cgroup-parent: the lxc backend cannot do that: LXC {version} puts containers below lxc/; \
                 leave the option out, or use LXC 2.1 or newer"
            )));
        }
        Ok(())
    }
}

/// Added to the group's name for the ones of `lxc-start` itself.
pub(super) const MONITOR: &str = ".monitor";
pub(super) const PIVOT: &str = ".pivot";

/// Namespaces that may be another process's: LXC's name of each, and the user's.
const SHARED: &[(LinuxNamespaceType, &str, &str)] = &[
    (LinuxNamespaceType::Network, "net", "network"),
    (LinuxNamespaceType::Ipc, "ipc", "ipc"),
    (LinuxNamespaceType::Uts, "uts", "uts"),
    (LinuxNamespaceType::Pid, "pid", "pid"),
];

fn without_share(word: &str, version: Version) -> Error {
    Error::Unavailable(format!(
        "the lxc backend cannot let a container be in the {word} namespace of the host or another container: \
         LXC {version} always makes a new one; leave the option --{word} out, or use LXC 3.0 or newer"
    ))
}

fn text_of(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::InvalidArgument(format!("path {}: LXC's configuration takes text in UTF-8 only", path.display()))
    })
}

/// What no version can do.
fn refuse(spec: &Spec) -> Result<()> {
    let refuse = |what: &str, reason: &str| {
        Err(Error::Unavailable(format!(
            "the lxc backend cannot do {what}: {reason}; leave it out, or use the namespace backend"
        )))
    };
    let linux = spec.linux().as_ref();
    let listed = linux.and_then(|linux| linux.namespaces().as_ref());
    for one in listed.into_iter().flatten() {
        match (one.typ(), one.path()) {
            (LinuxNamespaceType::Time, _) => return refuse("time namespaces", "only some versions of LXC know them"),
            (LinuxNamespaceType::Mount | LinuxNamespaceType::Cgroup, Some(_)) => {
                return refuse("mount or cgroup namespaces of others", "LXC makes each container's own");
            }
            _ => {}
        }
    }
    let shared = |word: &str| matches!(word, "shared" | "rshared");
    let propagation = linux.and_then(|linux| linux.rootfs_propagation().as_deref());
    let options = |mount: &oci_spec::runtime::Mount| mount.options().iter().flatten().any(|word| shared(word));
    if propagation.is_some_and(shared) || spec.mounts().iter().flatten().any(options) {
        return refuse("shared propagation of mounts", "LXC cuts a container's mounts off from the host's");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(change: impl Fn(&mut Value)) -> Spec {
        let mut value = json!({
            "ociVersion": "1.0.2",
            "hostname": "berthed",
            "linux": {
                "namespaces": [
                    { "type": "mount" }, { "type": "network" }, { "type": "uts" }, { "type": "pid" },
                    { "type": "ipc" }, { "type": "cgroup" }
                ]
            }
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    fn with(version: Version) -> Surroundings<'static> {
        Surroundings {
            version,
            porch: Path::new("/run/berth/rootfs"),
            group: Path::new("berth/abc"),
            usual_group: true,
            apparmor: true,
            host_process: 42,
        }
    }

    fn without(value: &mut Value, kind: &str) {
        value["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != kind);
    }

    fn mapped(value: &mut Value) {
        value["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        value["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        value["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": 200_000, "size": 1 }]);
    }

    fn refusal(spec: &Spec, version: Version) -> String {
        Configuration::new(spec, with(version)).unwrap_err().to_string()
    }

    #[test]
    fn a_version_is_read_as_every_one_says_it() {
        for (text, version) in [
            ("1.0.11\n", Version(1, 0)),
            ("2.1.0-rc1", Version(2, 1)),
            ("4.0.0-devel", Version(4, 0)),
            ("7.0.0", Version(7, 0)),
            ("6", Version(6, 0)),
        ] {
            assert_eq!(Version::parse(text), Some(version), "{text}");
        }
        assert_eq!(Version::parse("lxc"), None);
        assert!(Version(1, 1).needs_foreground() && !Version(1, 0).needs_foreground());
    }

    #[test]
    fn version_1_has_the_old_names() {
        let made = Configuration::new(&spec(mapped), with(Version(1, 0))).unwrap();
        assert_eq!(
            made.text,
            "lxc.rootfs = /run/berth/rootfs\n\
             lxc.mount.auto = proc:rw\n\
             lxc.mount.entry = /sys sys none rbind 0 0\n\
             lxc.autodev = 0\n\
             lxc.tty = 0\n\
             lxc.pts = 0\n\
             lxc.console = none\n\
             lxc.utsname = berthed\n\
             lxc.aa_profile = unconfined\n\
             lxc.network.type = empty\n\
             lxc.id_map = u 0 100000 65536\n\
             lxc.id_map = g 0 200000 1\n"
        );
        assert_eq!(made.options, Vec::<String>::new());
    }

    #[test]
    fn version_2_1_and_3_have_the_new_names_and_one_place_for_groups() {
        let listed = "lxc.namespace.clone = mnt net ipc uts pid cgroup user\n";
        for (version, listed) in [(Version(2, 1), ""), (Version(3, 0), listed)] {
            let made = Configuration::new(&spec(mapped), with(version)).unwrap();
            assert_eq!(
                made.text.replace(listed, ""),
                "lxc.rootfs.path = dir:/run/berth/rootfs\n\
                 lxc.mount.auto = proc:rw\n\
                 lxc.mount.entry = /sys sys none rbind 0 0\n\
                 lxc.autodev = 0\n\
                 lxc.tty.max = 0\n\
                 lxc.pty.max = 0\n\
                 lxc.console.path = none\n\
                 lxc.uts.name = berthed\n\
                 lxc.apparmor.profile = unconfined\n\
                 lxc.net.0.type = empty\n\
                 lxc.idmap = u 0 100000 65536\n\
                 lxc.idmap = g 0 200000 1\n\
                 lxc.cgroup.dir = berth\n",
                "{version}"
            );
            assert!(made.text.contains(listed), "{version}");
        }
    }

    #[test]
    fn later_versions_place_their_groups_more_and_more_exactly() {
        let groups = |version| {
            let text = Configuration::new(&spec(|_| {}), with(version)).unwrap().text;
            text.lines().filter(|line| line.starts_with("lxc.cgroup")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(groups(Version(2, 0)), Vec::<String>::new());
        assert_eq!(groups(Version(4, 0)), ["lxc.cgroup.dir = berth/abc"]);
        let each = [
            "lxc.cgroup.dir.container = berth/abc",
            "lxc.cgroup.dir.monitor = berth/abc.monitor",
            "lxc.cgroup.dir.monitor.pivot = berth/abc.pivot",
        ];
        assert_eq!(groups(Version(5, 0)), each);
        assert_eq!(groups(Version(7, 0)), each);
        let elsewhere = Surroundings { usual_group: false, ..with(Version(2, 0)) };
        let error = Configuration::new(&spec(|_| {}), elsewhere).unwrap_err().to_string();
        assert!(error.starts_with("--cgroup-parent: ") && error.ends_with("use LXC 2.1 or newer"), "{error}");
    }

    #[test]
    fn the_hosts_namespaces_are_kept_or_shared() {
        let hosts = spec(|value| ["network", "ipc", "uts", "cgroup"].iter().for_each(|kind| without(value, kind)));
        let made = Configuration::new(&hosts, with(Version(3, 0))).unwrap();
        assert!(made.text.contains("lxc.net.0.type = none\n"), "{}", made.text);
        assert!(made.text.contains("lxc.namespace.clone = mnt pid\n"), "{}", made.text);
        assert_eq!((made.options.len(), made.warnings.len()), (0, 0));
        let made = Configuration::new(&hosts, with(Version(2, 0))).unwrap();
        assert!(made.text.contains("lxc.network.type = none\n"), "{}", made.text);
        assert_eq!(made.options, ["--share-ipc=42", "--share-uts=42"]);
        assert_eq!(made.warnings.len(), 1);
        let pid = spec(|value| without(value, "pid"));
        assert!(Configuration::new(&pid, with(Version(3, 0))).is_ok());
        assert!(refusal(&pid, Version(2, 1)).contains("use LXC 3.0 or newer"));
    }

    #[test]
    fn another_containers_namespaces_are_shared_by_its_process() {
        let joined =
            |path: &str| spec(|value| value["linux"]["namespaces"][1] = json!({ "type": "network", "path": path }));
        let made = Configuration::new(&joined("/proc/77/ns/net"), with(Version(1, 0))).unwrap();
        assert_eq!(made.options, ["--share-net=77"]);
        assert!(!made.text.contains("lxc.network"), "{}", made.text);
        let named = joined("/run/netns/blue");
        assert_eq!(Configuration::new(&named, with(Version(3, 0))).unwrap().options, ["--share-net=/run/netns/blue"]);
        assert!(refusal(&named, Version(2, 0)).contains("joins those of processes only"));
    }

    #[test]
    fn no_value_adds_a_key() {
        for name in ["x\nlxc.cap.keep = all", " x", "x ", "\"x\"", "x\ty", "x\0"] {
            let hostile = spec(|value| value["hostname"] = json!(name));
            let error = refusal(&hostile, Version(5, 0));
            assert!(error.contains("LXC's configuration cannot hold that"), "{name:?}: {error}");
        }
    }

    #[test]
    fn what_lxc_cannot_do_is_refused_with_the_reason() {
        let time = spec(|value| {
            value["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
        });
        assert!(refusal(&time, Version(5, 0)).starts_with("the lxc backend cannot do time namespaces: "));
        let shared = spec(|value| {
            value["mounts"] = json!([{ "destination": "/x", "type": "bind", "source": "/x", "options": ["rshared"] }]);
        });
        assert!(refusal(&shared, Version(5, 0)).starts_with("the lxc backend cannot do shared propagation"));
        let user = spec(|value| {
            value["linux"]["namespaces"]
                .as_array_mut()
                .unwrap()
                .push(json!({ "type": "user", "path": "/proc/7/ns/user" }));
        });
        assert!(refusal(&user, Version(5, 0)).contains("another container's user namespace"));
    }
}
