//! What is mounted inside: Docker's defaults, the files made for the container, then what the user asked for.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use super::{Modes, files, init};
use crate::networks::Prepared;
use crate::settings::modes::Ipc;
use crate::settings::mounts::{Bind, Kind, Point, ReadOnly};
use crate::settings::security::Security;
use crate::volumes::mount::Mounted;
use crate::{Container, Engine, Error, Result};

fn mount(destination: impl Into<PathBuf>, kind: &str, source: impl Into<PathBuf>, options: &[&str]) -> Result<Mount> {
    MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options.iter().map(|&option| option.to_owned()).collect::<Vec<_>>())
        .build()
        .map_err(|error| Error::Internal(format!("make the OCI spec: {error}")))
}

impl Engine {
    /// The mounts, and the propagation that the root needs for them.
    pub(super) fn spec_mounts(
        &self,
        container: &Container,
        modes: &Modes,
        networks: &Prepared,
        volumes: &Mounted,
        folder: &Path,
        security: &Security,
    ) -> Result<(Vec<Mount>, Option<String>)> {
        let host = &container.host_config;
        let points = container.points()?;
        let mut list = self.default_mounts(container, modes, security)?;
        // What the user mounts replaces what would be there, and a whole /dev all that would be below it.
        let replaced = |destination: &Path| {
            points.iter().any(|point| {
                point.destination == destination
                    || (point.destination == Path::new("/dev") && destination.starts_with("/dev"))
            })
        };
        list.retain(|mount| !replaced(mount.destination()));
        let access = if host.readonly_rootfs == Some(true) { "ro" } else { "rw" };
        let sources = files::write(container, modes, networks, folder)?;
        for ((_, inside), source) in files::FILES.iter().zip(sources) {
            if !replaced(Path::new(inside)) {
                list.push(mount(*inside, "bind", source, &["bind", "rprivate", access])?);
            }
        }
        if host.init == Some(true) {
            list.push(mount(init::INSIDE, "bind", init::source(), &["bind", "rprivate", "ro", "nosuid", "nodev"])?);
        }
        let mut propagation = None;
        for point in &points {
            list.push(match &point.kind {
                Kind::Tmpfs(options) => {
                    let options: Vec<_> = options.iter().map(String::as_str).collect();
                    mount(&point.destination, "tmpfs", "tmpfs", &options)?
                }
                Kind::Bind(bind) => {
                    let wanted = root_propagation(bind)?;
                    // shared is the stronger of the two.
                    if propagation.as_deref() != Some("shared") {
                        propagation = wanted.map(str::to_owned).or(propagation);
                    }
                    bind_mount(point, bind)?
                }
                Kind::Volume(volume) => {
                    let (source, options) = volumes.bind(point, volume)?;
                    let options: Vec<_> = options.iter().map(String::as_str).collect();
                    mount(&point.destination, "bind", source, &options)?
                }
            });
        }
        Ok((list, propagation))
    }

    fn default_mounts(&self, container: &Container, modes: &Modes, security: &Security) -> Result<Vec<Mount>> {
        let host = &container.host_config;
        let privileged = host.privileged == Some(true);
        let sys = if privileged { "rw" } else { "ro" };
        let cgroup = if privileged || security.writable_cgroups { "rw" } else { "ro" };
        let mut list = vec![
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            )?,
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys])?,
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", cgroup])?,
        ];
        if modes.ipc == Ipc::Host {
            for path in ["/dev/mqueue", "/dev/shm"] {
                if Path::new(path).exists() {
                    list.push(mount(path, "bind", path, &["rbind", "rprivate", "nosuid", "noexec", "nodev"])?);
                }
            }
            return Ok(list);
        }
        if Path::new("/proc/sys/fs/mqueue").exists() {
            list.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?);
        }
        match (&modes.ipc, modes.ipc_target()) {
            (Ipc::None, _) => {}
            (Ipc::Shareable, _) => list.push(self.shared_memory(&container.id)?),
            (_, Some(target)) => list.push(self.shared_memory(&target.container.id)?),
            _ => {
                let size = format!("size={}", host.shm_size.unwrap_or(64 << 20));
                list.push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size])?);
            }
        }
        Ok(list)
    }

    /// /dev/shm of a container that shares it: a folder of its run folder, for a mount that its own namespace holds
    /// cannot be bound into another.
    fn shared_memory(&self, id: &str) -> Result<Mount> {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.paths().container_run(id).join("shm");
        berth_store::create_private(&folder)
            .and_then(|()| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o1777)))
            .map_err(Error::io("create", &folder))?;
        mount("/dev/shm", "bind", folder, &["bind", "rprivate", "nosuid", "noexec", "nodev"])
    }
}

fn bind_mount(point: &Point, bind: &Bind) -> Result<Mount> {
    if std::fs::metadata(&bind.source).is_err() && bind.create_source {
        std::fs::create_dir_all(&bind.source).map_err(Error::io("create", &bind.source))?;
    }
    if let Err(error) = std::fs::metadata(&bind.source) {
        return Err(Error::invalid(format!("bind source path does not exist: {} ({error})", bind.source.display())));
    }
    let mut options = vec![if bind.recursive { "rbind" } else { "bind" }, bind.propagation.as_str()];
    if point.read_only {
        options.push("ro");
        match bind.read_only {
            ReadOnly::Top => {}
            ReadOnly::IfPossible if !bind.recursive || !reaches_below() => {}
            ReadOnly::IfPossible | ReadOnly::Everywhere => options.push("rro"),
        }
        if bind.read_only == ReadOnly::Everywhere && !reaches_below() {
            return Err(Error::Unavailable(format!(
                "mount {}: read-only with everything below takes a kernel of 5.12 or newer; leave out \
                 readonly-force-recursive",
                point.destination.display()
            )));
        }
    }
    mount(&point.destination, "bind", &bind.source, &options)
}

/// Whether the kernel makes a whole tree of mounts read-only (mount_setattr, 5.12).
fn reaches_below() -> bool {
    static ANSWER: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *ANSWER.get_or_init(|| {
        let found = berth_arch::kernel::mount_api::probe();
        found.detail().is_some_and(|calls| calls.contains(&"mount_setattr"))
    })
}

/// A bind mount that is to pass mounts on needs a root that does, and a source that can.
fn root_propagation(bind: &Bind) -> Result<Option<&'static str>> {
    let (wanted, words): (_, &[&str]) = match bind.propagation.as_str() {
        "shared" | "rshared" => ("shared", &["shared:"]),
        "slave" | "rslave" => ("rslave", &["shared:", "master:"]),
        _ => return Ok(None),
    };
    let table = berth_arch::mount::mounts().map_err(Error::io("read", "/proc/self/mountinfo"))?;
    let real = std::fs::canonicalize(&bind.source).map_err(Error::io("resolve", &bind.source))?;
    let found = berth_arch::mount::find_mount(&table, &real);
    if found.is_some_and(|info| info.propagation.iter().any(|tag| words.iter().any(|word| tag.starts_with(word)))) {
        return Ok(Some(wanted));
    }
    let at = found.map(|info| info.mount_point.display().to_string()).unwrap_or_default();
    let kind = if wanted == "shared" { "a shared" } else { "a shared or slave" };
    Err(Error::invalid(format!("path {} is mounted on {at} but it is not {kind} mount", bind.source.display())))
}
