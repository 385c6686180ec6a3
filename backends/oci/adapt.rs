//! The specification as a runtime takes it: berth's own words are carried out here, and what this version of the runtime does
//! not know is left out with a warning where that takes nothing away, and refused otherwise.

use std::path::{Component, Path, PathBuf};

use berth_arch::root_dir::RootDir;
use oci_spec::runtime::{BoxBuilder, LinuxNamespaceType, Mount, Process, Spec};
use rustix::fs::{FileType, Mode, OFlags};

use super::probe::Features;
use super::sources::Sources;
use super::{External, limits};
use crate::namespace::{refuse_host_settings, setup};
use crate::{ContainerId, Error, Result, SUBPATH, Stdio};

/// What the runtime is given, and what has to stay open until it has made the container.
pub(super) struct Adapted {
    pub(super) spec: Spec,
    pub(super) warnings: Vec<String>,
    pub(super) sources: Sources,
}

/// `root` is where the root is, with everything that makes it mounted. `assembled`: in mounts of this process's own.
pub(super) fn adapt(
    backend: &External,
    id: &ContainerId,
    spec: &Spec,
    (root, assembled): (&Path, bool),
    sources: Sources,
    io: &Stdio,
) -> Result<Adapted> {
    let features = Features::ask(&backend.name, &backend.runtime)
        .map_err(|(reason, remedy)| Error::Unavailable(format!("the {} backend: {reason}; {remedy}", backend.name)))?;
    let mut spec = spec.clone();
    let mut warnings = Vec::new();
    check(backend, &features, &spec)?;
    if let Some(newest) = features.newest().filter(|newest| number(newest) < number(spec.version())) {
        spec.set_version(newest.to_owned());
    }
    if let Some(found) = spec.root_mut() {
        found.set_path(root.to_owned());
    }
    // Some take an empty name for one that is asked for.
    spec.set_hostname(spec.hostname().clone().filter(|name| !name.is_empty()));
    spec.set_domainname(spec.domainname().clone().filter(|name| !name.is_empty()));
    if let Some(process) = spec.process_mut() {
        terminal(process, io);
    }
    limits::of_spec(&mut spec, &mut warnings);
    let mut linux = spec.linux().clone().unwrap_or_default();
    linux.set_cgroups_path(Some(crate::cgroup::absolute(id, linux.cgroups_path().as_deref())?));
    if let Some(resources) = linux.resources_mut() {
        limits::without_controllers(resources, &super::probe::controllers_here(), &mut warnings);
    }
    spec.set_linux(Some(linux));
    let mut adapting = Mounts { backend, features: &features, assembled, sources, warnings };
    let inside = RootDir::open(root).map_err(setup(format!("open the root {}", root.display())))?;
    check_links(&inside)?;
    for mount in spec.mounts_mut().iter_mut().flatten() {
        check_target(&inside, mount)?;
        adapting.mount(mount)?;
    }
    Ok(Adapted { warnings: adapting.warnings, sources: adapting.sources, spec })
}

/// As [`adapt`], for a further program.
pub(super) fn process(process: &Process, io: &Stdio) -> Process {
    let mut process = process.clone();
    terminal(&mut process, io);
    limits::reachable(&mut process, drop);
    process
}

fn terminal(process: &mut Process, io: &Stdio) {
    let Stdio::Terminal { size } = io else {
        process.set_terminal(Some(false)).set_console_size(None);
        return;
    };
    process.set_terminal(Some(true));
    let size = size.map(|(columns, rows)| BoxBuilder::default().width(columns).height(rows).build());
    if let Some(Ok(size)) = size {
        process.set_console_size(Some(size));
    }
}

