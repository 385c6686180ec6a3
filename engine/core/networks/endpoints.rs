//! Which networks a container is in, and what was asked of each.

use std::net::IpAddr;

use berth_api::models::{EndpointSettings, NetworkingConfig};
use rusqlite::Connection;

use super::record::{self, Driver, Network};
use crate::settings::modes;
use crate::{Engine, Error, Result};

/// A container's place in a network, whether it runs or not.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub id: String,
    pub container: String,
    pub network: Network,
    pub position: i64,
    pub settings: EndpointSettings,
}

/// What was asked of one network.
#[derive(Debug)]
pub(crate) struct Asked {
    pub network: Network,
    pub settings: EndpointSettings,
}

impl Endpoint {
    /// The interface inside.
    pub(crate) fn interface(&self) -> String {
        let prefix = self.network.option("com.docker.network.container_iface_prefix").unwrap_or("eth");
        format!("{prefix}{}", self.position)
    }

    /// The address that was asked for, of a family.
    pub(crate) fn wanted(&self, v6: bool) -> Option<IpAddr> {
        wanted(&self.settings, v6)
    }

    pub(crate) fn aliases(&self) -> &[String] {
        self.settings.aliases.as_deref().unwrap_or_default()
    }

    pub(crate) fn mac(&self) -> Option<[u8; 6]> {
        self.settings.mac_address.as_deref().and_then(parse_mac)
    }
}

fn wanted(settings: &EndpointSettings, v6: bool) -> Option<IpAddr> {
    let config = settings.ipam_config.as_ref()?;
    let text = if v6 { config.ipv6_address.as_deref() } else { config.ipv4_address.as_deref() };
    text.filter(|text| !text.is_empty()).and_then(|text| text.parse().ok())
}

/// Six pairs of hexadecimal digits, with colons or dashes.
pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (parts.next().is_none()).then_some(bytes)
}

pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

const NO_ADDRESS: &str = "user specified IP address is supported on user defined networks only";

impl Engine {
    /// The networks that a new container is to be in: the mode's first, then the others by name. Empty for the modes
    /// `none`, `host` and `container:`.
    pub(crate) fn asked_endpoints(
        &self,
        mode: &modes::Network,
        mode_text: &str,
        networking: Option<NetworkingConfig>,
    ) -> Result<Vec<Asked>> {
        let mut given = networking.and_then(|config| config.endpoints_config).unwrap_or_default();
        let modes::Network::Named(name) = mode else {
            let own = given.remove(mode_text).and_then(|settings| settings.ipam_config);
            if !matches!(mode, modes::Network::Container(_))
                && own.is_some_and(|ipam| {
                    [ipam.ipv4_address, ipam.ipv6_address].iter().flatten().any(|text| !text.is_empty())
                })
            {
                return Err(Error::invalid(NO_ADDRESS));
            }
            // Clients name the default where they mean nothing.
            given.retain(|name, settings| !(name == "default" && *settings == EndpointSettings::default()));
            return match given.into_keys().min() {
                None => Ok(Vec::new()),
                Some(other) => Err(Error::invalid(format!(
                    "conflicting options: cannot attach both user-defined and non-user-defined network-modes \
                     ({mode_text} and {other})"
                ))),
            };
        };
        let main = self.network(name)?;
        let mut settings = EndpointSettings::default();
        for key in [name.as_str(), main.name.as_str(), main.id.as_str(), "default"] {
            // `default` stands for the mode's network if that is the default one.
            if (key != "default" || main.name == "bridge")
                && let Some(found) = given.remove(key)
            {
                settings = found;
            }
        }
        let mut list = vec![Asked { network: main, settings }];
        let mut others: Vec<_> = given.into_iter().collect();
        others.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, settings) in others {
            let network = self.network(&name)?;
            if list.iter().any(|asked| asked.network.id == network.id) {
                return Err(Error::invalid(format!("network {name} is named twice")));
            }
            list.push(Asked { network, settings });
        }
        for asked in &list {
            check(asked)?;
        }
        Ok(list)
    }

    /// In the order of their interfaces.
    pub(crate) fn endpoints_of(&self, container: &str) -> Result<Vec<Endpoint>> {
        self.store().read(|connection| of_container(connection, container))
    }
}

