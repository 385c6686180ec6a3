//! Containers by LXC's own tools, 1.0 to 7.
//!
//! `lxc-start` makes the namespaces, maps the users and makes the control groups by a configuration (`config.rs`, pure), and stays as
//! the container's monitor: `lxc-info`, `lxc-freeze` and the others work on it with `-P RUN_FOLDER/lxc`. The container's first process
//! is a role of this program (`role.rs`) that hears from its creator what it has to become (`task.rs`); the root and the program
//! are made by the namespace backend's own code (`namespace/foreign.rs`), so that they are the same with every version.
//! `exec.rs` brings in further programs by `lxc-attach`; `leftovers.rs` knows what LXC leaves behind.

mod config;
mod exec;
mod leftovers;
mod role;
mod sandbox;
mod tools;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use berth_arch::kernel::cgroup::{Cgroups, Layout};
use berth_arch::kernel::pivot_root::{self, root_is_initramfs};
use berth_arch::process::{self, Process};
use berth_arch::{Host, Probe, pretend};
use oci_spec::runtime::Spec;

use self::config::{Configuration, Surroundings};
use self::leftovers::Sharing;
pub use self::role::{ROLE, main};
use self::sandbox::{Container, Creator, LOG};
use self::tools::Tools;
use crate::cgroup::{self, Cgroup};
use crate::namespace::foreign::{Foreign, Line, Tool};
use crate::namespace::task::{self, Streams, Task};
use crate::namespace::{controllers, namespaces, setup};
use crate::{
    Backend, Bundle, ContainerId, Error, Isolation, Result, Sandbox, SavedSandbox, Stdio, protected_program,
    sealed_program,
};

pub(crate) const NAME: &str = "lxc";

/// What LXC's tools execute: their standard output, which is this program's file.
const PROGRAM_INSIDE: &str = "/proc/self/fd/1";

const STANDALONE: &str = "the lxc backend cannot make a container that outlives its creator: lxc-start stays as its \
                          monitor and ends with who started it; use the namespace backend";

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Lxc;

impl Backend for Lxc {
    fn name(&self) -> &str {
        NAME
    }

    fn probe(&self, host: &Host) -> Probe<Isolation> {
        const CAP_SYS_ADMIN: u64 = 1 << 21;
        let tools = match Tools::find() {
            Probe::Available { detail } => detail,
            Probe::Unavailable { reason, hint } => return Probe::Unavailable { reason, hint },
        };
        if host.user.effective_capabilities & CAP_SYS_ADMIN == 0 {
            return Probe::unavailable("starting containers with LXC takes root here", "run as root");
        }
        let groups =
            Cgroups::detect().unwrap_or(Cgroups { layout: Layout::None, hierarchies: vec![], unmounted: vec![] });
        let controllers = controllers(&groups);
        if groups.layout == Layout::None || pretend::without("cgroup") || controllers.is_empty() {
            return Probe::unavailable(
                "LXC starts no containers without control groups, and none are mounted that can be written to",
                "mount cgroup v1 hierarchies or cgroup v2 at /sys/fs/cgroup",
            );
        }
        let exchange = pivot_root::probe();
        // It covers an initramfs, and nothing else.
        if let Some(reason) = exchange.reason()
            && (pretend::without("pivot_root") || !root_is_initramfs())
        {
            return Probe::unavailable(
                format!("LXC exchanges a container's root by pivot_root ({reason})"),
                "allow pivot_root in the seccomp policy around berth",
            );
        }
        let has = namespaces::kernel_has;
        Probe::available(Isolation {
            pid: true,
            mount: true,
            network: has("net"),
            uts: true,
            ipc: true,
            user: has("user") && !pretend::without("userns"),
            cgroup_namespace: has("cgroup") && tools.version.makes_cgroup_namespaces(),
            pause: controllers.iter().any(|name| name == "freezer"),
            checkpoint: false,
            stats: true,
            controllers,
            capabilities: true,
            no_new_privileges: host.kernel.version >= (3, 5),
            seccomp: berth_arch::kernel::seccomp::filters().is_available(),
        })
    }

