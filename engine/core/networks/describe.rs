//! Networks and endpoints as Docker shows them.

use std::collections::HashMap;
use std::net::IpAddr;

use berth_api::Filters;
use berth_api::models::{ConfigReference, EndpointResource, EndpointSettings, Ipam, IpamConfig, NetworkInspect};
use ipnet::IpNet;
use rusqlite::Connection;

use super::endpoints::{self, Endpoint, mac_text};
use super::lease::{from_octets, mac_of};
use super::plan::dns_names;
use super::record::{self, Driver, Network};
use crate::{Container, Engine, Error, Result, time};

impl Engine {
    /// All that the filters let through (`dangling`, `driver`, `id`, `label`, `name`, `scope`, `type`), sorted by name,
    /// without their containers.
    pub fn networks(&self, filters: &Filters) -> Result<Vec<NetworkInspect>> {
        let invalid = |error: berth_api::query::InvalidQuery| Error::InvalidArgument(error.0);
        filters.expect(&["dangling", "driver", "id", "label", "name", "scope", "type"]).map_err(invalid)?;
        if let Some(kind) = filters.get("type").iter().find(|kind| !matches!(kind.as_str(), "builtin" | "custom")) {
            return Err(Error::invalid(format!("invalid filter 'type={kind}'")));
        }
        // Named and present, it is a flag with a value; absent, everything passes.
        let dangling = match filters.get("dangling").is_empty() {
            true => None,
            false => Some(filters.flag("dangling", false).map_err(invalid)?),
        };
        let (networks, used) = self.store().read(|connection| {
            let mut statement = connection.prepare_cached("SELECT DISTINCT network FROM endpoints")?;
            let used = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok::<_, Error>((record::all(connection)?, used))
        })?;
        let wanted = |network: &Network| {
            let kind = if network.is_predefined() { "builtin" } else { "custom" };
            let unused = !network.is_predefined() && !used.contains(&network.id);
            dangling.is_none_or(|wanted| wanted == unused)
                && filters.allows_where("name", |wanted| network.name.contains(wanted))
                && filters.allows_where("id", |wanted| network.id.contains(wanted))
                && filters.allows("driver", network.driver.name())
                && filters.allows("scope", "local")
                && filters.allows("type", kind)
                && filters.allows_labels(|key| network.config.labels.get(key).map(String::as_str))
        };
        Ok(networks.iter().filter(|network| wanted(network)).map(describe).collect())
    }

    /// By ID, by name, or by a prefix of the ID that fits only one; with its running containers.
    pub fn inspect_network(&self, name: &str) -> Result<NetworkInspect> {
        let network = self.network(name)?;
        let mut found = describe(&network);
        let containers = if network.has_links() {
            self.containers_in(&network)?
        } else {
            let none = |name| EndpointResource {
                name: Some(name),
                endpoint_id: Some(String::new()),
                mac_address: Some(String::new()),
                ipv4_address: Some(String::new()),
                ipv6_address: Some(String::new()),
            };
            self.containers_on_network(&network.name)?.into_iter().map(|(id, name)| (id, none(name))).collect()
        };
        found.containers = Some(containers);
        Ok(found)
    }

    fn containers_in(&self, network: &Network) -> Result<HashMap<String, EndpointResource>> {
        let mut found = HashMap::new();
        for end in self.store().read(|connection| endpoints::of_network(connection, &network.id))? {
            let Ok(container) = self.find(&end.container) else { continue };
            let Some(plan) = self.running_plan(&container)? else { continue };
            let Some(planned) = plan.endpoints.iter().find(|planned| planned.network == network.id) else { continue };
            let of = |v6: bool| planned.addresses.iter().find(|net| net.addr().is_ipv6() == v6).map(IpNet::to_string);
            let resource = EndpointResource {
                name: Some(container.name),
                endpoint_id: Some(end.id),
                mac_address: Some(planned.mac.map(mac_text).unwrap_or_default()),
                ipv4_address: Some(of(false).unwrap_or_default()),
                ipv6_address: Some(of(true).unwrap_or_default()),
            };
            found.insert(container.id, resource);
        }
        Ok(found)
    }

    /// A container's networks by name, as `inspect` and `ps` list them.
    pub(crate) fn endpoint_settings(
        &self,
        container: &Container,
        running: bool,
    ) -> Result<HashMap<String, EndpointSettings>> {
        let pairs = self.store().read(|connection| {
            let ends = endpoints::of_container(connection, &container.id)?;
            ends.into_iter().map(|end| Ok((addresses_of(connection, &end)?, end))).collect::<Result<Vec<_>>>()
        })?;
        if pairs.is_empty() {
            let mode = container.host_config.network_mode.as_deref().unwrap_or_default();
            let Ok(network) = self.network(mode) else { return Ok(HashMap::new()) };
            if network.has_links() || mode.is_empty() {
                return Ok(HashMap::new());
            }
            return Ok([(network.name.clone(), blank(&network, ""))].into());
        }
        let wire = |(addresses, end): (Vec<IpAddr>, Endpoint)| {
            let settings = self.one_endpoint(container, &end, if running { &addresses } else { &[] });
            (end.network.name, settings)
        };
        Ok(pairs.into_iter().map(wire).collect())
    }

