//! The ports of a container whose backend makes no networks: it is in the host's, where the ports that its programs open
//! are the host's own. What is published under another number is relayed to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use berth_network::plan::Protocol;

use super::plan::Prepared;
use super::ports::{Binding, HostPort, Targets, bindings, hold_all, holder, insert};
use crate::{Container, Engine, Error, Result};

const EVERYWHERE: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// A port that the container's programs open.
type Port = (Protocol, u16);

impl Engine {
    /// As [`Engine::prepare_networks`]: leases and holds all of the container's ports, or none.
    pub(super) fn prepare_shared(&self, container: &Container) -> Result<Prepared> {
        let wanted = bindings(&container.host_config, container.config.exposed_ports.as_deref())?;
        self.release_ports(&container.id)?;
        let mut prepared = Prepared::default();
        if wanted.is_empty() {
            return Ok(prepared);
        }
        prepared.plan.shared = true;
        match self.share_ports(container, &wanted, &mut prepared) {
            Ok(()) => Ok(prepared),
            Err(error) => {
                self.release_ports(&container.id)?;
                let told = |text: String| format!("failed to set up container networking: {text}");
                Err(match error {
                    Error::Conflict(text) => Error::Conflict(told(text)),
                    Error::Unavailable(text) => Error::Unavailable(told(text)),
                    other => other,
                })
            }
        }
    }

    fn share_ports(&self, container: &Container, wanted: &[Binding], prepared: &mut Prepared) -> Result<()> {
        let (direct, relayed): (Vec<_>, Vec<_>) = wanted.iter().partition(|binding| is_direct(binding));
        if let Some(binding) = relayed.iter().find(|binding| binding.protocol == Protocol::Sctp) {
            let port = binding.container_port;
            return Err(Error::Unavailable(format!(
                "published port {port}/sctp: the container is in the host's network, and relays pass on TCP and UDP only; publish \
                 it under its own number (-p {port}:{port}/sctp), or use a backend that makes networks"
            )));
        }
        let mut own: Vec<Port> = wanted.iter().map(|binding| (binding.protocol, binding.container_port)).collect();
        own.sort_unstable();
        own.dedup();
        for port in own {
            self.lease_own_port(container, port, &direct)?;
        }
        // They lead to where the monitor sees the port opened.
        let nowhere = Targets { v4: None, v6: None };
        let mut held = super::ports::Held::default();
        for binding in relayed {
            let addresses = match binding.address {
                Some(address) => vec![(address, true)],
                None => vec![(EVERYWHERE[0], true), (EVERYWHERE[1], false)],
            };
            self.hold_port(container, binding, &addresses, nowhere, &mut held)?;
        }
        (prepared.plan.ports, prepared.sockets) = (held.ports, held.sockets);
        Ok(())
    }

    /// Notes that this port is the container's. No socket holds it, for the program is to open it; that nobody else has it
    /// now is tried.
    fn lease_own_port(
        &self,
        container: &Container,
        port @ (protocol, number): Port,
        direct: &[&Binding],
    ) -> Result<()> {
        let shown = direct.iter().filter(|binding| (binding.protocol, binding.container_port) == port);
        let public: Vec<IpAddr> =
            shown.flat_map(|binding| binding.address.map_or(EVERYWHERE.to_vec(), |address| vec![address])).collect();
        loop {
            let holder = self.store().write(|transaction| {
                for address in EVERYWHERE {
                    if let Some(holder) = holder(transaction, protocol, SocketAddr::new(address, number))? {
                        return Ok::<_, Error>(Some(holder));
                    }
                }
                // Of its own alone, where it is not public by itself.
                let own = EVERYWHERE.into_iter().filter(|address| !public.contains(address)).map(|one| (one, 0));
                for (address, inside) in public.iter().map(|&one| (one, number)).chain(own) {
                    insert(transaction, container, protocol, inside, SocketAddr::new(address, number))?;
                }
                Ok(None)
            })?;
            let Some(holder) = holder else { break };
            let freed = self.take_over(&holder, |transaction| {
                transaction.execute("DELETE FROM ports WHERE container = ?1", [&holder])?;
                Ok(())
            })?;
            if !freed {
                return Err(taken(container, port, &format!("container {} has it", self.name_of(&holder))));
            }
        }
        let families = EVERYWHERE.map(|address| (address, false));
        match hold_all(protocol, &families, number) {
            Ok(_) => Ok(()),
            Err(refused) if refused.error.kind() == std::io::ErrorKind::AddrInUse => {
                Err(taken(container, port, &format!("a program of the host has it ({})", refused.place)))
            }
            Err(refused) => Err(taken(container, port, &refused.error.to_string())),
        }
    }
}

/// Whether a port is public by being opened.
fn is_direct(binding: &Binding) -> bool {
    binding.host == HostPort::OneOf(binding.container_port, binding.container_port)
}

fn taken(container: &Container, (protocol, number): Port, why: &str) -> Error {
    let backend = container.host_config.runtime.as_deref().unwrap_or_default();
    let port = format!("{number}/{}", protocol.name());
    Error::Conflict(format!(
        "port {port} of container {}: the {backend} backend makes no networks, so its program opens the port in the host's network, \
         and there {why}; let the program open another port (-p PORT:OTHER/{}), stop who has it, or use a backend that makes networks \
         (--isolation, see berth doctor)",
        container.name,
        protocol.name()
    ))
}
