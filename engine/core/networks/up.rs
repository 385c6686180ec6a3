//! Bringing networks up in the kernel, and taking them down again.

use std::path::PathBuf;

use berth_network::bridge::{self, Bridge};
use berth_network::firewall::{self, NetworkRules, Owner, PacketPath};
use berth_network::plan::Link;
use berth_network::route::Route;
use berth_network::{attach, namespace, sysctl, veth};
use ipnet::IpNet;

use super::create::{GATEWAY_MODE_IPV4, GATEWAY_MODE_IPV6};
use super::endpoints::{Asked, mac_text};
use super::lease::mac_of;
use super::record::{self, Driver, Network, Subnet};
use super::subnets;
use crate::{Engine, Error, Result};

/// The state whose names in the kernel are the plain ones.
const USUAL: &str = "/var/lib/berth";

/// The packet path that was picked, in the networks' folder: it stays until a reboot.
const PICKED: &str = "packet-path";

/// The packet path of hosts without a packet filter.
pub(crate) const RELAY: &str = "relay";

impl Engine {
    /// What is known about networks until a reboot.
    pub(crate) fn networks_folder(&self) -> PathBuf {
        self.paths().run.join("networks")
    }

    /// Of the network's names; see `berth_network::names`.
    pub(crate) fn names_folder(&self, network: &Network) -> PathBuf {
        self.networks_folder().join(&network.id)
    }

    fn is_usual(&self) -> bool {
        self.paths().state == std::path::Path::new(USUAL)
    }

    /// The interface of a bridge network.
    pub(crate) fn bridge_name(&self, network: &Network) -> String {
        match network.option("com.docker.network.bridge.name") {
            Some(name) => name.to_owned(),
            None if network.name == "bridge" && self.is_usual() => "berth0".to_owned(),
            None => format!("br-{}", &network.id[..12]),
        }
    }

    /// Whose tables and chains: those of the usual state root have the plain name.
    pub(crate) fn owner(&self) -> Result<Owner> {
        if self.is_usual() {
            return Ok(Owner("berth".to_owned()));
        }
        let id = self.store().read(|connection| record::id_by_name(connection, "bridge"))?;
        let id = id.ok_or_else(|| Error::Internal("the default network has no row".to_owned()))?;
        Ok(Owner(format!("berth-{}", &id[..8])))
    }

    /// The packet path that this host's networks go; picked once, by trial, and kept until a reboot.
    pub(crate) fn packet_path(&self) -> Result<Box<dyn PacketPath>> {
        let file = self.networks_folder().join(PICKED);
        let picked = std::fs::read_to_string(&file).ok();
        if let Some(path) = picked.as_deref().and_then(|name| firewall::by_name(name.trim())) {
            return Ok(path);
        }
        let selection = self.select_path()?;
        berth_store::create_private(&self.networks_folder())
            .and_then(|()| std::fs::write(&file, selection.path.name()))
            .map_err(Error::io("write", &file))?;
        for (name, reason) in &selection.refused {
            tracing::info!("packet path {name}: {reason}");
        }
        Ok(selection.path)
    }

    /// The one that the configuration names, or the first of several that works; else the best that works.
    fn select_path(&self) -> Result<firewall::Selection> {
        let config = self.config();
        let Some(names) = config.packet_path.as_deref() else { return Ok(firewall::select(None)?) };
        let mut refused = Vec::new();
        for name in names.split(',') {
            match firewall::select(Some(name)) {
                Ok(selection) => return Ok(selection),
                Err(error @ berth_network::Error::InvalidArgument(_)) => return Err(error.into()),
                Err(error) => refused.push(error.to_string()),
            }
        }
        Err(Error::Unavailable(refused.join("; ")))
    }

    /// The packet path that is in use, or would be, and why those before it are not.
    pub(crate) fn packet_path_choice(&self) -> Result<(String, Vec<serde_json::Value>)> {
        let selection = self.select_path()?;
        let name = self.picked_path().map_or(selection.path.name(), |path| path.name()).to_owned();
        let refused = selection.refused.iter();
        let refused = refused.map(|(name, reason)| serde_json::json!({ "name": name, "reason": reason }));
        Ok((name, refused.collect()))
    }

    /// As [`Engine::packet_path`], if networks are up.
    pub(crate) fn picked_path(&self) -> Option<Box<dyn PacketPath>> {
        let picked = std::fs::read_to_string(self.networks_folder().join(PICKED)).ok()?;
        firewall::by_name(picked.trim())
    }

    /// The network with its subnets, in the kernel. Idempotent; one question to the kernel if it is up.
    pub(crate) fn ensure_up(&self, network: Network) -> Result<Network> {
        match network.driver {
            Driver::Bridge => {
                let name = self.bridge_name(&network);
                let route = Route::home()?;
                if !network.config.subnets.is_empty() && bridge::find(&route, &name)?.is_some_and(|link| link.up) {
                    return Ok(network);
                }
                self.bring_up(&route, &network.id)
            }
            Driver::Macvlan | Driver::Ipvlan => {
                self.ensure_parent(&Route::home()?, &network)?;
                Ok(network)
            }
            Driver::Host | Driver::Null => Ok(network),
        }
    }

