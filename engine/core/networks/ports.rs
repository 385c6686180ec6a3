//! Published ports: what was asked for, who has which by leases in the store, and the sockets that hold them.
//!
//! The lease keeps berth's own containers apart; the socket, made at once and handed to the monitor, keeps other
//! programs off, and is what the monitor's relay answers from where no packet filter leads to the container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use berth_network::plan::{Protocol, Published};
use berth_network::relay;
use rusqlite::{Connection, Transaction};

use super::endpoints::Endpoint;
use super::lease::{from_octets, octets};
use super::up::RELAY;
use crate::{Container, Engine, Error, Result};

/// One container port that is to be public.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Binding {
    pub protocol: Protocol,
    pub container_port: u16,
    /// `None`: all addresses, of both families where the host has both.
    pub address: Option<IpAddr>,
    pub host: HostPort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HostPort {
    Any,
    /// The first that is free.
    OneOf(u16, u16),
}

/// Ports of a container: who has which, and the socket of each.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub ports: Vec<Published>,
    /// In the ports' order, SCTP's left out: no program of a host without SCTP can take one, and no relay serves it.
    pub sockets: Vec<OwnedFd>,
}

/// Of `80/tcp`.
pub(crate) fn parse(text: &str) -> Option<(u16, Protocol)> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    Some((port.parse().ok().filter(|&port| port != 0)?, protocol))
}

fn host_port(text: &str) -> Result<HostPort> {
    let invalid = || Error::invalid(format!("invalid port specification: \"{text}\""));
    let number = |text: &str| {
        text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(invalid)
    };
    match text.split_once('-') {
        _ if text.is_empty() || text == "0" => Ok(HostPort::Any),
        None => number(text).map(|port| HostPort::OneOf(port, port)),
        Some((first, last)) => match (number(first)?, number(last)?) {
            (first, last) if first <= last && first > 0 => Ok(HostPort::OneOf(first, last)),
            _ => Err(invalid()),
        },
    }
}

/// What a container wants to be public: `-p`, and with `-P` what it exposes.
pub(super) fn bindings(host: &berth_api::models::HostConfig, exposed: Option<&[String]>) -> Result<Vec<Binding>> {
    let mut list = Vec::new();
    let published = host.port_bindings.iter().flatten();
    for (port, places) in published {
        let (container_port, protocol) =
            parse(port).ok_or_else(|| Error::invalid(format!("invalid port specification: \"{port}\"")))?;
        let any = Vec::from([Default::default()]);
        for place in places.as_ref().filter(|places| !places.is_empty()).unwrap_or(&any) {
            let address = match place.host_ip.as_deref().unwrap_or_default() {
                "" => None,
                text => Some(
                    text.trim_matches(['[', ']'])
                        .parse()
                        .map_err(|_| Error::invalid(format!("invalid IP address: {text}")))?,
                ),
            };
            let host = host_port(place.host_port.as_deref().unwrap_or_default())?;
            list.push(Binding { protocol, container_port, address, host });
        }
    }
    if host.publish_all_ports == Some(true) {
        for (container_port, protocol) in exposed.into_iter().flatten().filter_map(|port| parse(port)) {
            if !list.iter().any(|known| (known.container_port, known.protocol) == (container_port, protocol)) {
                list.push(Binding { protocol, container_port, address: None, host: HostPort::Any });
            }
        }
    }
    // Fixed ones first, so that no free one is chosen that another line names.
    list.sort_by_key(|binding| (binding.host == HostPort::Any, binding.clone()));
    list.dedup();
    Ok(list)
}

/// What is kept of a create request has to be right; the rest is found out at the start.
pub(crate) fn check(host: &berth_api::models::HostConfig) -> Result<()> {
    bindings(host, None).map(drop)
}

/// From where SCTP ports are drawn that nobody named; Docker's range.
const UNHELD: std::ops::RangeInclusive<u16> = 49153..=65535;

/// How often a free port is drawn before that is given up.
const DRAWS: usize = 64;