    fn create(&self, id: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Box<dyn Sandbox>> {
        let tools = match Tools::find() {
            Probe::Available { detail } => detail,
            Probe::Unavailable { reason, hint } => {
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                return Err(Error::Unavailable(format!("the lxc backend does not work here: {reason}{hint}")));
            }
        };
        create(tools, id, bundle, io).map(|container| Box::new(container) as Box<dyn Sandbox>).map_err(in_our_name)
    }

    fn load(&self, id: &ContainerId, saved: &SavedSandbox, spec: Option<&Spec>) -> Result<Box<dyn Sandbox>> {
        let Some(folder) = saved.folder.clone().filter(|_| saved.backend == NAME) else {
            return Err(Error::InvalidArgument(format!("container {id}: backend {} made it", saved.backend)));
        };
        let init = Process::open(saved.pid, Some(saved.start_time)).ok();
        // One that has ended without its creator leaves things to be removed.
        if init.is_none() && !folder.exists() {
            return Err(Error::NotFound(format!("container {id}: it is not running")));
        }
        Ok(Box::new(Container {
            name: id.to_string(),
            folder,
            pid: saved.pid,
            start_time: saved.start_time,
            init,
            cgroup: Cgroup::load(&saved.cgroups),
            warnings: Vec::new(),
            terminal: None,
            status: None,
            spec: spec.cloned(),
            devices_enforced: saved.devices_enforced,
            creator: None,
        }))
    }

    fn clear(&self, id: &ContainerId, saved: &SavedSandbox) -> Result<()> {
        match self.load(id, saved, None) {
            Ok(mut left) => left.delete(),
            Err(Error::NotFound(_)) => leftovers::remove_groups(&saved.cgroups),
            Err(error) => Err(error),
        }
    }
}

/// The words for what the namespace backend's code refuses, too.
fn in_our_name(error: Error) -> Error {
    match error {
        Error::Unavailable(text) if !text.contains("the lxc backend") => {
            Error::Unavailable(text.replace("the namespace backend", "the lxc backend"))
        }
        error => error,
    }
}

fn create(tools: Tools, id: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Container> {
    if bundle.standalone.is_some() {
        return Err(Error::Unavailable(STANDALONE.into()));
    }
    let spec = &bundle.spec;
    let (group, usual_group) = cgroup::relative(id, spec)?;
    let configuration = Configuration::new(
        spec,
        Surroundings {
            version: tools.version,
            porch: &bundle.mount_point,
            group: &group,
            usual_group,
            apparmor: std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y")),
            host_process: rustix::process::getpid().as_raw_pid(),
        },
    )?;
    let folder = bundle.mount_point.with_file_name("lxc").join(id.as_str());
    let places = Cgroup::places(id, Some(&group))?;
    let clear = || {
        let removed = leftovers::remove_groups(&places);
        leftovers::remove_files(&folder);
        removed
    };
    // What a creator that was killed has left.
    clear()?;
    start(tools, id, bundle, io, configuration, &folder).inspect_err(|_| drop(clear()))
}

fn start(
    tools: Tools,
    id: &ContainerId,
    bundle: &Bundle,
    io: Stdio,
    configuration: Configuration,
    folder: &Path,
) -> Result<Container> {
    let lxcpath = bundle.mount_point.with_file_name("lxc");
    let streams = Streams::of(&io);
    let mut foreign = Foreign::new(bundle, io, &[&lxcpath])?;
    let _sharing = Sharing::begin();
    write_configuration(&lxcpath, folder, &configuration.text)?;
    let (ours, theirs) = task::pair().map_err(setup("make a socket pair"))?;
    let tool = begin(&tools, id, folder, &configuration, &mut foreign, theirs.into())?;
    let mut container = Container {
        name: id.to_string(),
        folder: folder.to_owned(),
        pid: 0,
        start_time: 0,
        init: None,
        cgroup: Cgroup::load(&[]),
        warnings: configuration.warnings,
        terminal: None,
        status: None,
        spec: Some(bundle.spec.clone()),
        devices_enforced: false,
        creator: Some(Creator { tools, tool, waiting: None }),
    };
    match furnish(&mut container, foreign, ours, streams) {
        Ok(()) => Ok(container),
        Err(error) => {
            let _ = container.delete();
            Err(error)
        }
    }
}

fn write_configuration(lxcpath: &Path, folder: &Path, text: &str) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(lxcpath);
    // The container's root user has to get through, and is not to look.
    made.and_then(|()| std::fs::set_permissions(lxcpath, std::fs::Permissions::from_mode(0o711)))
        .map_err(setup(format!("create {}", lxcpath.display())))?;
    std::fs::DirBuilder::new().mode(0o700).create(folder).map_err(setup(format!("create {}", folder.display())))?;
    let path = folder.join("config");
    std::fs::write(&path, text).map_err(setup(format!("write {}", path.display())))
}

/// Starts `lxc-start`, whose container's first process has `end` as its standard input.
fn begin(
    tools: &Tools,
    id: &ContainerId,
    folder: &Path,
    configuration: &Configuration,
    foreign: &mut Foreign,
    end: OwnedFd,
) -> Result<Process> {
    let text = |path: &Path| {
        let invalid = || Error::InvalidArgument(format!("path {}: it is not UTF-8", path.display()));
        path.to_str().map(str::to_owned).ok_or_else(invalid)
    };
    let mut arguments: Vec<String> = vec![
        "lxc-start".into(),
        "-P".into(),
        text(folder.parent().unwrap_or(folder))?,
        format!("--name={id}"),
        "-f".into(),
        text(&folder.join("config"))?,
        "-o".into(),
        text(&folder.join(LOG))?,
        "-l".into(),
        "INFO".into(),
    ];
    if tools.version.needs_foreground() {
        arguments.push("-F".into());
    }
    arguments.extend(configuration.options.iter().cloned());
    arguments.extend(["--", PROGRAM_INSIDE, ROLE].map(str::to_owned));
    let null = File::options().read(true).write(true).open("/dev/null").map_err(setup("open /dev/null"))?;
    foreign.spawn(Tool {
        path: tools.start.clone(),
        arguments,
        // No PATH: it finds no newuidmap, which would want root's mappings to be in /etc/subuid.
        environment: Vec::new(),
        streams: [end, own_program(folder)?, null.into()],
    })
}

/// This program's file, so that no container can write to it. LXC gives its standard output to the container's root and makes
/// that its alone (0700), so that it must not be the file by which everybody starts berth: without a protected one it is a copy,
/// which has no name once it is open.
fn own_program(folder: &Path) -> Result<OwnedFd> {
    if let Some(program) = protected_program().or_else(sealed_program) {
        return Ok(program);
    }
    let path = folder.join("program");
    let _ = std::fs::remove_file(&path);
    let copied = std::fs::copy("/proc/self/exe", &path).and_then(|_| File::open(&path));
    let _ = std::fs::remove_file(&path);
    copied.map(OwnedFd::from).map_err(setup("copy this program"))
}

/// Some versions wait for ever for a child that has failed and ended.
fn only_dead_children(tool: i32) -> bool {
    let children = process::children(tool).unwrap_or_default();
    let dead = |pid: &i32| process::Stat::read(*pid).is_ok_and(|stat| stat.has_ended());
    !children.is_empty() && children.iter().all(dead)
}

/// From `lxc-start` at work to a container that waits for its start.
fn furnish(
    container: &mut Container,
    foreign: Foreign,
    mut ours: std::os::unix::net::UnixStream,
    streams: Streams,
) -> Result<()> {
    let failed = |container: &Container, step: &str| Error::Setup {
        step: format!("{step} container {} with lxc-start", container.name),
        source: std::io::Error::other(container.reason()),
    };
    let tool = container.creator.as_ref().map_or(0, |creator| creator.tool.pid());
    let mut in_vain = 0;
    let met = task::meet(&ours, || {
        in_vain = if only_dead_children(tool) { in_vain + 1 } else { 0 };
        in_vain == 3
    });
    let pid = match met {
        Ok(pid) => pid,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(failed(container, "start")),
        Err(error) => return Err(setup("meet the container's first process")(error)),
    };
    let init = Process::open(pid, None).map_err(|_| failed(container, "find the first process of"))?;
    (container.pid, container.start_time) = (pid, init.start_time());
    container.init = Some(init);
    let spec = container.spec.clone().unwrap_or_default();
    container.cgroup = Cgroup::adopt(pid, &spec)?;
    container.devices_enforced = container.cgroup.devices_enforced();
    let (line, end) = Line::pair()?;
    let task = Task::First {
        spec: Box::new(foreign.inside().clone()),
        cgroups: container.cgroup.paths().to_vec(),
        devices_enforced: container.devices_enforced,
        streams,
    };
    let mut given = vec![end.as_fd()];
    given.extend(foreign.streams());
    task::give(&mut ours, &task, &given).map_err(setup("tell the container's first process what it is"))?;
    drop(given);
    drop((end, ours));
    let mut waiting = foreign.until_ready(line, pid, &container.cgroup)?;
    container.warnings.extend(container.cgroup.warnings().iter().cloned());
    container.warnings.append(&mut waiting.warnings);
    container.terminal = waiting.terminal.take();
    if let Some(creator) = &mut container.creator {
        creator.waiting = Some(waiting);
    }
    Ok(())
}
