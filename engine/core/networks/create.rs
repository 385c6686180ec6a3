//! `network create`: what was asked for, judged, and the row.

use std::collections::BTreeMap;

use berth_api::models::{NetworkCreateRequest, NetworkCreateResponse};
use berth_network::route::{MAX_NAME, Route};
use berth_network::{bridge, masquerade};
use ipnet::IpNet;

use super::record::{self, Config, Driver, Network, Subnet};
use super::subnets;
use super::up::RELAY;
use crate::containers::create::random_id;
use crate::{Engine, Error, Result, time};

pub(super) const GATEWAY_MODE_IPV4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
pub(super) const GATEWAY_MODE_IPV6: &str = "com.docker.network.bridge.gateway_mode_ipv6";

/// An option and what it takes.
enum Takes {
    Flag,
    Name,
    Number,
    Address,
    OneOf(&'static [&'static str]),
}

const MTU: (&str, Takes) = ("com.docker.network.driver.mtu", Takes::Number);
const PREFIX: (&str, Takes) = ("com.docker.network.container_iface_prefix", Takes::Name);

/// What each driver can be told, by Docker's names.
fn known(driver: Driver) -> Vec<(&'static str, Takes)> {
    match driver {
        Driver::Bridge => vec![
            MTU,
            PREFIX,
            ("com.docker.network.bridge.name", Takes::Name),
            ("com.docker.network.bridge.enable_icc", Takes::Flag),
            ("com.docker.network.bridge.enable_ip_masquerade", Takes::Flag),
            ("com.docker.network.bridge.host_binding_ipv4", Takes::Address),
            ("com.docker.network.bridge.default_bridge", Takes::Flag),
            (GATEWAY_MODE_IPV4, Takes::OneOf(&["nat", "routed"])),
            (GATEWAY_MODE_IPV6, Takes::OneOf(&["nat", "routed"])),
        ],
        Driver::Macvlan => vec![
            MTU,
            PREFIX,
            ("parent", Takes::Name),
            ("macvlan_mode", Takes::OneOf(&["bridge", "private", "vepa", "passthru"])),
        ],
        Driver::Ipvlan => vec![
            MTU,
            PREFIX,
            ("parent", Takes::Name),
            ("ipvlan_mode", Takes::OneOf(&["l2", "l3", "l3s"])),
            ("ipvlan_flag", Takes::OneOf(&["bridge", "private", "vepa"])),
        ],
        Driver::Host | Driver::Null => Vec::new(),
    }
}

/// MACVLAN_MODE_* of linux/if_link.h.
pub(super) fn macvlan_mode(network: &Network) -> u32 {
    match network.option("macvlan_mode") {
        Some("private") => 1,
        Some("vepa") => 2,
        Some("passthru") => 8,
        _ => 4,
    }
}

/// IPVLAN_MODE_* and IPVLAN_F_*.
pub(super) fn ipvlan_mode(network: &Network) -> (u16, u16) {
    let mode = match network.option("ipvlan_mode") {
        Some("l3") => 1,
        Some("l3s") => 2,
        _ => 0,
    };
    let flags = match network.option("ipvlan_flag") {
        Some("private") => 1,
        Some("vepa") => 2,
        _ => 0,
    };
    (mode, flags)
}

impl Engine {
    /// Makes the network and, for one with a bridge, brings it up; all or nothing.
    pub fn create_network(&self, request: NetworkCreateRequest) -> Result<NetworkCreateResponse> {
        let name = request.name.as_str();
        check_name(name)?;
        let driver = driver(request.driver.as_deref().unwrap_or_default())?;
        refuse(&request)?;
        let options: BTreeMap<_, _> = request.options.unwrap_or_default().into_iter().collect();
        check_options(driver, &options)?;
        let ipv4 = request.enable_ipv4.unwrap_or(true);
        // Docker: an IPv6 subnet alone does not switch IPv6 on; one without the switch is refused.
        let ipv6 = request.enable_ipv6.unwrap_or(false);
        if !ipv4 && !ipv6 {
            return Err(Error::invalid("IPv4 or IPv6 must be enabled for a network"));
        }
        check_gateway_modes(&options, ipv4, ipv6)?;
        let mut asked = subnets::asked(request.ipam.as_ref(), ipv4, ipv6)?;
        let internal = request.internal.unwrap_or(false);
        let automatic = asked.is_empty();
        if driver != Driver::Bridge && automatic && !ipv4 {
            return Err(Error::invalid("an IPv6 network of this driver needs a subnet: name one with --subnet"));
        }
        for subnet in &mut asked {
            // ipvlan in layer 3 has no neighbour to go through.
            let routed = driver == Driver::Ipvlan && options.get("ipvlan_mode").is_some_and(|mode| mode != "l2");
            if subnet.gateway.is_none() && !routed {
                subnet.gateway = subnets::first_address(subnet.range.unwrap_or(subnet.subnet));
                if subnet.gateway == subnet.range.map(|range| range.network()) {
                    subnet.gateway = subnets::first_address(subnet.subnet);
                }
            }
        }
        let id = random_id()?;
        let network = Network {
            id: id.clone(),
            name: name.to_owned(),
            driver,
            created: time::now(),
            config: Config {
                ipv4,
                ipv6,
                internal: internal || driver != Driver::Bridge && !options.contains_key("parent"),
                attachable: request.attachable.unwrap_or(false),
                automatic,
                subnets: asked,
                options,
                ipam_options: request.ipam.and_then(|ipam| ipam.options).unwrap_or_default().into_iter().collect(),
                labels: request.labels.unwrap_or_default().into_iter().collect(),
            },
        };
        let network = self.insert_network(network)?;
        if let Err(error) = self.after_leaving().and_then(|()| self.ensure_up(network.clone())) {
            self.forget_network(&network)?;
            return Err(error);
        }
        self.emit_network(&network, "create", &[]);
        let warning = self.network_warning(&network)?;
        Ok(NetworkCreateResponse { id, warning })
    }