/// What one network can be asked for, in Docker's words.
pub(crate) fn check(asked: &Asked) -> Result<()> {
    let Asked { network, settings } = asked;
    let invalid = |why: String| {
        Err(Error::invalid(format!("invalid config for network {}: invalid endpoint settings:\n{why}", network.name)))
    };
    if !network.has_links() {
        return Err(Error::invalid(format!(
            "conflicting options: a container in the network {} can be in no other",
            network.name
        )));
    }
    if settings.aliases.as_ref().is_some_and(|list| !list.is_empty()) && !network.has_names() {
        return invalid("network-scoped aliases are only supported for user-defined networks".to_owned());
    }
    for alias in settings.aliases.iter().flatten() {
        if berth_network::names::check(alias).is_err() {
            return invalid(format!("invalid alias {alias:?}: letters, digits, '-', '_' and '.' make a name"));
        }
    }
    if let Some(mac) = settings.mac_address.as_deref().filter(|text| !text.is_empty()) {
        match parse_mac(mac) {
            None => return invalid(format!("invalid MAC address: {mac}")),
            Some(bytes) if bytes[0] & 1 != 0 || bytes == [0; 6] => {
                return invalid(format!("invalid MAC address: {mac} is not one interface's"));
            }
            Some(_) if network.driver == Driver::Ipvlan => {
                return invalid(format!("MAC address {mac}: interfaces of ipvlan have their parent's"));
            }
            Some(_) => {}
        }
    }
    if let Some(ipam) = &settings.ipam_config {
        for (text, v6) in [(&ipam.ipv4_address, false), (&ipam.ipv6_address, true)] {
            let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { continue };
            let family = if v6 { "IPv6" } else { "IPv4" };
            let Ok(address) = text.parse::<IpAddr>() else {
                return invalid(format!("invalid {family} address: {text}"));
            };
            if address.is_ipv6() != v6 {
                return invalid(format!("invalid {family} address: {text}"));
            }
            if network.is_predefined() {
                return Err(Error::invalid(NO_ADDRESS));
            }
            if network.config.automatic {
                return Err(Error::invalid(
                    "user specified IP address is supported only when connecting to networks with user configured subnets",
                ));
            }
            let Some(subnet) = network.subnet_of(address) else {
                return invalid(format!("no configured subnet contains IP address {text}"));
            };
            if !super::lease::can_be_a_hosts(subnet.subnet, address) {
                return invalid(format!("IP address {text} is the subnet's own"));
            }
            if subnet.gateway == Some(address) {
                return Err(Error::Conflict(format!("Address already in use: {text} is the gateway's")));
            }
            if let Some((name, _)) = subnet.reserved.iter().find(|(_, reserved)| **reserved == address) {
                return Err(Error::Conflict(format!("Address already in use: {text} is kept for {name}")));
            }
        }
        for text in ipam.link_local_ips.iter().flatten() {
            match text.parse::<IpAddr>() {
                Ok(address) if is_link_local(address) => {}
                _ => return invalid(format!("invalid link-local IP address: {text}")),
            }
        }
    }
    for (name, value) in settings.driver_opts.iter().flatten() {
        if name != SYSCTLS {
            return Err(Error::Unsupported(format!(
                "driver option {name} of network {}: berth has none such",
                network.name
            )));
        }
        sysctls(value, "eth0").map_err(|why| Error::invalid(format!("invalid driver option {name}: {why}")))?;
    }
    Ok(())
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// `net.ipv4.conf.IFNAME.log_martians=1,...`; also in small letters, which command lines make of `--network driver-opt=...`.
pub(crate) const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// Names below /proc/sys/net and values; only settings of the interface itself.
pub(crate) fn sysctls(text: &str, interface: &str) -> Result<Vec<(String, String)>, String> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("{part} is not NAME=VALUE"))?;
            let words: Vec<&str> = name.split('.').collect();
            let ["net", family @ ("ipv4" | "ipv6" | "mpls"), kind @ ("conf" | "neigh"), "IFNAME" | "ifname", setting] =
                words[..]
            else {
                return Err(format!("{name} is not net.FAMILY.conf.IFNAME.SETTING"));
            };
            if setting.is_empty() || setting.contains('/') || value.contains(['\0', '\n']) {
                return Err(format!("{part} is not NAME=VALUE"));
            }
            Ok((format!("{family}/{kind}/{interface}/{setting}"), value.to_owned()))
        })
        .collect()
}

pub(crate) fn insert(connection: &Connection, container: &str, position: i64, id: &str, asked: &Asked) -> Result<()> {
    let settings = serde_json::to_string(&asked.settings)
        .map_err(|error| Error::Internal(format!("encode an endpoint's settings: {error}")))?;
    connection
        .prepare_cached(
            "INSERT INTO endpoints (container, network, id, position, settings) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((container, &asked.network.id, id, position, settings))?;
    Ok(())
}

pub(crate) fn of_container(connection: &Connection, container: &str) -> Result<Vec<Endpoint>> {
    select(connection, "container = ?1 ORDER BY position", container)
}

pub(crate) fn of_network(connection: &Connection, network: &str) -> Result<Vec<Endpoint>> {
    select(connection, "network = ?1 ORDER BY container", network)
}

fn select(connection: &Connection, condition: &str, value: &str) -> Result<Vec<Endpoint>> {
    let sql = format!("SELECT id, container, network, position, settings FROM endpoints WHERE {condition}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([value])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let settings = row.get_ref(4).and_then(|value| Ok(value.as_str()?))?;
        let network: String = row.get(2)?;
        found.push(Endpoint {
            id: row.get(0)?,
            container: row.get(1)?,
            network: record::by_id(connection, &network)?,
            position: row.get(3)?,
            settings: serde_json::from_str(settings)
                .map_err(|error| Error::Internal(format!("read an endpoint's settings: {error}")))?,
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_and_written() {
        assert_eq!(parse_mac("02:42:AC-11-00:02"), Some([2, 0x42, 0xac, 0x11, 0, 2]));
        assert_eq!(mac_text([2, 0x42, 0xac, 0x11, 0, 2]), "02:42:ac:11:00:02");
        for bad in ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "0242ac110002", "02:42:ac:11:00:0g", "2:42:ac:11:0:2"]
        {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }

    #[test]
    fn settings_of_the_interface_alone_may_be_set() {
        let found = sysctls("net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.accept_ra=2", "eth1").unwrap();
        assert_eq!(found[0], ("ipv4/conf/eth1/log_martians".to_owned(), "1".to_owned()));
        for bad in ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.forwarding=1", "net.ipv4.conf.IFNAME.a/b=1", "x"] {
            assert!(sysctls(bad, "eth0").is_err(), "{bad}");
        }
    }
}
