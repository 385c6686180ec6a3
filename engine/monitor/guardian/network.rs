//! The container's networks: its interfaces at every start, its names and public ports, and what the monitor itself
//! does for them: the relay of ports, the answers at 127.0.0.11, and the way out where no packet filter leads there.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Instant;

use berth_network::Error;
use berth_network::announce::{self, Announcer};
use berth_network::attach::Inside;
use berth_network::listeners;
use berth_network::masquerade::Masquerade;
use berth_network::plan::{Endpoint, Link, Plan, Protocol, Published};
use berth_network::relay::{PortId, Relay};
use berth_network::resolver::Resolver;

use super::Monitor;
use super::requests::refuse;
use crate::files;
use crate::protocol::{Refusal, RefusalKind};

/// Where a container finds its resolver, as Docker's do.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

#[derive(Default)]
pub(super) struct Networks {
    /// Sockets of the plan's ports, until there is a relay for them.
    sockets: Vec<OwnedFd>,
    pub(super) relay: Option<Relay>,
    /// The relay's names for the ports that it has, in their order.
    ports: Vec<PortId>,
    /// Of those, in a shared network, that no program of the container has been seen to open.
    unopened: Vec<(PortId, Protocol, u16)>,
    pub(super) resolver: Option<Resolver>,
    /// One for each endpoint that is a way out.
    pub(super) outside: Vec<Masquerade>,
    /// Its names and rules are out.
    announced: bool,
    announcer: Announcer,
}

impl Networks {
    pub(super) fn hold(&mut self, sockets: Vec<OwnedFd>) {
        self.sockets = sockets;
    }

    /// Connections of others go through the monitor.
    pub(super) fn relays(&self) -> bool {
        self.relay.is_some() || !self.outside.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let relay = self.relay.as_ref().and_then(Relay::deadline);
        let resolver = self.resolver.as_ref().and_then(Resolver::deadline);
        let outside = self.outside.iter().filter_map(Masquerade::deadline);
        relay.into_iter().chain(resolver).chain(outside).min()
    }
}

impl Monitor {
    /// Connects the container whose first process waits; everything is undone if it cannot be finished.
    pub(super) fn connect_networks(&mut self) -> Result<(), Refusal> {
        if self.config.network.shared {
            return self.relay_ports().map_err(|error| {
                self.leave_networks();
                failed(&error)
            });
        }
        if self.config.network.endpoints.is_empty() {
            return Ok(());
        }
        let pid = self.sandbox.as_ref().map(|sandbox| sandbox.pid()).unwrap_or_default();
        self.try_connect(pid).map_err(|error| {
            self.leave_networks();
            failed(&error)
        })
    }

    fn try_connect(&mut self, pid: i32) -> Result<(), Error> {
        let plan = &self.config.network;
        let inside = Inside::of(pid)?;
        for endpoint in &plan.endpoints {
            inside.connect(endpoint)?;
        }
        if plan.resolver.is_some() {
            // The sockets of a run before are in a namespace that has gone.
            self.networks.resolver = None;
        }
        self.networks.outside.clear();
        self.lead_out(&inside);
        self.serve_names(&inside)?;
        self.relay_ports()?;
        if !std::mem::replace(&mut self.networks.announced, true) {
            self.networks.announcer.announce(&self.config.network, self.config.id.as_str())?;
        }
        Ok(())
    }

    /// The sockets are kept over restarts: nobody else gets the ports meanwhile.
    fn relay_ports(&mut self) -> Result<(), Error> {
        let (networks, ports) = (&mut self.networks, &self.config.network.ports);
        let all = relayed(ports).map(|port| (port.protocol, port.container_port));
        if let Some(relay) = &mut networks.relay {
            for (&id, port) in networks.ports.iter().zip(relayed(ports)) {
                relay.retarget(id, target(port));
            }
            if self.config.network.shared {
                networks.unopened =
                    networks.ports.iter().zip(all).map(|(&id, (kind, port))| (id, kind, port)).collect();
            }
            return Ok(());
        }
        if networks.sockets.is_empty() {
            return Ok(());
        }
        let mut relay = Relay::new().map_err(Error::io("make the relay of ports"))?;
        for (port, socket) in relayed(ports).zip(std::mem::take(&mut networks.sockets)) {
            let added = relay.add(port.protocol, socket, target(port));
            let refused = Error::io(format!("relay port {}/{}", port.host_port, port.protocol.name()));
            networks.ports.push(added.map_err(refused)?);
        }
        networks.relay = Some(relay);
        if self.config.network.shared {
            networks.unopened = networks.ports.iter().zip(all).map(|(&id, (kind, port))| (id, kind, port)).collect();
        }
        Ok(())
    }