impl Engine {
    /// Leases and holds all of a container's ports, or none.
    pub(super) fn hold_ports(&self, container: &Container, endpoint: &Endpoint, targets: Targets) -> Result<Held> {
        let wanted = bindings(&container.host_config, container.config.exposed_ports.as_deref())?;
        self.release_ports(&container.id)?;
        let mut held = Held::default();
        if wanted.is_empty() {
            return Ok(held);
        }
        if wanted.iter().any(|binding| binding.protocol == Protocol::Sctp) && self.packet_path()?.name() == RELAY {
            return Err(Error::Unavailable(
                "published SCTP ports: this host has no packet filter that could lead them to a container, and relays pass on \
                 TCP and UDP only (berth doctor says why)"
                    .to_owned(),
            ));
        }
        for binding in &wanted {
            let addresses = targets.public(binding, endpoint);
            let held_one =
                addresses.and_then(|addresses| self.hold_port(container, binding, &addresses, targets, &mut held));
            if let Err(error) = held_one {
                self.release_ports(&container.id)?;
                return Err(external(endpoint, container, &error));
            }
        }
        Ok(held)
    }

    pub(super) fn release_ports(&self, container: &str) -> Result<()> {
        let any = self.store().read(|connection| {
            Ok::<bool, Error>(
                connection.prepare_cached("SELECT 1 FROM ports WHERE container = ?1 LIMIT 1")?.exists([container])?,
            )
        })?;
        if any {
            self.store().write(|transaction| {
                transaction.execute("DELETE FROM ports WHERE container = ?1", [container])?;
                Ok::<_, Error>(())
            })?;
        }
        Ok(())
    }

    /// One binding, on the first of its ports that is free.
    pub(super) fn hold_port(
        &self,
        container: &Container,
        binding: &Binding,
        addresses: &[(IpAddr, bool)],
        targets: Targets,
        held: &mut Held,
    ) -> Result<()> {
        let candidates: Vec<u16> = match binding.host {
            HostPort::Any if binding.protocol == Protocol::Sctp => UNHELD.collect(),
            HostPort::Any => vec![0; DRAWS],
            HostPort::OneOf(first, last) => (first..=last).collect(),
        };
        let mut last = None;
        for port in candidates {
            let sockets = match hold_all(binding.protocol, addresses, port) {
                Ok(sockets) => sockets,
                Err(Refused { place, error }) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    last = Some(self.in_use(binding.protocol, place)?);
                    continue;
                }
                Err(Refused { place, error }) => return Err(cannot_bind(binding.protocol, place, &error)),
            };
            match self.lease_ports(container, binding, &sockets) {
                Ok(()) => {}
                Err(error @ Error::Conflict(_)) => {
                    last = Some(error);
                    continue;
                }
                Err(error) => return Err(error),
            }
            for (place, socket) in sockets {
                held.ports.push(Published {
                    protocol: binding.protocol,
                    host_address: place.ip(),
                    host_port: place.port(),
                    container_address: targets.of(place.ip()),
                    container_port: binding.container_port,
                });
                held.sockets.extend(socket);
            }
            return Ok(());
        }
        Err(last.unwrap_or_else(|| Error::Conflict("there is no free port".to_owned())))
    }

    /// Notes whose the ports are that these sockets hold.
    fn lease_ports(&self, container: &Container, binding: &Binding, held: &[Socket]) -> Result<()> {
        loop {
            let holder = self.store().write(|transaction| {
                for (place, _) in held {
                    if let Some(holder) = holder(transaction, binding.protocol, *place)? {
                        return Ok::<_, Error>(Some((*place, holder)));
                    }
                }
                for (place, _) in held {
                    insert(transaction, container, binding.protocol, binding.container_port, *place)?;
                }
                Ok(None)
            })?;
            let Some((place, holder)) = holder else { return Ok(()) };
            // The socket is ours: a holder that ran would have it.
            let freed = self.take_over(&holder, |transaction| {
                transaction.execute("DELETE FROM ports WHERE container = ?1", [&holder])?;
                Ok(())
            })?;
            if !freed {
                return Err(allocated(place));
            }
        }
    }

    /// Why a port cannot be had: another container's, or a program's outside.
    fn in_use(&self, protocol: Protocol, place: SocketAddr) -> Result<Error> {
        let known = self.store().read(|connection| holder(connection, protocol, place))?;
        Ok(match known {
            Some(_) => allocated(place),
            None => cannot_bind(protocol, place, &std::io::ErrorKind::AddrInUse.into()),
        })
    }
}

