//! A table of a container's own network namespace, which leads what its programs send to some addresses elsewhere.

use rustix::io::Errno;

use super::expressions::Part;
use super::layout::{self, Base, PORTS_AT};
use super::wire::{self, Batch, Ip, message};
use super::write;
use crate::netlink::{Family, Socket};
use crate::plan::Published;

const CHAIN: &str = "output";

/// In the calling thread's network namespace. All ports are IPv4's.
pub(in crate::firewall) fn add(table: &str, ports: &[Published]) -> Result<(), Errno> {
    let mut batch = Batch::new(table);
    let ip = Ip::V4;
    batch.create(ip.number(), message::NEWTABLE);
    if let Some(set) = layout::SETS.iter().find(|set| set.name == PORTS_AT) {
        write::set(&mut batch, ip, 1, set);
    }
    let base = Base { kind: "nat", hook: wire::OUTPUT, priority: -100 };
    write::chain(&mut batch, ip, CHAIN, Some(&base));
    write::rules(&mut batch, ip, CHAIN, &[vec![Part::Translate { map: PORTS_AT, address: true }]]);
    let elements: Vec<_> = ports.iter().map(layout::redirection).collect();
    write::elements(&mut batch, ip, message::NEWSETELEM, &elements);
    batch.commit(&Socket::open(Family::Netfilter)?)
}
