//! The OCI Spec of a container, as Docker makes it, out of its configuration and this host.
//!
//! `process.rs` has the program and its rights, `mounts.rs` what is mounted, `resources.rs` the limits, `files.rs` the
//! files that are made for the container and bound into it. Made anew at every start, so that a host that changed is
//! seen as it is.

pub(crate) mod files;
pub(crate) mod init;
mod mounts;
pub(crate) mod process;
pub(crate) mod resources;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use berth_api::models::HostConfigCgroupnsModeEnum;
use berth_arch::Ids;
use berth_backends::Isolation;
use oci_spec::runtime::{
    LinuxBuilder, LinuxDevice, LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, RootBuilder, Spec,
    SpecBuilder,
};

use crate::networks::Prepared;
use crate::settings::modes::{self, Ipc, Network, Pid};
use crate::settings::{defaults, devices, security};
use crate::volumes::mount::Mounted;
use crate::{Container, Engine, Error, Result};

/// Control groups of containers that name no parent.
const CGROUP_PARENT: &str = "/berth";

/// The namespaces' modes, what the backend makes of them, and the running containers that they lead to.
pub(crate) struct Modes {
    pub isolation: Isolation,
    pub network: Network,
    pub pid: Pid,
    pub ipc: Ipc,
    pub uts_host: bool,
    network_of: Option<Target>,
    pid_of: Option<Target>,
    ipc_of: Option<Target>,
}

/// A container whose namespace is joined.
pub(crate) struct Target {
    pub container: Container,
    pub pid: i32,
}

impl Modes {
    pub(crate) fn network_target(&self) -> Option<&Target> {
        self.network_of.as_ref()
    }

    pub(crate) fn ipc_target(&self) -> Option<&Target> {
        self.ipc_of.as_ref()
    }
}

impl Engine {
    pub(crate) fn modes(&self, container: &Container, isolation: Isolation) -> Result<Modes> {
        let host = &container.host_config;
        let network = modes::network(host.network_mode.as_deref().unwrap_or_default())?;
        let pid = modes::pid(host.pid_mode.as_deref().unwrap_or_default())?;
        let ipc = modes::ipc(host.ipc_mode.as_deref().unwrap_or_default())?;
        let network_of = match &network {
            Network::Container(name) => Some(self.target(name, "network")?),
            _ => None,
        };
        let pid_of = match &pid {
            Pid::Container(name) => Some(self.target(name, "PID")?),
            _ => None,
        };
        let ipc_of = match &ipc {
            Ipc::Container(name) => Some(self.target(name, "IPC")?),
            _ => None,
        };
        if let Some(target) = &ipc_of
            && target.container.host_config.ipc_mode.as_deref() != Some("shareable")
        {
            let id = &target.container.id;
            return Err(Error::invalid(format!(
                "cannot join IPC of a non-shareable container: {id} (hint: use IpcMode:shareable for the donor container)"
            )));
        }
        let uts_host = modes::uts_is_host(host.uts_mode.as_deref().unwrap_or_default())?;
        Ok(Modes { isolation, network, pid, ipc, uts_host, network_of, pid_of, ipc_of })
    }

    fn target(&self, name: &str, what: &str) -> Result<Target> {
        let container = self.find(name)?;
        let state = self.state(&container)?;
        if state.pid == 0 {
            return Err(Error::Conflict(format!(
                "cannot join {what} namespace of a non running container: {}",
                container.id
            )));
        }
        Ok(Target { container, pid: state.pid })
    }

    /// Everything that the backend is told. `folder` is the container's, `root` where its root will be.
    pub(crate) fn make_spec(
        &self,
        container: &Container,
        modes: &Modes,
        networks: &Prepared,
        volumes: &Mounted,
        folder: &Path,
        root: &Path,
    ) -> Result<Spec> {
        let host = &container.host_config;
        let privileged = host.privileged == Some(true);
        let security = security::parse(host.security_opt.as_deref().unwrap_or_default())?;
        let (nodes, rules) = self.device_nodes(container)?;
        let (mounts, propagation) = self.spec_mounts(container, modes, networks, volumes, folder, &security)?;
        let process = self.spec_process(container, &networks.environment, &security, &modes.isolation)?;
        let capabilities = process.capabilities().as_ref().and_then(|sets| sets.bounding().clone()).unwrap_or_default();

        let mut linux = LinuxBuilder::default()
            .namespaces(namespaces(container, modes)?)
            .resources(resources::of(host, rules, privileged)?)
            .cgroups_path(cgroup_path(container))
            .devices(nodes)
            .masked_paths(host.masked_paths.clone().unwrap_or_else(defaults::masked_paths))
            .readonly_paths(host.readonly_paths.clone().unwrap_or_else(|| owned(defaults::READONLY_PATHS)))
            .sysctl(sysctls(container, modes));
        if let Some(word) = propagation {
            linux = linux.rootfs_propagation(word);
        }
        if let Some(filter) = process::seccomp(&security, privileged, &capabilities)? {
            linux = linux.seccomp(filter);
        }
        let incomplete = |error: oci_spec::OciSpecError| Error::Internal(format!("make the OCI spec: {error}"));
        let mut spec = SpecBuilder::default()
            .version("1.2.0")
            .root(
                RootBuilder::default()
                    .path(root)
                    .readonly(host.readonly_rootfs == Some(true))
                    .build()
                    .map_err(incomplete)?,
            )
            .mounts(mounts)
            .process(process)
            .linux(linux.build().map_err(incomplete)?);
        // Left out, the builder has a name of its own.
        spec = spec.hostname("");
        if !modes.isolation.uts {
            // The host's, which is not to be changed.
        } else if !modes.uts_host && !matches!(modes.network, Network::Container(_)) {
            spec = spec
                .hostname(container.config.hostname.clone().unwrap_or_default())
                .domainname(container.config.domainname.clone().unwrap_or_default());
        } else if let Some(target) = &modes.network_of {
            spec = spec.hostname(target.container.config.hostname.clone().unwrap_or_default());
        }
        if let Some(annotations) = &host.annotations {
            spec = spec.annotations(annotations.clone());
        }
        spec.build().map_err(incomplete)
    }