    /// Something has arrived for ports that nobody had opened before: whoever has by now, of this container, gets it. No
    /// other program of the host does.
    fn find_opened(&mut self) {
        let Networks { relay: Some(relay), unopened, .. } = &mut self.networks else { return };
        if unopened.is_empty() {
            return;
        }
        let Some(pids) = self.sandbox.as_ref().and_then(|sandbox| sandbox.pids().ok()) else { return };
        unopened.retain(|&(id, protocol, port)| match listeners::find(&pids, protocol, port) {
            Some(place) => {
                relay.retarget(id, Some(place));
                false
            }
            None => true,
        });
    }

    fn serve_names(&mut self, inside: &Inside) -> Result<(), Error> {
        let Some(wanted) = &self.config.network.resolver else {
            self.networks.resolver = None;
            return Ok(());
        };
        if let Some(resolver) = &mut self.networks.resolver {
            resolver.update(wanted);
            return Ok(());
        }
        let sockets = inside.within(|| berth_network::resolver::bind(RESOLVER))??;
        let resolver =
            Resolver::new(wanted, sockets.udp, sockets.tcp).map_err(Error::io("answer names for the container"))?;
        self.networks.resolver = Some(resolver);
        Ok(())
    }

    /// Sees to it that what leaves gets the host's address, where nothing in the kernel does. What cannot be is said; the
    /// container runs without.
    fn lead_out(&mut self, inside: &Inside) {
        let wanted = |end: &&Endpoint| end.masquerade && !end.gateways.is_empty();
        let ends: Vec<_> = self.config.network.endpoints.iter().filter(wanted).cloned().collect();
        self.networks.outside.retain(|out| ends.iter().any(|end| out.is_of(end)));
        for end in ends {
            if !self.networks.outside.iter().any(|out| out.is_of(&end)) {
                match Masquerade::new(&end, inside) {
                    Ok(out) => self.networks.outside.push(out),
                    Err(error) => self.warn(format!("nothing leads from network {} to the outside: {error}", end.name)),
                }
            }
        }
    }

    /// A network was connected or disconnected.
    pub(super) fn change_networks(&mut self, plan: Plan) -> Result<(), Refusal> {
        let old = std::mem::replace(&mut self.config.network, plan);
        if let Err(error) = self.apply_change(&old) {
            // Back to what was; what is there already is left as it is.
            let new = std::mem::replace(&mut self.config.network, old);
            let _ = self.apply_change(&new);
            return Err(failed(&error));
        }
        let path = self.folder().join("monitor.json");
        files::write_json(&path, &self.config).map_err(|error| refuse(RefusalKind::Failed, error.to_string()))
    }