    /// Why this host cannot have the default network, where a container is to be in it because nobody named another.
    pub(crate) fn lacks_bridges(&self, asked: &[Asked]) -> Result<Option<String>> {
        let [Asked { network, .. }] = asked else { return Ok(None) };
        // If it is up, that is the answer; else it is about to be.
        match self.after_leaving().and_then(|()| self.ensure_up(network.clone())) {
            Err(Error::Unavailable(reason)) => Ok(Some(reason)),
            other => other.map(|_| None),
        }
    }

    pub(crate) fn bring_up(&self, route: &Route, id: &str) -> Result<Network> {
        let _lock = self.lock(&format!("network-{id}"))?;
        // Nobody takes all networks down meanwhile, nor chooses the same subnet.
        let _networks = self.lock("networks")?;
        let mut network = self.store().read(|connection| record::by_id(connection, id))?;
        let name = self.bridge_name(&network);
        if network.config.automatic && bridge::find(route, &name)?.is_none() {
            network = self.settle_subnets(route, network, &name)?;
        }
        let path = self.packet_path()?;
        let addresses: Vec<IpNet> = host_addresses(&network);
        let digits = network.id.as_str();
        let bridge = Bridge {
            mac: mac_of(&addresses, digits, &Link::Bridge { bridge: String::new() }).unwrap_or_default(),
            mtu: network.option("com.docker.network.driver.mtu").and_then(|text| text.parse().ok()),
            name,
            addresses,
        };
        tracing::debug!("bring up {} ({})", bridge.name, mac_text(bridge.mac));
        if bridge::find(route, &bridge.name)?.is_none() {
            veth::require()?;
        }
        let made = bridge::ensure(route, &bridge)?;
        if made {
            self.take_ends_back(route, &network, &bridge.name)?;
        }
        let ready = path
            .add_network(&self.owner()?, &self.network_rules(&network))
            .map_err(Error::from)
            .and_then(|()| self.allow_forwarding(&network, &*path))
            .and_then(|()| Ok(bridge::set_up(route, &bridge.name)?));
        if let Err(error) = ready {
            if made {
                let _ = route.remove_link(&bridge.name);
                let _ = path.remove_network(&self.owner()?, &self.network_rules(&network));
            }
            return Err(error);
        }
        Ok(network)
    }