fn allocated(place: SocketAddr) -> Error {
    Error::Conflict(format!("Bind for {place} failed: port is already allocated"))
}

fn cannot_bind(protocol: Protocol, place: SocketAddr, error: &std::io::Error) -> Error {
    let why = match error.kind() {
        std::io::ErrorKind::AddrInUse => "address already in use".to_owned(),
        std::io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        std::io::ErrorKind::PermissionDenied if place.port() < 1024 => format!(
            "permission denied; a user gets ports below 1024 by sysctl -w net.ipv4.ip_unprivileged_port_start={}, as root",
            place.port()
        ),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    Error::Conflict(format!("failed to bind host port {place}/{}: {why}", protocol.name()))
}

/// In Docker's words.
fn external(endpoint: &Endpoint, container: &Container, error: &Error) -> Error {
    let message = format!(
        "failed to set up container networking: driver failed programming external connectivity on endpoint {} ({}): \
         {error}",
        container.name, endpoint.id
    );
    match error {
        Error::InvalidArgument(_) => Error::InvalidArgument(message),
        Error::Unavailable(_) => Error::Unavailable(message),
        _ => Error::Conflict(message),
    }
}

pub(super) struct Refused {
    pub place: SocketAddr,
    pub error: std::io::Error,
}

/// A public place, and the socket that holds it.
pub(super) type Socket = (SocketAddr, Option<OwnedFd>);

/// A socket for each address, all with the same number. An address that need not be is left out if the host has no such
/// family.
pub(super) fn hold_all(protocol: Protocol, addresses: &[(IpAddr, bool)], port: u16) -> Result<Vec<Socket>, Refused> {
    if protocol == Protocol::Sctp {
        return Ok(addresses.iter().map(|&(address, _)| (SocketAddr::new(address, port), None)).collect());
    }
    let mut port = port;
    let mut sockets = Vec::new();
    for &(address, needed) in addresses {
        let place = SocketAddr::new(address, port);
        let held = relay::hold(protocol, place).and_then(|socket| Ok((relay::local_port(&socket)?, socket)));
        match held {
            Ok((number, socket)) => {
                port = number;
                sockets.push((SocketAddr::new(address, number), Some(socket)));
            }
            Err(error) if !needed && lacks_family(&error) => {}
            Err(error) => return Err(Refused { place, error }),
        }
    }
    Ok(sockets)
}

/// A kernel without the family, or one in which it is switched off.
fn lacks_family(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Where a container's ports lead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Targets {
    pub v4: Option<IpAddr>,
    pub v6: Option<IpAddr>,
}

impl Targets {
    /// What arrives at a host's IPv6 address is relayed to a container that has only the other family, and the reverse.
    pub(super) fn of(self, public: IpAddr) -> IpAddr {
        let (same, other) = if public.is_ipv6() { (self.v6, self.v4) } else { (self.v4, self.v6) };
        same.or(other).unwrap_or(Ipv4Addr::UNSPECIFIED.into())
    }

    /// The host's addresses of a binding, and whether each has to be.
    fn public(self, binding: &Binding, endpoint: &Endpoint) -> Result<Vec<(IpAddr, bool)>> {
        let by_network = endpoint.network.option("com.docker.network.bridge.host_binding_ipv4");
        let address = match (binding.address, by_network) {
            (None, Some(text)) => {
                Some(text.parse().map_err(|_| Error::invalid(format!("invalid IP address: {text}")))?)
            }
            (address, _) => address,
        };
        Ok(match address {
            Some(address) => vec![(address, true)],
            // Without a relay for it, each family for itself.
            None if binding.protocol == Protocol::Sctp => {
                let families = [(self.v4, Ipv4Addr::UNSPECIFIED.into()), (self.v6, Ipv6Addr::UNSPECIFIED.into())];
                families.into_iter().filter(|(own, _)| own.is_some()).map(|(_, public)| (public, true)).collect()
            }
            None => vec![(Ipv4Addr::UNSPECIFIED.into(), true), (Ipv6Addr::UNSPECIFIED.into(), false)],
        })
    }
}

/// Whoever has a port on one of the addresses that `place` stands for.
pub(super) fn holder(connection: &Connection, protocol: Protocol, place: SocketAddr) -> Result<Option<String>> {
    let mut statement =
        connection.prepare_cached("SELECT address, container FROM ports WHERE protocol = ?1 AND port = ?2")?;
    let mut rows = statement.query((protocol.name(), place.port()))?;
    while let Some(row) = rows.next()? {
        let Some(address) = row.get_ref(0)?.as_blob().ok().and_then(from_octets) else { continue };
        let meets = address == place.ip() || address.is_unspecified() || place.ip().is_unspecified();
        if address.is_ipv6() == place.is_ipv6() && meets {
            return Ok(Some(row.get(1)?));
        }
    }
    Ok(None)
}

/// `container_port`: 0 for a port that the container's programs open and that nobody asked to be shown.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    container: &Container,
    protocol: Protocol,
    container_port: u16,
    place: SocketAddr,
) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO ports (protocol, port, address, container, container_port) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((protocol.name(), place.port(), octets(place.ip()), &container.id, container_port))?;
    Ok(())
}