    fn one_endpoint(&self, container: &Container, end: &Endpoint, addresses: &[IpAddr]) -> EndpointSettings {
        let network = &end.network;
        let running = !addresses.is_empty();
        let mut settings = blank(network, if running { &end.id } else { "" });
        settings.ipam_config.clone_from(&end.settings.ipam_config);
        settings.links.clone_from(&end.settings.links);
        settings.aliases.clone_from(&end.settings.aliases);
        settings.driver_opts.clone_from(&end.settings.driver_opts);
        settings.gw_priority = end.settings.gw_priority;
        settings.dns_names = Some(dns_names(container, end)).filter(|names| !names.is_empty());
        let mut nets = Vec::new();
        for &address in addresses {
            let Some(subnet) = network.subnet_of(address) else { continue };
            let gateway = subnet.gateway.filter(|_| !network.config.internal).map(|gateway| gateway.to_string());
            let length = i64::from(subnet.subnet.prefix_len());
            nets.extend(IpNet::new(address, subnet.subnet.prefix_len()).ok());
            if address.is_ipv6() {
                settings.global_ipv6_address = Some(address.to_string());
                settings.global_ipv6_prefix_len = Some(length);
                settings.ipv6_gateway = gateway;
            } else {
                settings.ip_address = Some(address.to_string());
                settings.ip_prefix_len = Some(length);
                settings.gateway = Some(gateway.unwrap_or_default());
            }
        }
        let mac = end.mac().or_else(|| mac_of(&nets, &end.id, &self.link_of(network)).filter(|_| running));
        settings.mac_address = Some(mac.map(mac_text).unwrap_or_default());
        settings
    }
}

fn blank(network: &Network, endpoint: &str) -> EndpointSettings {
    EndpointSettings {
        network_id: Some(network.id.clone()),
        endpoint_id: Some(endpoint.to_owned()),
        ip_address: Some(String::new()),
        ip_prefix_len: Some(0),
        gateway: Some(String::new()),
        mac_address: Some(String::new()),
        ..EndpointSettings::default()
    }
}

fn addresses_of(connection: &Connection, end: &Endpoint) -> Result<Vec<IpAddr>> {
    let mut statement =
        connection.prepare_cached("SELECT address FROM addresses WHERE container = ?1 AND network = ?2")?;
    let mut rows = statement.query((&end.container, &end.network.id))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(row.get_ref(0)?.as_blob().ok().and_then(from_octets));
    }
    Ok(found)
}

fn describe(network: &Network) -> NetworkInspect {
    let config = &network.config;
    let subnet = |subnet: &record::Subnet| IpamConfig {
        subnet: Some(subnet.subnet.to_string()),
        ip_range: Some(subnet.range.map(|range| range.to_string()).unwrap_or_default()),
        gateway: subnet.gateway.map(|gateway| gateway.to_string()),
        auxiliary_addresses: (!subnet.reserved.is_empty())
            .then(|| subnet.reserved.iter().map(|(name, address)| (name.clone(), address.to_string())).collect()),
    };
    let map = |map: &std::collections::BTreeMap<String, String>| map.clone().into_iter().collect::<HashMap<_, _>>();
    NetworkInspect {
        name: Some(network.name.clone()),
        id: Some(network.id.clone()),
        created: Some(time::rfc3339(network.created)),
        scope: Some("local".to_owned()),
        driver: Some(network.driver.name().to_owned()),
        enable_ipv4: Some(config.ipv4),
        enable_ipv6: Some(config.ipv6),
        ipam: Some(Ipam {
            driver: Some("default".to_owned()),
            config: Some(config.subnets.iter().map(subnet).collect()),
            options: (!config.ipam_options.is_empty()).then(|| map(&config.ipam_options)),
        }),
        internal: Some(config.internal),
        attachable: Some(config.attachable),
        ingress: Some(false),
        config_from: Some(ConfigReference { network: Some(String::new()) }),
        config_only: Some(false),
        options: Some(map(&shown_options(network))),
        labels: Some(map(&config.labels)),
        containers: Some(HashMap::new()),
        ..NetworkInspect::default()
    }
}

/// Docker shows what its default bridge is set to.
fn shown_options(network: &Network) -> std::collections::BTreeMap<String, String> {
    let mut options = network.config.options.clone();
    if network.driver == Driver::Bridge && network.is_predefined() {
        for (name, value) in [
            ("com.docker.network.bridge.default_bridge", "true"),
            ("com.docker.network.bridge.enable_icc", "true"),
            ("com.docker.network.bridge.enable_ip_masquerade", "true"),
            ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
        ] {
            options.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    options
}
