//! What a container is connected to at a start: leases taken, networks up, and the plan for its monitor.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use berth_monitor::config::MonitorConfig;
use berth_network::plan::{self, Plan, Resolver};
use berth_store::read_json;

use super::endpoints::{self, Asked, Endpoint, SYSCTLS};
use super::lease::mac_of;
use super::ports::Targets;
use super::record::Network;
use super::up::RELAY;
use crate::containers::random_id;
use crate::settings::modes;
use crate::spec::files;
use crate::{Container, Engine, Error, Result};

/// Everything about networks that a start needs.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub plan: Plan,
    /// Of the plan's ports, in their order, SCTP's left out.
    pub sockets: Vec<OwnedFd>,
    /// Lines of /etc/hosts: address and names.
    pub hosts: Vec<(IpAddr, String)>,
    /// Variables that `--link` gives.
    pub environment: Vec<String>,
}

impl Prepared {
    /// `host-gateway`: this host's address in the container's network.
    pub(crate) fn host_gateway(&self, network: &modes::Network) -> Option<IpAddr> {
        if *network == modes::Network::Host {
            return Some(Ipv4Addr::LOCALHOST.into());
        }
        let mut gateways = self.plan.endpoints.iter().flat_map(|end| &end.gateways);
        let first = gateways.clone().find(|gateway| gateway.is_ipv4());
        first.or_else(|| gateways.next()).copied()
    }
}

const DNS_PORT: u16 = 53;
/// Within which after its opening an engine does not look at the rules again.
const JUST_NOW: Duration = Duration::from_millis(500);

impl Engine {
    /// Takes leases and sockets, and sees to it that the networks are up. What it leases stays with the container. `own`:
    /// whether the backend makes networks.
    pub(crate) fn prepare_networks(&self, container: &Container, own: bool) -> Result<Prepared> {
        if !own {
            return self.prepare_shared(container);
        }
        let mut ends = self.endpoints_of(&container.id)?;
        if ends.is_empty() {
            ends.extend(self.rejoin(container)?);
        }
        if ends.is_empty() {
            return Ok(Prepared::default());
        }
        self.after_leaving()?;
        for end in &mut ends {
            end.network = self.ensure_up(end.network.clone())?;
        }
        // An engine that was opened for this has just looked.
        if self.age() > JUST_NOW {
            self.heal_networks()?;
        }
        let mut prepared = Prepared::default();
        for end in &ends {
            prepared.plan.endpoints.push(self.plan_endpoint(container, end)?);
        }
        choose_way_out(&mut prepared.plan, &ends);
        prepared.plan.owner = self.owner()?.0;
        prepared.plan.packet_path = self.packet_path()?.name().to_owned();

        let targets = targets(&prepared.plan, &ends);
        // As Docker: ports of a container that is in internal networks alone are nobody's.
        if let Some(end) = ends.iter().find(|end| publishes(&end.network)) {
            let held = self.hold_ports(container, end, targets)?;
            (prepared.plan.ports, prepared.sockets) = (held.ports, held.sockets);
        } else {
            // Of a start before, in other networks.
            self.release_ports(&container.id)?;
        }
        prepared.hosts = own_lines(container, &prepared.plan);
        let linked = self.links(container, &ends)?;
        prepared.hosts.extend(linked.hosts);
        prepared.environment = linked.environment;
        prepared.plan.resolver = resolver(container, &ends, &prepared.plan, linked.names);
        Ok(prepared)
    }

    /// A container whose network was removed does not start without it, as it would if nobody had named one; with one of
    /// the same name that was made since, it does. One that was disconnected stays so.
    fn rejoin(&self, container: &Container) -> Result<Option<Endpoint>> {
        let mode = container.host_config.network_mode.as_deref().unwrap_or_default();
        let modes::Network::Named(name) = modes::network(mode)? else { return Ok(None) };
        let network = self.network(&name)?;
        if network.created < container.created.max(self.written_state(container)?.started_at) {
            return Ok(None);
        }
        let asked = Asked { network, settings: Default::default() };
        endpoints::check(&asked)?;
        let id = random_id()?;
        self.store().write(|transaction| endpoints::insert(transaction, &container.id, 0, &id, &asked))?;
        Ok(self.endpoints_of(&container.id)?.pop())
    }

