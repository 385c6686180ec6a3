//! What a container is connected to: made by an engine, kept in `monitor.json`, carried out by the monitor at every
//! start of the container.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::firewall::PortRule;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Plan {
    pub endpoints: Vec<Endpoint>,
    pub ports: Vec<Published>,
    /// Of the packet path that the engine picked, by its name; see [`crate::firewall`].
    pub packet_path: String,
    /// What this state root's tables and chains are called; see [`crate::firewall::Owner`].
    pub owner: String,
    pub resolver: Option<Resolver>,
    /// The container is in the host's network: its ports lead to what its programs have opened there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
}

impl Plan {
    /// The published ports that a packet filter can lead to the container: those that stay within one family and lead
    /// through a bridge. The relay has the others.
    pub fn port_rules(&self) -> Vec<PortRule> {
        let bridge_of = |address: IpAddr| {
            self.endpoints.iter().find_map(|endpoint| match &endpoint.link {
                Link::Bridge { bridge } if endpoint.addresses.iter().any(|net| net.addr() == address) => Some(bridge),
                _ => None,
            })
        };
        let rule = |port: &Published| {
            let bridge = bridge_of(port.container_address)?.clone();
            (port.host_address.is_ipv4() == port.container_address.is_ipv4())
                .then(|| PortRule { port: port.clone(), bridge })
        };
        self.ports.iter().filter_map(rule).collect()
    }
}

/// A container's place in a network: one interface.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its own ID: 64 hexadecimal digits.
    pub id: String,
    /// The network's ID and name.
    pub network: String,
    pub name: String,
    pub link: Link,
    /// Of the interface inside: `eth0`.
    pub interface: String,
    pub mac: Option<[u8; 6]>,
    /// With the subnet's length.
    pub addresses: Vec<IpNet>,
    /// Default routes through this endpoint; empty if another one is the way out, or nothing is.
    pub gateways: Vec<IpAddr>,
    pub mtu: Option<u32>,
    /// What leaves through it is to get the host's address, and the packet path does not see to that: the monitor has to.
    #[serde(default)]
    pub masquerade: bool,
    /// Names that others in the network find it by, in lower case.
    pub names: Vec<String>,
    /// The folder of the network's names, if it has any; see [`crate::names`].
    pub folder: Option<PathBuf>,
    /// Settings below /proc/sys/net, set before the interface is up.
    pub sysctls: Vec<(String, String)>,
}

/// How an interface is tied to the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// A veth pair, the other end in this bridge.
    Bridge { bridge: String },
    /// MACVLAN_MODE_* of linux/if_link.h.
    Macvlan { parent: String, mode: u32 },
    /// IPVLAN_MODE_* and IPVLAN_F_*.
    Ipvlan { parent: String, mode: u16, flags: u16 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// IPPROTO_*.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// A public port and where what arrives there goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub protocol: Protocol,
    /// Unspecified (`0.0.0.0`, `::`): every address of its family.
    pub host_address: IpAddr,
    pub host_port: u16,
    pub container_address: IpAddr,
    pub container_port: u16,
}

/// What answers a container's questions for names at 127.0.0.11.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolver {
    /// Folders of names of the container's networks, asked in this order; with the network's name, under which reverse
    /// answers and qualified questions (`web.net`) are found.
    pub networks: Vec<(String, PathBuf)>,
    /// Names that only this container knows (`--link`): alias and the other's name.
    pub links: Vec<(String, String)>,
    /// Where other questions go, in this order, from the host's network namespace. Empty: nowhere.
    pub servers: Vec<std::net::SocketAddr>,
}