    /// What this host cannot give the network, said once.
    fn network_warning(&self, network: &Network) -> Result<String> {
        if network.driver != Driver::Bridge || network.config.internal || self.packet_path()?.name() != RELAY {
            return Ok(String::new());
        }
        Ok(masquerade::probe()?.reason().map_or_else(String::new, |reason| {
            format!(
                "this host has neither nf_tables nor iptables: containers reach each other and the host, and published ports \
                are relayed, but nothing leads from the network to the outside: {reason}"
            )
        }))
    }

    /// With subnets that meet no other network's and none of the host's.
    fn insert_network(&self, mut network: Network) -> Result<Network> {
        // One at a time: what is free in the kernel is looked at outside of the transaction.
        let _lock = self.lock("networks")?;
        let route = Route::home()?;
        let bridge = self.bridge_name(&network);
        if network.option("com.docker.network.bridge.name").is_some() && route.link(&bridge)?.is_some() {
            return Err(Error::Conflict(format!("bridge name {bridge}: there is an interface of that name")));
        }
        let others = self.all_networks()?;
        if others.iter().any(|other| other.name == network.name) {
            return Err(exists(&network.name));
        }
        let taken = |candidate: IpNet| -> Result<Option<String>> {
            let known = others
                .iter()
                .find(|other| other.config.subnets.iter().any(|known| subnets::overlap(known.subnet, candidate)));
            if let Some(known) = known {
                return Ok(Some(format!("network {}", known.name)));
            }
            // A parent's network is where macvlan's containers are to be.
            if network.driver != Driver::Bridge {
                return Ok(None);
            }
            Ok(bridge::overlap(&route, candidate, None)?.map(|(net, link)| format!("{net} of the interface {link}")))
        };
        for subnet in &network.config.subnets {
            if let Some(other) = taken(subnet.subnet)? {
                return Err(Error::Forbidden(format!(
                    "invalid pool request: Pool overlaps with other one on this address space ({} with {other})",
                    subnet.subnet
                )));
            }
        }
        let mut found = Vec::new();
        if network.config.ipv4 && network.subnet(false).is_none() {
            // The first is the default network's, which has none before it is used.
            let kept = others.iter().any(|other| other.name == "bridge" && other.config.subnets.is_empty());
            let skip = usize::from(kept);
            found.push(subnets::free_v4(skip, &|candidate| Ok(taken(candidate)?.is_some()))?);
        }
        if network.config.ipv6 && network.subnet(true).is_none() {
            let digits = u128::from_str_radix(&network.id[..32], 16).unwrap_or_default();
            found.push(subnets::unique_local(digits.to_be_bytes()));
        }
        network.config.subnets.extend(found.into_iter().map(|subnet| Subnet {
            subnet,
            range: None,
            gateway: subnets::first_address(subnet),
            reserved: BTreeMap::new(),
        }));
        network.config.subnets.sort_by_key(|subnet| subnet.subnet.addr().is_ipv6());
        self.store().write(|transaction| {
            if record::id_by_name(transaction, &network.name)?.is_some() {
                return Err(exists(&network.name));
            }
            transaction.execute(
                "INSERT INTO networks (id, name, driver, created, config) VALUES (?1, ?2, ?3, ?4, ?5)",
                (&network.id, &network.name, network.driver.name(), network.created, record::encode(&network.config)?),
            )?;
            Ok(())
        })?;
        Ok(network)
    }
}