/// `1.0.2-dev` as (1, 0, 2).
fn number(version: &str) -> Vec<u32> {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    plain.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

fn check(backend: &External, features: &Features, spec: &Spec) -> Result<()> {
    let name = &backend.name;
    let linux = spec.linux().as_ref();
    let listed = || linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    if let Some(lacks) = listed().map(|one| named(one.typ()).0).find(|kind| !features.has_namespace(kind)) {
        return Err(Error::Unavailable(format!(
            "namespace {lacks:?}: the {name} backend cannot make it: this version of the runtime does not know it; leave \
             it out, or use another backend (see berth doctor)"
        )));
    }
    if !features.has_seccomp() && linux.is_some_and(|linux| linux.seccomp().is_some()) {
        return Err(Error::Unavailable(format!(
            "--security-opt seccomp: the {name} backend cannot filter system calls: the runtime is built without seccomp; \
             run it with --security-opt seccomp=unconfined, or use another backend (see berth doctor)"
        )));
    }
    if listed().any(|one| one.typ() == LinuxNamespaceType::User) {
        return Err(Error::Unavailable(format!(
            "namespace \"user\": the {name} backend cannot make it: the container's users may not go to where its root is; \
             leave it out, or use the namespace backend"
        )));
    }
    refuse_host_settings(spec, |wanted| listed().any(|one| named(one.typ()).1 == wanted))?;
    match spec.process() {
        // Guards runtimes without the repair of CVE-2024-21626: a descriptor of the host's own.
        Some(process) if leads_to_a_descriptor(process.cwd()) => Err(Error::Setup {
            step: format!("enter the working directory {}", process.cwd().display()),
            source: std::io::Error::other("it leads out of the container"),
        }),
        Some(_) => Ok(()),
        None => Err(Error::InvalidArgument("specification: it has no process".into())),
    }
}

/// As the specification and clone(2) have it.
fn named(kind: LinuxNamespaceType) -> (&'static str, i32) {
    match kind {
        LinuxNamespaceType::Mount => ("mount", libc::CLONE_NEWNS),
        LinuxNamespaceType::Cgroup => ("cgroup", libc::CLONE_NEWCGROUP),
        LinuxNamespaceType::Uts => ("uts", libc::CLONE_NEWUTS),
        LinuxNamespaceType::Ipc => ("ipc", libc::CLONE_NEWIPC),
        LinuxNamespaceType::User => ("user", libc::CLONE_NEWUSER),
        LinuxNamespaceType::Pid => ("pid", libc::CLONE_NEWPID),
        LinuxNamespaceType::Network => ("network", libc::CLONE_NEWNET),
        LinuxNamespaceType::Time => ("time", libc::CLONE_NEWTIME),
    }
}

/// `/proc/.../fd/N` and what is below.
fn leads_to_a_descriptor(path: &Path) -> bool {
    let parts: Vec<_> = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let is = |part: &Component<'_>, word: &str| part.as_os_str() == word;
    parts.first().is_some_and(|first| is(first, "proc")) && parts.iter().any(|part| is(part, "fd"))
}

/// What runtimes themselves write to, by names that some of them resolve on the host (links of /dev in runc 1.1; labels in /proc,
/// CVE-2019-19921).
const WRITTEN: &[&str] = &["/dev", "/proc", "/sys"];

fn check_links(root: &RootDir) -> Result<()> {
    let is_link = |path: &&&str| {
        let found = root.stat_no_follow(Path::new(path));
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
    };
    match WRITTEN.iter().find(is_link) {
        Some(path) => Err(refused_target(path.trim_start_matches('/'), Path::new(path), "the image has a link there")),
        None => Ok(()),
    }
}

fn refused_target(kind: &str, destination: &Path, reason: &str) -> Error {
    let step = format!("mount {kind} on {}", destination.display());
    Error::Setup { step, source: std::io::Error::other(reason.to_owned()) }
}

/// A target that an image's links lead into /proc is refused; one that they lead to nothing is made inside the root, for some
/// runtimes do not.
fn check_target(root: &RootDir, mount: &Mount) -> Result<()> {
    let destination = mount.destination();
    let special = |path: &Path| WRITTEN.iter().any(|top| path.starts_with(top));
    // As far as links can be followed before /proc is mounted.
    let (mut path, mut linked) = (PathBuf::from("/"), false);
    for part in destination.components() {
        let Component::Normal(part) = part else { continue };
        path.push(part);
        if let Ok(target) = root.read_link(&path) {
            let target = plain(&path.parent().unwrap_or(Path::new("/")).join(target));
            if special(&target) && !special(destination) {
                let kind = mount.typ().as_deref().unwrap_or("bind");
                return Err(refused_target(
                    kind,
                    destination,
                    "the image has a link there that leads into /proc or the like",
                ));
            }
            (path, linked) = (target, true);
        }
    }
    if linked && !root.exists(destination).unwrap_or(true) {
        make_target(root, mount).map_err(setup(format!("make {} in the root", destination.display())))?;
    }
    Ok(())
}

fn make_target(root: &RootDir, mount: &Mount) -> std::io::Result<()> {
    let folder = Mode::from_raw_mode(0o755);
    let is_file = |source: &PathBuf| std::fs::metadata(source).is_ok_and(|found| !found.is_dir());
    if !mount.source().as_ref().is_some_and(is_file) {
        return root.create_dir_all(mount.destination(), folder).map(drop);
    }
    if let Some(parent) = mount.destination().parent() {
        root.create_dir_all(parent, folder)?;
    }
    let flags = OFlags::WRONLY | OFlags::CREATE;
    root.open_at(mount.destination(), flags, Mode::from_raw_mode(0o644)).map(drop)
}

/// Without `.` and `..`, which stop at the root.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            _ => {}
        }
    }
    plain
}