    pub(super) fn plan_endpoint(&self, container: &Container, end: &Endpoint) -> Result<plan::Endpoint> {
        let link = self.link_of(&end.network);
        let addresses = self.lease_addresses(end)?;
        let interface = end.interface();
        let subnets = end.network.config.subnets.iter();
        let gateways = subnets.filter_map(|subnet| subnet.gateway).filter(|_| !end.network.config.internal);
        let asked = end.settings.driver_opts.iter().flatten().find(|(name, _)| *name == SYSCTLS);
        let sysctls = asked.map(|(_, value)| endpoints::sysctls(value, &interface)).transpose();
        let mut mac = end.mac();
        let mut settings = sysctls.map_err(Error::InvalidArgument)?.unwrap_or_default();
        if mac.is_some() {
            // Neighbours may remember another one for this address: tell them.
            settings.push((format!("ipv4/conf/{interface}/arp_notify"), "1".to_owned()));
        } else {
            mac = mac_of(&addresses, &end.id, &link);
        }
        let bridged = matches!(link, plan::Link::Bridge { .. });
        let masquerade = bridged && self.packet_path()?.name() == RELAY && self.network_rules(&end.network).masquerade;
        Ok(plan::Endpoint {
            id: end.id.clone(),
            network: end.network.id.clone(),
            name: end.network.name.clone(),
            mac,
            addresses,
            gateways: gateways.collect(),
            masquerade,
            mtu: end.network.option("com.docker.network.driver.mtu").and_then(|text| text.parse().ok()),
            names: if end.network.has_names() { names(container, end) } else { Vec::new() },
            folder: end.network.has_names().then(|| self.names_folder(&end.network)),
            sysctls: settings,
            interface,
            link,
        })
    }

    /// What the monitor of a running container was last told; `None` if it does not run or is in no network.
    pub(crate) fn running_plan(&self, container: &Container) -> Result<Option<Plan>> {
        let state = self.state(container)?;
        if !state.status.is_up() {
            return Ok(None);
        }
        self.last_plan(container)
    }

    /// What a monitor of this container was last told, whether it lives or not; `None` if that is to be in no network.
    pub(crate) fn last_plan(&self, container: &Container) -> Result<Option<Plan>> {
        Ok(self.told(container)?.filter(|plan| !plan.endpoints.is_empty()))
    }

    /// As [`Engine::last_plan`]; without networks there may still be ports, for the next one.
    pub(super) fn told(&self, container: &Container) -> Result<Option<Plan>> {
        let path = self.folder(container).join("monitor.json");
        let config = read_json::<MonitorConfig>(&path)?;
        Ok(config.map(|config| config.network))
    }

    /// What a monitor that was killed left of its container's networks. Best done soon: others may get its addresses.
    pub(crate) fn end_networks(&self, container: &Container) {
        let ended = self.last_plan(container).and_then(|plan| {
            let Some(plan) = plan else { return Ok(()) };
            Ok(berth_network::announce::Announcer::default().withdraw(&plan, &container.id)?)
        });
        if let Err(error) = ended {
            tracing::warn!("take container {} off its networks: {error}", container.short_id());
        }
    }
}

/// Names by which others of a user's network find a container.
fn names(container: &Container, end: &Endpoint) -> Vec<String> {
    let mut names = vec![container.name.to_ascii_lowercase()];
    names.extend(end.aliases().iter().map(|alias| alias.to_ascii_lowercase()));
    names.push(container.short_id().to_owned());
    names
        .extend(container.config.hostname.iter().filter(|name| !name.is_empty()).map(|name| name.to_ascii_lowercase()));
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| berth_network::names::check(name).is_ok() && seen.insert(name.clone()));
    names
}