fn exists(name: &str) -> Error {
    Error::Conflict(format!("network with name {name} already exists"))
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("invalid network name: name is empty"));
    }
    if record::is_predefined(name) || name.starts_with("container:") {
        return Err(Error::Forbidden(format!("operation is not permitted on predefined {name} network")));
    }
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    if name.len() > 255 || !name.as_bytes()[0].is_ascii_alphanumeric() || !name.bytes().all(fits) {
        return Err(Error::invalid(format!("invalid network name {name}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")));
    }
    Ok(())
}

fn driver(name: &str) -> Result<Driver> {
    match Driver::by_name(if matches!(name, "" | "default") { "bridge" } else { name }) {
        Some(driver @ (Driver::Host | Driver::Null)) => {
            Err(Error::Forbidden(format!("only one instance of \"{}\" network is allowed", driver.name())))
        }
        Some(driver) => Ok(driver),
        None if name == "overlay" => Err(Error::Unsupported(
            "network driver overlay: berth has no swarm mode; use bridge, macvlan or ipvlan".to_owned(),
        )),
        None => Err(Error::NotFound(format!(
            "could not find plugin {name} in v1 plugin registry: plugin \"{name}\" not found; use bridge, macvlan or ipvlan"
        ))),
    }
}

/// What Docker has and berth does not.
fn refuse(request: &NetworkCreateRequest) -> Result<()> {
    let ipam = request.ipam.as_ref().and_then(|ipam| ipam.driver.as_deref()).unwrap_or_default();
    let from = request.config_from.as_ref().and_then(|from| from.network.as_deref()).unwrap_or_default();
    for (given, option) in [
        (request.ingress == Some(true), "--ingress: berth has no swarm mode"),
        (request.scope.as_deref().is_some_and(|scope| scope == "swarm"), "--scope swarm: berth has no swarm mode"),
        (request.config_only == Some(true), "--config-only: configurations of networks are not supported"),
        (!from.is_empty(), "--config-from: configurations of networks are not supported"),
        (!matches!(ipam, "" | "default"), "--ipam-driver: berth has the driver default alone"),
    ] {
        if given {
            return Err(Error::Unsupported(option.to_owned()));
        }
    }
    Ok(())
}

/// Both families of a network are translated, or both are routed.
fn check_gateway_modes(options: &BTreeMap<String, String>, ipv4: bool, ipv6: bool) -> Result<()> {
    let mode = |name: &str| options.get(name).map_or("nat", String::as_str);
    let (ipv4_mode, ipv6_mode) = (mode(GATEWAY_MODE_IPV4), mode(GATEWAY_MODE_IPV6));
    if ipv4 && ipv6 && ipv4_mode != ipv6_mode {
        return Err(Error::invalid(format!(
            "invalid value {ipv6_mode:?} of option {GATEWAY_MODE_IPV6}: both families of a network have one mode, and \
             {GATEWAY_MODE_IPV4} is {ipv4_mode}"
        )));
    }
    Ok(())
}

fn check_options(driver: Driver, options: &BTreeMap<String, String>) -> Result<()> {
    let known = known(driver);
    for (name, value) in options {
        let invalid = |why: &str| Err(Error::invalid(format!("invalid value {value:?} of option {name}: {why}")));
        let Some((_, takes)) = known.iter().find(|(known, _)| known == name) else {
            let all: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            return Err(Error::Unsupported(format!(
                "option {name}: the {} driver has none such (it has {})",
                driver.name(),
                all.join(", ")
            )));
        };
        let fits = match takes {
            Takes::Flag if !matches!(value.as_str(), "true" | "false" | "1" | "0") => return invalid("true or false"),
            Takes::Number => value.parse::<u32>().is_ok_and(|mtu| mtu == 0 || (68..=65535).contains(&mtu)),
            Takes::Address => value.parse::<std::net::Ipv4Addr>().is_ok(),
            Takes::OneOf(words) if !words.contains(&value.as_str()) => {
                return invalid(&format!("it is one of {}", words.join(", ")));
            }
            Takes::Name => {
                (1..=MAX_NAME).contains(&value.len())
                    && !matches!(value.as_str(), "." | "..")
                    && !value.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':'))
            }
            Takes::Flag | Takes::OneOf(_) => true,
        };
        if !fits {
            return match takes {
                Takes::Number => invalid("a number of bytes from 68 to 65535 is wanted"),
                Takes::Address => invalid("an IPv4 address is wanted"),
                _ => invalid("at most 15 characters without spaces and slashes make the name of an interface"),
            };
        }
    }
    Ok(())
}
