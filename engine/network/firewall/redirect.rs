//! Leading a container's questions for names from the usual port to the one where they are answered, by whichever packet
//! filter there is.

use std::net::Ipv4Addr;

use berth_arch::pretend;

use super::iptables::{self, Variant};
use super::nft;
use crate::plan::{Protocol, Published};
use crate::{Error, Result};

/// Of the table or the comment in the container's namespace.
const TABLE: &str = "berth-names";

/// In the calling thread's network namespace, which has to be a container's: UDP and TCP.
pub(crate) fn names(address: Ipv4Addr, from: u16, to: u16) -> Result<()> {
    if !pretend::without(nft::NAME) {
        let port = |protocol| Published {
            protocol,
            host_address: address.into(),
            host_port: from,
            container_address: address.into(),
            container_port: to,
        };
        if nft::redirect::add(TABLE, &[port(Protocol::Udp), port(Protocol::Tcp)]).is_ok() {
            return Ok(());
        }
    }
    for variant in [Variant::Nft, Variant::Legacy] {
        if variant.is_here() && iptables::redirect(variant, address, from, to).is_ok() {
            return Ok(());
        }
    }
    Err(Error::Unavailable(format!("lead {address}:{from} to port {to}: this host has no packet filter that can")))
}