    fn device_nodes(
        &self,
        container: &Container,
    ) -> Result<(Vec<LinuxDevice>, Vec<oci_spec::runtime::LinuxDeviceCgroup>)> {
        let host = &container.host_config;
        let (mut nodes, mut rules) = (Vec::new(), Vec::new());
        if host.privileged == Some(true) {
            nodes = devices::all();
        }
        for mapping in host.devices.iter().flatten() {
            for (node, rule) in devices::resolve(mapping)? {
                nodes.retain(|known: &LinuxDevice| known.path() != node.path());
                nodes.push(node);
                rules.push(rule);
            }
        }
        for text in host.device_cgroup_rules.iter().flatten() {
            rules.push(devices::rule(text)?);
        }
        Ok((nodes, rules))
    }
}

fn owned(list: &[&str]) -> Vec<String> {
    list.iter().map(|&text| text.to_owned()).collect()
}

pub(crate) fn cgroup_path(container: &Container) -> PathBuf {
    let parent = container.host_config.cgroup_parent.as_deref().filter(|parent| !parent.is_empty());
    // Made plain below a root, so that no `..` leaves the tree.
    let parent = crate::settings::mounts::clean(&format!("/{}", parent.unwrap_or(CGROUP_PARENT)));
    parent.unwrap_or_else(|| CGROUP_PARENT.into()).join(&container.id)
}

fn namespaces(container: &Container, modes: &Modes) -> Result<Vec<LinuxNamespace>> {
    use LinuxNamespaceType as N;
    let joined = |target: &Target, file: &str| Some(PathBuf::from(format!("/proc/{}/ns/{file}", target.pid)));
    let mut list = vec![(N::Mount, None)];
    match (&modes.pid, &modes.pid_of) {
        (Pid::Host, _) => {}
        (_, Some(target)) => list.push((N::Pid, joined(target, "pid"))),
        _ => list.push((N::Pid, None)),
    }
    match (&modes.ipc, &modes.ipc_of) {
        (Ipc::Host, _) => {}
        (_, Some(target)) => list.push((N::Ipc, joined(target, "ipc"))),
        _ => list.push((N::Ipc, None)),
    }
    match (&modes.network, &modes.network_of) {
        (Network::Host, _) => {}
        (_, Some(target)) => list.push((N::Network, joined(target, "net"))),
        _ => list.push((N::Network, None)),
    }
    if !modes.uts_host {
        list.push((N::Uts, None));
    }
    if container.host_config.cgroupns_mode == Some(HostConfigCgroupnsModeEnum::PRIVATE) {
        list.push((N::Cgroup, None));
    }
    let isolation = &modes.isolation;
    let made = |kind: N| match kind {
        N::Mount => isolation.mount,
        N::Pid => isolation.pid,
        N::Ipc => isolation.ipc,
        N::Network => isolation.network,
        N::Uts => isolation.uts,
        N::Cgroup => isolation.cgroup_namespace,
        N::User | N::Time => true,
    };
    list.into_iter()
        .filter(|(kind, _)| made(*kind))
        .map(|(kind, path)| {
            let namespace = LinuxNamespaceBuilder::default().typ(kind);
            let namespace = match path {
                Some(path) => namespace.path(path),
                None => namespace,
            };
            namespace.build().map_err(|error| Error::Internal(format!("make the OCI spec: {error}")))
        })
        .collect()
}

/// What was asked for, and Docker's own for a network of the container's own: low ports and ping for everybody.
fn sysctls(container: &Container, modes: &Modes) -> HashMap<String, String> {
    let mut list = container.host_config.sysctls.clone().unwrap_or_default();
    if matches!(modes.network, Network::None | Network::Named(_)) {
        // Numbers of this user namespace; the highest that the kernel takes is i32's.
        let groups = format!("0 {}", Ids::here().last_group().min(i32::MAX as u32));
        for (name, file, value) in [
            ("net.ipv4.ip_unprivileged_port_start", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
            ("net.ipv4.ping_group_range", "/proc/sys/net/ipv4/ping_group_range", groups.as_str()),
        ] {
            // In a container of another engine the kernel's settings are there, and read-only.
            if rustix::fs::access(file, rustix::fs::Access::WRITE_OK).is_ok() {
                list.entry(name.to_owned()).or_insert_with(|| value.to_owned());
            }
        }
    }
    list
}
