//! Which backend a container gets, and what that backend cannot do of what was asked for.

use berth_api::models::{ContainerConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigIsolationEnum};
use berth_arch::Host;
use berth_backends::{Isolation, Selection};

use super::modes;
use crate::{EngineConfig, Error, Result};

/// The backend's name, and what it isolates here.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub name: String,
    pub isolation: Isolation,
}

/// What Docker's clients name when they mean "the usual one".
fn is_usual(name: &str) -> bool {
    matches!(name, "" | "auto" | "default" | "io.containerd.runc.v2")
}

fn is_one_address(text: &str) -> bool {
    text.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| !address.is_unspecified())
}

/// The one that the request names, else the configuration's, else the strongest that works here. Docker's own `runc` is the
/// usual one where no such program is installed. A container remembers the answer.
pub(crate) fn choose(
    host: &HostConfig,
    engine: &EngineConfig,
    machine: &Host,
    warnings: &mut Vec<String>,
) -> Result<Chosen> {
    use HostConfigIsolationEnum as I;
    if let Some(isolation @ (I::HYPERV | I::PROCESS)) = host.isolation {
        return Err(Error::invalid(format!(
            "isolation {isolation}: it is only for Windows; name one of berth's backends"
        )));
    }
    let backends = &engine.backends;
    let configured = engine.isolation.as_deref();
    let asked = host.runtime.as_deref().filter(|name| !is_usual(name));
    if let Some(asked) = asked {
        backends
            .check_names(asked)
            .map_err(|error| Error::invalid(format!("unknown or invalid runtime name: {error}")))?;
    }
    let selected = match backends.select(machine, asked.or(configured)) {
        Err(_) if asked == Some("runc") => {
            let usual = backends.select(machine, configured)?;
            warnings.push(format!(
                "the runtime runc is not installed here: the container gets the {} backend",
                usual.backend.name()
            ));
            usual
        }
        selected => selected?,
    };
    let Selection { backend, isolation, .. } = selected;
    Ok(Chosen { name: backend.name().to_owned(), isolation })
}

impl Chosen {
    /// Refuses what concerns security or data and cannot be had with this backend; what remains is a warning. A network
    /// that nobody named becomes the host's.
    pub(crate) fn check(
        &self,
        config: &ContainerConfig,
        host: &mut HostConfig,
        network_was_left_open: bool,
        warnings: &mut Vec<String>,
    ) -> Result<()> {
        let Isolation { pid, network, uts, ipc, capabilities, no_new_privileges, .. } = self.isolation;
        if !network {
            self.network(host, network_was_left_open, warnings)?;
        }
        let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let joins = |mode: &Option<String>| mode.as_ref().is_some_and(|mode| mode.starts_with("container:"));
        if !pid && joins(&host.pid_mode) {
            return Err(self.refuse("--pid container:NAME", "it makes no PID namespaces"));
        }
        let own_ipc = |mode: &Option<String>| matches!(mode.as_deref(), Some("none" | "shareable"));
        if !ipc && (joins(&host.ipc_mode) || own_ipc(&host.ipc_mode)) {
            let mode = host.ipc_mode.as_deref().unwrap_or_default();
            return Err(self.refuse(&format!("--ipc {mode}"), "it makes no IPC namespaces"));
        }
        let caps = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        if !capabilities && (caps(&host.cap_drop) || caps(&host.cap_add)) {
            return Err(self.refuse("--cap-add and --cap-drop", "it cannot change capabilities"));
        }
        self.capabilities(host, warnings)?;
        self.sysctls(host)?;
        let security = super::security::parse(host.security_opt.as_deref().unwrap_or_default())?;
        if !no_new_privileges && security.no_new_privileges {
            return Err(self.refuse("--security-opt no-new-privileges", "it cannot set it"));
        }
        if !uts && (given(&config.hostname) || given(&config.domainname)) {
            warnings.push(format!(
                "--hostname: the {} backend makes no UTS namespaces, so the container has the host's name",
                self.name
            ));
        }
        if !self.isolation.cgroup_namespace
            && self.isolation.controllers.is_empty()
            && host.cgroupns_mode == Some(HostConfigCgroupnsModeEnum::PRIVATE)
        {
            warnings.push(format!("--cgroupns private: the {} backend makes no cgroup namespaces here", self.name));
        }
        Ok(())
    }

    /// What leads out of a container of this backend is given to who asks for it, and said.
    fn capabilities(&self, host: &HostConfig, warnings: &mut Vec<String>) -> Result<()> {
        let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let (add, drop) = (list(&host.cap_add), list(&host.cap_drop));
        let set = super::capabilities::compute(&add, &drop, host.privileged == Some(true), &self.isolation)?;
        for (capability, why) in self.isolation.undone_by().iter().filter(|(one, _)| set.contains(one)) {
            warnings.push(format!("CAP_{capability}: {why} (the {} backend)", self.name));
        }
        Ok(())
    }

    /// Those of namespaces that are not made would be the host's.
    fn sysctls(&self, host: &HostConfig) -> Result<()> {
        let Isolation { network, uts, ipc, .. } = self.isolation;
        for name in host.sysctls.iter().flatten().map(|(name, _)| name) {
            let (made, kind) = match name.as_str() {
                name if name.starts_with("net.") => (network, "network"),
                "kernel.domainname" => (uts, "UTS"),
                _ => (ipc, "IPC"),
            };
            if !made {
                return Err(self.refuse(&format!("--sysctl {name}"), &format!("it makes no {kind} namespaces")));
            }
        }
        Ok(())
    }

    fn network(&self, host: &mut HostConfig, was_left_open: bool, warnings: &mut Vec<String>) -> Result<()> {
        let mode = host.network_mode.clone().unwrap_or_default();
        let addresses = host.port_bindings.iter().flatten().flat_map(|(_, places)| places.iter().flatten());
        if let Some(address) = addresses.filter_map(|place| place.host_ip.as_deref()).find(|ip| is_one_address(ip)) {
            warnings.push(format!(
                "-p {address}:...: the container is in the host's network, where the port that its program opens can be reached at \
                 every address that the program takes"
            ));
        }
        if was_left_open {
            host.network_mode = Some("host".to_owned());
            warnings.push(format!(
                "the {} backend makes no network namespaces: the container is in the host's network",
                self.name
            ));
            return Ok(());
        }
        match modes::network(&mode)? {
            modes::Network::Host => Ok(()),
            _ => Err(self.refuse(&format!("--network {mode}"), "it makes no network namespaces")),
        }
    }

    fn refuse(&self, option: &str, reason: &str) -> Error {
        Error::Unavailable(format!(
            "{option}: the {} backend cannot do that: {reason}; leave the option out, or use another backend \
            (--isolation, see berth doctor)",
            self.name
        ))
    }
}
