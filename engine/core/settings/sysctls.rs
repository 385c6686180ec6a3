//! `--sysctl`: only what belongs to a namespace of the container's own.

use berth_api::models::HostConfig;

use super::modes::{Ipc, Network};
use crate::{Error, Result};

const IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(crate) fn check(host: &HostConfig, network: &Network, ipc: &Ipc, uts_host: bool) -> Result<()> {
    for (name, value) in host.sysctls.iter().flatten() {
        if name.contains(['/', '\0']) || name.contains("..") || value.contains('\0') {
            return Err(Error::invalid(format!("invalid sysctl {name:?}")));
        }
        let in_ipc = IPC.contains(&name.as_str()) || name.starts_with("fs.mqueue.");
        let shared = |what: &str| {
            Err(Error::invalid(format!(
                "sysctl '{name}' is not allowed because the container shares the host's {what}"
            )))
        };
        if name.starts_with("net.") {
            if *network == Network::Host {
                return shared("network namespace");
            }
        } else if in_ipc {
            if *ipc == Ipc::Host {
                return shared("IPC namespace");
            }
        } else if name == "kernel.domainname" {
            if uts_host {
                return shared("UTS namespace");
            }
        } else {
            return Err(Error::invalid(format!("sysctl \"{name}\" is not in a separate kernel namespace")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, network: Network) -> Result<()> {
        let host = HostConfig { sysctls: Some([(name.to_owned(), "1".to_owned())].into()), ..HostConfig::default() };
        check(&host, &network, &Ipc::Private, false)
    }

    #[test]
    fn only_namespaced_names_pass() {
        for name in ["net.ipv4.ip_forward", "kernel.shmmax", "fs.mqueue.msg_max"] {
            assert!(with(name, Network::None).is_ok(), "{name}");
        }
        for name in ["kernel.panic", "vm.swappiness", "net/ipv4/ip_forward", "net..x"] {
            assert!(with(name, Network::None).is_err(), "{name}");
        }
        assert!(with("net.ipv4.ip_forward", Network::Host).is_err());
    }
}