/// The public ports of all containers that are known to have some: container, then port.
pub(crate) fn of_all(connection: &Connection) -> Result<Vec<(String, Lease)>> {
    let mut statement = connection.prepare_cached(
        "SELECT container, protocol, port, address, container_port FROM ports WHERE container_port <> 0
         ORDER BY container, port",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(lease(row)?.map(|lease| (row.get(0), lease)));
    }
    found.into_iter().map(|(container, lease)| Ok((container?, lease))).collect()
}

/// The public ports of one container.
pub(crate) fn of_container(connection: &Connection, container: &str) -> Result<Vec<Lease>> {
    let mut statement = connection.prepare_cached(
        "SELECT container, protocol, port, address, container_port FROM ports
         WHERE container = ?1 AND container_port <> 0 ORDER BY port, address",
    )?;
    let mut rows = statement.query([container])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.extend(lease(row)?);
    }
    Ok(found)
}

/// A public port, as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub protocol: Protocol,
    pub port: u16,
    pub address: IpAddr,
    pub container_port: u16,
}

fn lease(row: &rusqlite::Row<'_>) -> Result<Option<Lease>> {
    let protocol: String = row.get(1)?;
    let (Some((_, protocol)), Some(address)) =
        (parse(&format!("1/{protocol}")), row.get_ref(3)?.as_blob().ok().and_then(from_octets))
    else {
        return Ok(None);
    };
    Ok(Some(Lease { protocol, port: row.get(2)?, address, container_port: row.get(4)? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_api::models::{HostConfig, PortBinding};

    #[test]
    fn fixed_ports_come_before_free_ones_and_exposed_ones_are_added() {
        let place =
            |ip: &str, port: &str| PortBinding { host_ip: Some(ip.to_owned()), host_port: Some(port.to_owned()) };
        let host = HostConfig {
            port_bindings: Some(
                [
                    ("80/tcp".to_owned(), Some(vec![place("", "")])),
                    ("53/udp".to_owned(), Some(vec![place("127.0.0.1", "5300-5310"), place("::1", "53")])),
                ]
                .into(),
            ),
            publish_all_ports: Some(true),
            ..HostConfig::default()
        };
        let found = bindings(&host, Some(&["80/tcp".to_owned(), "443/tcp".to_owned()])).unwrap();
        let ports: Vec<_> = found.iter().map(|binding| (binding.container_port, binding.host)).collect();
        assert_eq!(
            ports,
            [
                (53, HostPort::OneOf(5300, 5310)),
                (53, HostPort::OneOf(53, 53)),
                (80, HostPort::Any),
                (443, HostPort::Any)
            ]
        );
        for bad in ["x", "70000", "+1", "9-1", "1-"] {
            assert!(host_port(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("80"), Some((80, Protocol::Tcp)));
        assert_eq!((parse("0/tcp"), parse("80/foo")), (None, None));
    }
}