    /// Somebody may have removed the bridge while containers run: their interfaces are there and in no bridge.
    fn take_ends_back(&self, route: &Route, network: &Network, name: &str) -> Result<()> {
        let ends = self.store().read(|connection| {
            let mut statement = connection.prepare_cached("SELECT id FROM endpoints WHERE network = ?1")?;
            Ok::<_, Error>(
                statement.query_map([&network.id], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?,
            )
        })?;
        let Some(bridge) = bridge::find(route, name)? else { return Ok(()) };
        let links = route.links()?;
        for name in ends.iter().map(|id| attach::host_interface(id)) {
            if let Some(link) = links.iter().find(|link| link.name == name && link.master.is_none()) {
                route.set_master(link.index, bridge.index)?;
            }
        }
        Ok(())
    }

    fn allow_forwarding(&self, network: &Network, path: &dyn PacketPath) -> Result<()> {
        if network.config.internal {
            return Ok(());
        }
        if path.name() == RELAY {
            // Nothing would keep networks apart: what comes from containers goes to this host and no further.
            let name = self.bridge_name(network);
            for family in ["ipv4", "ipv6"] {
                namespace::at_home(|| sysctl::set(&format!("{family}/conf/{name}/forwarding"), "0"))??;
            }
            return Ok(());
        }
        for v6 in [false, true] {
            if network.subnet(v6).is_some() {
                bridge::allow_forwarding(&self.networks_folder(), v6)?;
            }
        }
        Ok(())
    }

    /// Subnets that were left to berth: chosen on the first use, and for the default network again when the host's own
    /// networks have come to overlap.
    fn settle_subnets(&self, route: &Route, mut network: Network, bridge: &str) -> Result<Network> {
        let overlaps = |subnet: IpNet| -> Result<bool> { Ok(bridge::overlap(route, subnet, Some(bridge))?.is_some()) };
        let stays = match network.subnet(false) {
            Some(subnet) => !network.is_predefined() || !overlaps(subnet.subnet)?,
            None => !network.config.ipv4,
        };
        if stays {
            return Ok(network);
        }
        let others = self.all_networks()?;
        let taken = |candidate: IpNet| -> Result<bool> {
            let known = others.iter().filter(|other| other.id != network.id).flat_map(|other| &other.config.subnets);
            Ok(known.into_iter().any(|known| subnets::overlap(known.subnet, candidate)) || overlaps(candidate)?)
        };
        let subnet = subnets::free_v4(0, &taken)?;
        network.config.subnets.retain(|known| known.subnet.addr().is_ipv6());
        network.config.subnets.insert(
            0,
            Subnet { subnet, range: None, gateway: subnets::first_address(subnet), reserved: Default::default() },
        );
        let config = record::encode(&network.config)?;
        self.store().write(|transaction| {
            transaction.execute("UPDATE networks SET config = ?2 WHERE id = ?1", (&network.id, config))?;
            transaction.execute("DELETE FROM addresses WHERE network = ?1", [&network.id])?;
            Ok::<_, Error>(())
        })?;
        Ok(network)
    }

    pub(crate) fn network_rules(&self, network: &Network) -> NetworkRules {
        let flag = |name: &str| network.option(name).is_none_or(|value| value != "false" && value != "0");
        let mode =
            network.option(if network.config.ipv4 { GATEWAY_MODE_IPV4 } else { GATEWAY_MODE_IPV6 }).unwrap_or("nat");
        NetworkRules {
            bridge: self.bridge_name(network),
            subnets: network.config.subnets.iter().map(|subnet| subnet.subnet).collect(),
            masquerade: flag("com.docker.network.bridge.enable_ip_masquerade") && mode != "routed",
            internal: network.config.internal,
            among_themselves: flag("com.docker.network.bridge.enable_icc"),
            routed: mode == "routed",
        }
    }

    /// Removes a network from the kernel. Idempotent.
    pub(crate) fn take_down(&self, network: &Network) -> Result<()> {
        match network.driver {
            Driver::Bridge => {
                let route = Route::home()?;
                let name = self.bridge_name(network);
                if bridge::find(&route, &name).is_ok_and(|found| found.is_some()) {
                    route.remove_link(&name)?;
                }
                if let Some(path) = self.picked_path() {
                    path.remove_network(&self.owner()?, &self.network_rules(network))?;
                }
            }
            Driver::Macvlan | Driver::Ipvlan => self.remove_parent(network)?,
            Driver::Host | Driver::Null => {}
        }
        crate::containers::remove::remove_folder(&self.names_folder(network))
    }

    /// The interface that a macvlan or ipvlan network is made of, and whether berth makes it: a VLAN `PARENT.NUMBER`, or
    /// without a parent one that leads nowhere.
    fn parent(&self, network: &Network) -> (String, bool) {
        match network.option("parent") {
            Some(parent) => (parent.to_owned(), parent.contains('.')),
            None => (format!("dm-{}", &network.id[..12]), true),
        }
    }

    fn ensure_parent(&self, route: &Route, network: &Network) -> Result<()> {
        let (name, ours) = self.parent(network);
        if route.link(&name)?.is_some() {
            return Ok(());
        }
        let missing =
            || Error::invalid(format!("invalid subinterface vlan name {name}, example formatting is eth0.10"));
        if !ours {
            return Err(Error::invalid(format!("-o parent={name}: there is no such interface on this host")));
        }
        // Another start may be faster.
        let is_there = |added: berth_network::Result<()>| match added {
            Err(berth_network::Error::Conflict(_)) if matches!(route.link(&name), Ok(Some(_))) => Ok(()),
            added => Ok(added?),
        };
        if network.option("parent").is_none() {
            return is_there(route.add_dummy(&name));
        }
        let (below, number) = name.rsplit_once('.').ok_or_else(missing)?;
        let number: u16 = number.parse().ok().filter(|number| (1..4095).contains(number)).ok_or_else(missing)?;
        let below = route
            .link(below)?
            .ok_or_else(|| Error::invalid(format!("-o parent={name}: there is no interface {below} on this host")))?;
        is_there(route.add_vlan(&name, below.index, number))
    }

    fn remove_parent(&self, network: &Network) -> Result<()> {
        let (name, ours) = self.parent(network);
        let shared = self.all_networks()?.iter().any(|other| other.id != network.id && self.parent(other).0 == name);
        let route = Route::home()?;
        let kind = route.link(&name)?.map(|link| link.kind).unwrap_or_default();
        if ours && !shared && matches!(kind.as_str(), "vlan" | "dummy") {
            route.remove_link(&name)?;
        }
        Ok(())
    }

    /// The link of an endpoint in this network.
    pub(crate) fn link_of(&self, network: &Network) -> Link {
        match network.driver {
            Driver::Macvlan => {
                Link::Macvlan { parent: self.parent(network).0, mode: super::create::macvlan_mode(network) }
            }
            Driver::Ipvlan => {
                let (mode, flags) = super::create::ipvlan_mode(network);
                Link::Ipvlan { parent: self.parent(network).0, mode, flags }
            }
            _ => Link::Bridge { bridge: self.bridge_name(network) },
        }
    }
}

/// The host's own addresses in a network.
fn host_addresses(network: &Network) -> Vec<IpNet> {
    let of = |subnet: &Subnet| IpNet::new(subnet.gateway?, subnet.subnet.prefix_len()).ok();
    network.config.subnets.iter().filter_map(of).collect()
}