pub(super) fn dns_names(container: &Container, end: &Endpoint) -> Vec<String> {
    if end.network.has_names() { names(container, end) } else { Vec::new() }
}

/// What answers at 127.0.0.11: on users' own networks always, and where the host's name servers are at its own
/// loopback, which a container does not reach otherwise.
pub(super) fn resolver(
    container: &Container,
    ends: &[Endpoint],
    plan: &Plan,
    links: Vec<(String, String)>,
) -> Option<Resolver> {
    let named = ends.iter().any(|end| end.network.has_names());
    let given: Vec<String> = container.host_config.dns.iter().flatten().cloned().collect();
    let host = files::name_servers();
    let out_of_reach = !host.is_empty() && host.iter().all(IpAddr::is_loopback);
    if !named && (!given.is_empty() || !out_of_reach) {
        return None;
    }
    let servers = if given.is_empty() { host } else { given.iter().filter_map(|text| text.parse().ok()).collect() };
    // From internal networks nothing gets out, not by questions either.
    let confined = ends.iter().all(|end| end.network.config.internal);
    let servers = if confined { Vec::new() } else { servers };
    let folders = plan.endpoints.iter().filter_map(|end| Some((end.name.clone(), end.folder.clone()?)));
    Some(Resolver {
        networks: folders.collect(),
        links,
        servers: servers.into_iter().map(|address| SocketAddr::new(address, DNS_PORT)).collect(),
    })
}

/// Whether ports of containers in this network are led to them.
fn publishes(network: &Network) -> bool {
    network.driver == super::record::Driver::Bridge && !network.config.internal
}

/// The default routes stay with the endpoint of the highest priority, then the first by name, as in Docker; per family.
pub(super) fn choose_way_out(plan: &mut Plan, ends: &[Endpoint]) {
    for v6 in [false, true] {
        let offers = |end: &plan::Endpoint| end.gateways.iter().any(|gateway| gateway.is_ipv6() == v6);
        let priority = |end: &plan::Endpoint| {
            let asked = ends.iter().find(|asked| asked.id == end.id).and_then(|asked| asked.settings.gw_priority);
            (std::cmp::Reverse(asked.unwrap_or(0)), end.name.clone())
        };
        let best = plan.endpoints.iter().filter(|end| offers(end)).min_by_key(|end| priority(end));
        let best = best.map(|end| end.id.clone());
        for end in &mut plan.endpoints {
            if Some(&end.id) != best.as_ref() {
                end.gateways.retain(|gateway| gateway.is_ipv6() != v6);
            }
        }
    }
}

/// Where ports lead: to the addresses in the first network that publishes. `ends` are those of the plan's endpoints, in
/// their order.
pub(super) fn targets(plan: &Plan, ends: &[Endpoint]) -> Targets {
    let address = |v6: bool| {
        let bridged = plan.endpoints.iter().zip(ends).filter(|(_, end)| publishes(&end.network)).map(|(end, _)| end);
        let out = bridged.clone().filter(|end| !end.gateways.is_empty());
        let all = out.chain(bridged);
        all.flat_map(|end| &end.addresses).map(ipnet::IpNet::addr).find(|address| address.is_ipv6() == v6)
    };
    Targets { v4: address(false), v6: address(true) }
}

/// The container's own addresses and names.
fn own_lines(container: &Container, plan: &Plan) -> Vec<(IpAddr, String)> {
    let host = container.config.hostname.as_deref().unwrap_or_default();
    let domain = container.config.domainname.as_deref().unwrap_or_default();
    let names = if domain.is_empty() { host.to_owned() } else { format!("{host}.{domain} {host}") };
    let addresses = plan.endpoints.iter().flat_map(|end| &end.addresses);
    addresses.filter(|_| !host.is_empty()).map(|net| (net.addr(), names.clone())).collect()
}
