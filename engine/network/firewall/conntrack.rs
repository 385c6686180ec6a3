//! Connections that the kernel remembers: a UDP or SCTP "connection" to a public port outlives the rule that made it,
//! and would lead to where the port led before, or nowhere, for as long as the client keeps sending.

use std::net::IpAddr;

use super::PortRule;
use crate::netlink::message::{DUMP, NESTED};
use crate::netlink::{Attributes, Family, Requests, Socket};
use crate::plan::Protocol;

/// linux/netfilter/nfnetlink_conntrack.h; the high byte is `NFNL_SUBSYS_CTNETLINK`.
const CT_GET: u16 = 0x101;
const CT_DELETE: u16 = 0x102;
const HEADER: usize = 4;
const TUPLE_ORIG: u16 = 1;
const STATUS: u16 = 3;
const ID: u16 = 12;
/// linux/netfilter/nf_conntrack_common.h.
const IPS_DST_NAT: u32 = 32;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const V4_DST: u16 = 2;
const V6_DST: u16 = 4;
const PROTO_NUM: u16 = 1;
const PROTO_DST_PORT: u16 = 3;

/// Forgets what was sent to these public ports before. Only asks for UDP and SCTP (TCP connections end by themselves),
/// and does without where the kernel has no ctnetlink: then such entries go as they time out.
pub(super) fn forget(ports: &[PortRule]) {
    let ports: Vec<&PortRule> = ports.iter().filter(|rule| rule.port.protocol != Protocol::Tcp).collect();
    for (family, is_v4) in [(2u8, true), (10, false)] {
        let ports: Vec<&PortRule> =
            ports.iter().copied().filter(|rule| rule.port.host_address.is_ipv4() == is_v4).collect();
        if !ports.is_empty() {
            let _ = forget_family(family, &ports);
        }
    }
}

fn forget_family(family: u8, ports: &[&PortRule]) -> Result<(), rustix::io::Errno> {
    let header = [family, 0, 0, 0];
    let socket = Socket::open(Family::Netfilter)?;
    let mut list = Requests::new();
    list.begin(CT_GET, DUMP, &header);
    let mut stale = Vec::new();
    socket
        .exchange(&list, |message| {
            let entry = message.attributes(HEADER);
            if leads_to(entry.nested(TUPLE_ORIG), entry.be32(STATUS).unwrap_or_default() & IPS_DST_NAT != 0, ports) {
                stale.extend(entry.get(TUPLE_ORIG).map(|tuple| (tuple.to_vec(), entry.get(ID).map(<[u8]>::to_vec))));
            }
        })
        .map_err(|(_, errno)| errno)?;
    for (tuple, id) in stale {
        let mut requests = Requests::new();
        requests.begin(CT_DELETE, 0, &header).attribute(TUPLE_ORIG | NESTED, &tuple);
        if let Some(id) = id {
            requests.attribute(ID, &id);
        }
        // Gone by itself meanwhile is gone.
        let _ = socket.carry_out(&requests);
    }
    Ok(())
}

/// Whether a connection was first sent to one of the ports of this host: it was translated, or ended here. Others that
/// go to the same number elsewhere, a container's questions to a name server say, are left alone.
fn leads_to(tuple: Attributes<'_>, translated: bool, ports: &[&PortRule]) -> bool {
    let protocol = tuple.nested(TUPLE_PROTO);
    let (Some([number]), Some([high, low])) = (protocol.get(PROTO_NUM), protocol.get(PROTO_DST_PORT)) else {
        return false;
    };
    let Some(to) = destination(tuple.nested(TUPLE_IP)) else { return false };
    let host_port = u16::from_be_bytes([*high, *low]);
    ports.iter().any(|rule| {
        let port = &rule.port;
        port.protocol.number() == *number
            && port.host_port == host_port
            && (port.host_address == to || port.host_address.is_unspecified())
    }) && (translated || is_local(to))
}

fn destination(address: Attributes<'_>) -> Option<IpAddr> {
    let v4 = || Some(IpAddr::from(*address.get(V4_DST)?.first_chunk::<4>()?));
    v4().or_else(|| Some(IpAddr::from(*address.get(V6_DST)?.first_chunk::<16>()?)))
}

/// Only this host's own addresses can be bound.
fn is_local(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}