struct Mounts<'a> {
    backend: &'a External,
    features: &'a Features,
    assembled: bool,
    sources: Sources,
    warnings: Vec<String>,
}

impl Mounts<'_> {
    fn mount(&mut self, mount: &mut Mount) -> Result<()> {
        let destination = mount.destination().display().to_string();
        let name = &self.backend.name;
        let mut options = mount.options().clone().unwrap_or_default();
        let refuse = |word: &str, reason: &str, remedy: &str| {
            Err(Error::Unavailable(format!(
                "mount {destination}: the {name} backend cannot do {word:?}: {reason}; {remedy}"
            )))
        };
        let mapped = mount.uid_mappings().is_some() || mount.gid_mappings().is_some();
        if (mapped || options.iter().any(|word| matches!(word.as_str(), "idmap" | "ridmap")))
            && !self.features.has_idmap()
        {
            return refuse(
                "idmap",
                "this version of the runtime does not know it",
                "leave it out, or use another backend",
            );
        }
        if options.iter().any(|word| word == "tmpcopyup")
            && self.features.knows_mount_option("tmpcopyup") == Some(false)
        {
            return refuse("tmpcopyup", "this version of the runtime does not know it", "use another backend");
        }
        if self.assembled
            && let Some(word) = options.iter().find(|word| matches!(word.as_str(), "shared" | "rshared"))
        {
            return refuse(
                word,
                "the container's mounts are made apart from the host's and do not reach it",
                "use rslave or rprivate, or the namespace backend",
            );
        }
        // Below a file there is nothing, and crun would open it as a folder.
        let is_file = |source: &PathBuf| source.exists() && !source.is_dir();
        if mount.source().as_ref().is_some_and(is_file) {
            options.retain(|word| word != "rro");
        }
        // Taken for an option of the file system by who does not know it, and so for nothing.
        if self.features.knows_mount_option("rro") == Some(false) && options.iter().any(|word| word == "rro") {
            options.retain(|word| word != "rro");
            self.warnings.push(format!(
                "mount {destination}: what is mounted below it can be written to: the {name} backend makes only the top \
                 read-only"
            ));
        }
        if let Some(index) = options.iter().position(|word| word.starts_with(SUBPATH)) {
            let word = options.remove(index);
            let source = self.subpath(mount, &word[SUBPATH.len()..])?;
            mount.set_source(Some(source));
        }
        mount.set_options(Some(options));
        Ok(())
    }

    /// Resolved once, so that no link in the volume leads out, whatever is exchanged.
    fn subpath(&mut self, mount: &Mount, below: &str) -> Result<PathBuf> {
        let source = mount.source().clone().unwrap_or_default();
        let step = || format!("open {below} in {}", source.display());
        let root = RootDir::open(&source).map_err(setup(step()))?;
        let found = root.open_at(Path::new(below), OFlags::PATH, Mode::empty()).map_err(setup(step()))?;
        self.sources.add(&found).map_err(setup(step()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(number("1.0.2-dev") < number("1.2.0") && number("1.10.0") > number("1.9.1"));
    }

    #[test]
    fn a_working_directory_at_a_descriptor_is_seen() {
        for path in ["/proc/self/fd/7", "/proc//self/./fd/7/x", "/proc/1/fd", "/proc/thread-self/fd/3"] {
            assert!(leads_to_a_descriptor(Path::new(path)), "{path}");
        }
        for path in ["/", "/proc", "/srv/fd/1", "/proc/self"] {
            assert!(!leads_to_a_descriptor(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_target_that_a_link_leads_into_proc_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("srv/in")).unwrap();
        std::os::unix::fs::symlink("../../proc/sys", folder.path().join("srv/in/trap")).unwrap();
        std::os::unix::fs::symlink("/srv", folder.path().join("fine")).unwrap();
        let root = RootDir::open(folder.path()).unwrap();
        let check = |destination: &str| {
            let mount = serde_json::json!({ "destination": destination, "type": "bind", "source": "/x" });
            check_target(&root, &serde_json::from_value(mount).unwrap())
        };
        assert!(
            check("/srv/in/trap/kernel").unwrap_err().to_string().starts_with("mount bind on /srv/in/trap/kernel: ")
        );
        check("/fine/in").unwrap();
        check("/proc/x").unwrap();
    }
}
