//! `--link`: names of other containers, as Docker's first networks had them.
//!
//! On the default network a link is a line in /etc/hosts and variables in the environment, and the other container must
//! run; on users' own networks it is one more name for somebody who is found by name anyway.

use std::net::IpAddr;

use berth_api::models::ContainerConfig;

use super::endpoints::Endpoint;
use crate::containers::record;
use crate::{Container, Engine, Error, Result};

#[derive(Debug, Default)]
pub(super) struct Linked {
    pub hosts: Vec<(IpAddr, String)>,
    pub environment: Vec<String>,
    /// Alias and the other's name, for the resolver.
    pub names: Vec<(String, String)>,
}

/// `NAME[:ALIAS]`, with or without the slashes that Docker adds.
pub(crate) fn parse(text: &str) -> Result<(&str, &str)> {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    let name = name.trim_start_matches('/');
    let alias = alias.rsplit('/').next().unwrap_or(alias);
    if name.is_empty() || alias.is_empty() || alias.contains(':') {
        return Err(Error::invalid(format!("bad format for links: {text}")));
    }
    if berth_network::names::check(alias).is_err() {
        return Err(Error::invalid(format!("bad format for links: {text}: {alias:?} is no name")));
    }
    Ok((name, alias))
}

impl Engine {
    pub(super) fn links(&self, container: &Container, ends: &[Endpoint]) -> Result<Linked> {
        let mut linked = Linked::default();
        let of_endpoints = ends.iter().flat_map(|end| end.settings.links.iter().flatten());
        let of_host = container.host_config.links.iter().flatten();
        let named = ends.iter().any(|end| end.network.has_names());
        for (text, of_endpoint) in of_host.map(|text| (text, false)).chain(of_endpoints.map(|text| (text, true))) {
            let (name, alias) = parse(text)?;
            let other = self.find(name)?;
            // By its own name, or by a beginning of its ID.
            if other.id == container.id {
                return Err(record::no_such(name));
            }
            if named || of_endpoint {
                linked.names.push((alias.to_ascii_lowercase(), other.name.to_ascii_lowercase()));
                continue;
            }
            let Some(plan) = self.running_plan(&other)? else {
                return Err(Error::Conflict(format!(
                    "Cannot link to a non running container: /{} AS /{}/{alias}",
                    other.name, container.name
                )));
            };
            let shared = plan.endpoints.iter().find(|theirs| ends.iter().any(|end| end.network.id == theirs.network));
            let Some(address) = shared.and_then(|end| end.addresses.first()).map(ipnet::IpNet::addr) else {
                return Err(Error::Conflict(format!(
                    "Cannot link to {}, as it does not belong to the default network",
                    other.name
                )));
            };
            linked.hosts.push((address, hosts_names(alias, &other)));
            linked.environment.extend(environment(alias, container, &other, address));
        }
        Ok(linked)
    }
}

fn hosts_names(alias: &str, other: &Container) -> String {
    let mut names = alias.to_owned();
    for name in [other.short_id(), &other.name] {
        if name != alias {
            names = format!("{names} {name}");
        }
    }
    names
}

/// `DB_NAME`, `DB_PORT_5432_TCP_ADDR` and so on.
fn environment(alias: &str, container: &Container, other: &Container, address: IpAddr) -> Vec<String> {
    let prefix = alias.replace('-', "_").to_ascii_uppercase();
    let mut list = vec![format!("{prefix}_NAME=/{}/{alias}", container.name)];
    let mut ports: Vec<(u16, &str)> = exposed(&other.config);
    ports.sort_unstable();
    if let Some((port, protocol)) = ports.first() {
        list.push(format!("{prefix}_PORT={protocol}://{address}:{port}"));
    }
    for (port, protocol) in ports {
        let name = format!("{prefix}_PORT_{port}_{}", protocol.to_ascii_uppercase());
        list.push(format!("{name}={protocol}://{address}:{port}"));
        list.push(format!("{name}_ADDR={address}"));
        list.push(format!("{name}_PORT={port}"));
        list.push(format!("{name}_PROTO={protocol}"));
    }
    for pair in other.config.env.iter().flatten() {
        if !pair.starts_with("HOME=") && !pair.starts_with("PATH=") && pair.contains('=') {
            list.push(format!("{prefix}_ENV_{pair}"));
        }
    }
    list
}

fn exposed(config: &ContainerConfig) -> Vec<(u16, &str)> {
    let split = |text: &'_ String| {
        let (port, protocol) = text.split_once('/')?;
        let protocol = ["tcp", "udp", "sctp"].into_iter().find(|known| *known == protocol)?;
        Some((port.parse().ok()?, protocol))
    };
    config.exposed_ports.iter().flatten().filter_map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containers::record::tests::container;

    #[test]
    fn links_are_read_with_and_without_an_alias() {
        assert_eq!(parse("db").unwrap(), ("db", "db"));
        assert_eq!(parse("/db:/web/sql").unwrap(), ("db", "sql"));
        for bad in ["", ":", "db:", ":x", "a:b:c", "db:a b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_other_ones_ports_and_variables_are_told() {
        let mut other = container();
        other.config.exposed_ports = Some(vec!["5432/tcp".to_owned()]);
        other.config.env = Some(vec!["VERSION=15".to_owned(), "PATH=/bin".to_owned()]);
        let list = environment("my-db", &container(), &other, "172.17.0.5".parse().unwrap());
        for line in [
            "MY_DB_NAME=/test/my-db",
            "MY_DB_PORT=tcp://172.17.0.5:5432",
            "MY_DB_PORT_5432_TCP_ADDR=172.17.0.5",
            "MY_DB_ENV_VERSION=15",
        ] {
            assert!(list.iter().any(|found| found == line), "{line}: {list:?}");
        }
        assert!(!list.iter().any(|found| found.contains("PATH")));
    }
}