    fn apply_change(&mut self, old: &Plan) -> Result<(), Error> {
        // One that waits for its next start gets its interfaces then.
        let sandbox = self.sandbox.as_ref().filter(|_| self.is_running());
        let inside = sandbox.map(|sandbox| Inside::of(sandbox.pid())).transpose()?;
        let plan = &self.config.network;
        for gone in old.endpoints.iter().filter(|end| !plan.endpoints.iter().any(|other| other.id == end.id)) {
            announce::unname(gone, self.config.id.as_str())?;
            if let Some(inside) = &inside {
                inside.disconnect(gone)?;
            }
        }
        for end in &plan.endpoints {
            if let Some(inside) = &inside {
                match old.endpoints.iter().find(|known| known.id == end.id) {
                    Some(known) if inside.has(&end.interface)? => {
                        if known.gateways != end.gateways {
                            inside.change_way_out(known, false)?;
                        }
                    }
                    _ => inside.connect(end)?,
                }
            }
            announce::name(end, self.config.id.as_str())?;
        }
        // After all that are no longer the way out.
        for end in plan.endpoints.iter().filter(|end| !end.gateways.is_empty()) {
            if let Some(inside) = &inside {
                inside.change_way_out(end, true)?;
            }
        }
        if old.ports != plan.ports {
            self.networks.announcer.unpublish(old)?;
            self.networks.announcer.publish(plan)?;
            if let Some(relay) = &mut self.networks.relay {
                for (&id, port) in self.networks.ports.iter().zip(relayed(&plan.ports)) {
                    relay.retarget(id, target(port));
                }
            }
        }
        inside.map_or(Ok(()), |inside| {
            self.lead_out(&inside);
            self.serve_names(&inside)
        })
    }

    /// Passes on what has arrived.
    pub(super) fn turn_networks(&mut self) {
        self.find_opened();
        let relayed = self.networks.relay.as_mut().map_or(Ok(()), Relay::turn);
        let answered = self.networks.resolver.as_mut().map_or(Ok(()), Resolver::turn);
        let mut broken = None;
        self.networks.outside.retain_mut(|out| out.turn().map_err(|error| broken = Some(error)).is_ok());
        if let Some(error) = broken {
            self.warn(format!("the way to the outside has ended: {error}"));
        }
        if let Err(error) = relayed {
            self.networks.relay = None;
            self.warn(format!("the relay of ports has ended: {error}"));
        }
        if let Err(error) = answered {
            self.networks.resolver = None;
            self.warn(format!("names are not answered any more: {error}"));
        }
    }

    /// What is due without anything having arrived.
    pub(super) fn settle_networks(&mut self, now: Instant) {
        if self.networks.deadline().is_some_and(|at| now >= at) {
            self.turn_networks();
        }
    }

    /// The container has ended and will not be started again, or could not be started.
    pub(super) fn leave_networks(&mut self) {
        let mut networks = std::mem::take(&mut self.networks);
        if networks.announced
            && let Err(error) = networks.announcer.withdraw(&self.config.network, self.config.id.as_str())
        {
            self.warn(format!("take the container off its networks: {error}"));
        }
        // Goes with the process: nobody waits for that.
        self.networks.announcer = networks.announcer;
    }

    /// A run has ended and another may follow: the ports stay, what goes through them ends.
    pub(super) fn rest_networks(&mut self) {
        self.networks.resolver = None;
        self.networks.outside.clear();
        if let Some(relay) = &mut self.networks.relay {
            relay.clear();
        }
    }

    /// Docker's events of a start and an end: `connect` and `disconnect`, for each network.
    pub(super) fn networks_event(&mut self, action: &str) {
        for end in self.config.network.endpoints.clone() {
            let driver = match end.link {
                Link::Bridge { .. } => "bridge",
                Link::Macvlan { .. } => "macvlan",
                Link::Ipvlan { .. } => "ipvlan",
            };
            let attributes =
                [("container", self.config.id.to_string()), ("name", end.name), ("type", driver.to_owned())];
            let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            self.event_of("network", action, end.network, attributes);
        }
    }
}

/// Ports that a socket holds; SCTP goes through packet filters alone.
pub(super) fn relayed(ports: &[Published]) -> impl Iterator<Item = &Published> {
    ports.iter().filter(|port| port.protocol != Protocol::Sctp)
}

/// Nowhere while the container is in no network that ports lead into: the unspecified address would be the host itself.
fn target(port: &Published) -> Option<SocketAddr> {
    let address = Some(port.container_address).filter(|address| !address.is_unspecified());
    address.map(|address| SocketAddr::new(address, port.container_port))
}

fn failed(error: &Error) -> Refusal {
    refuse(RefusalKind::Failed, format!("failed to set up container networking: {error}"))
}
