//! The tables of iptables-nft are tables of nf_tables: read as those, without a process.

use rustix::io::Errno;

use super::Snapshot;
use crate::firewall::nft;
use crate::netlink::{Family, Socket};

/// The rules of the table's chains.
pub(super) fn snapshot(v6: bool, table: &str) -> Result<Snapshot, Errno> {
    nft::jumps(&Socket::open(Family::Netfilter)?, v6, table)
}
