//! The numbers of linux/netfilter/nf_tables.h and nfnetlink.h that berth uses, and the batch that they are sent in.

use rustix::io::Errno;

use crate::netlink::message::{CREATE, DUMP, DUMP_INTERRUPTED};
use crate::netlink::{Attributes, Requests, Socket};

/// `NFNL_SUBSYS_NFTABLES`, the high byte of every message's kind.
pub(super) const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// `struct nfgenmsg`: family, version, and a number of the subsystem's.
pub(super) const HEADER: usize = 4;

/// `enum nf_tables_msg_types`.
pub(super) mod message {
    pub(in super::super) const NEWTABLE: u16 = 0;
    pub(in super::super) const DELTABLE: u16 = 2;
    pub(in super::super) const NEWCHAIN: u16 = 3;
    pub(in super::super) const GETCHAIN: u16 = 4;
    pub(in super::super) const DELCHAIN: u16 = 5;
    pub(in super::super) const NEWRULE: u16 = 6;
    pub(in super::super) const GETRULE: u16 = 7;
    pub(in super::super) const DELRULE: u16 = 8;
    pub(in super::super) const NEWSET: u16 = 9;
    pub(in super::super) const NEWSETELEM: u16 = 12;
    pub(in super::super) const GETSETELEM: u16 = 13;
    pub(in super::super) const DELSETELEM: u16 = 14;
}

/// `NFTA_*`: attributes, grouped by what they are of. Those of tables, chains, rules and elements begin alike.
pub(super) mod attr {
    /// The table's name, in every message.
    pub(in super::super) const TABLE: u16 = 1;
    pub(in super::super) const LIST_ELEM: u16 = 1;

    pub(in super::super) const CHAIN_NAME: u16 = 3;
    pub(in super::super) const CHAIN_HOOK: u16 = 4;
    pub(in super::super) const CHAIN_POLICY: u16 = 5;
    pub(in super::super) const CHAIN_TYPE: u16 = 7;
    pub(in super::super) const HOOK_NUM: u16 = 1;
    pub(in super::super) const HOOK_PRIORITY: u16 = 2;

    pub(in super::super) const RULE_CHAIN: u16 = 2;
    pub(in super::super) const RULE_EXPRESSIONS: u16 = 4;
    pub(in super::super) const EXPR_NAME: u16 = 1;
    pub(in super::super) const EXPR_DATA: u16 = 2;

    pub(in super::super) const SET_NAME: u16 = 2;
    pub(in super::super) const SET_FLAGS: u16 = 3;
    pub(in super::super) const SET_KEY_TYPE: u16 = 4;
    pub(in super::super) const SET_KEY_LEN: u16 = 5;
    pub(in super::super) const SET_DATA_TYPE: u16 = 6;
    pub(in super::super) const SET_DATA_LEN: u16 = 7;
    /// What a batch calls the set before it exists.
    pub(in super::super) const SET_ID: u16 = 10;
    /// For `nft` only, which prints by it.
    pub(in super::super) const SET_USERDATA: u16 = 13;

    pub(in super::super) const ELEMENTS_SET: u16 = 2;
    pub(in super::super) const ELEMENTS: u16 = 3;
    pub(in super::super) const ELEM_KEY: u16 = 1;
    pub(in super::super) const ELEM_DATA: u16 = 2;
    pub(in super::super) const ELEM_FLAGS: u16 = 3;

    pub(in super::super) const DATA_VALUE: u16 = 1;
    pub(in super::super) const DATA_VERDICT: u16 = 2;
    pub(in super::super) const VERDICT_CODE: u16 = 1;
    pub(in super::super) const VERDICT_CHAIN: u16 = 2;
    pub(in super::super) const IMMEDIATE_DATA: u16 = 2;
}

pub(super) const SET_INTERVAL: u32 = 4;
pub(super) const SET_MAP: u32 = 8;
/// `NFT_SET_ELEM_INTERVAL_END`: the first key that is no more part of the interval before it.
pub(super) const INTERVAL_END: u32 = 1;
/// The data type of verdict maps.
pub(super) const VERDICTS: u32 = 0xffff_ff00;

/// `enum nf_inet_hooks`.
pub(super) const PREROUTING: u32 = 0;
pub(super) const FORWARD: u32 = 2;
pub(super) const OUTPUT: u32 = 3;
pub(super) const POSTROUTING: u32 = 4;

/// The address families whose tables are handled. No `inet`: it has no NAT before Linux 5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ip {
    V4,
    V6,
}

impl Ip {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

/// Changes to one or both tables of an owner, all or none.
pub(super) struct Batch<'a> {
    requests: Requests,
    table: &'a str,
    changes: usize,
}

impl<'a> Batch<'a> {
    pub(super) fn new(table: &'a str) -> Self {
        let mut requests = Requests::batch();
        requests.begin_quietly(BATCH_BEGIN, 0, &boundary());
        Self { requests, table, changes: 0 }
    }

    /// Begins a change of `kind`; its attributes follow, the table's name is there.
    pub(super) fn change(&mut self, family: u8, kind: u16, flags: u16) -> &mut Requests {
        self.changes += 1;
        self.requests.begin_quietly(SUBSYSTEM << 8 | kind, flags, &header(family)).string(attr::TABLE, self.table)
    }

    pub(super) fn create(&mut self, family: u8, kind: u16) -> &mut Requests {
        self.change(family, kind, CREATE)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes == 0
    }

    /// Sends it. A commit that another one got in the way of is tried again.
    pub(super) fn commit(mut self, socket: &Socket) -> Result<(), Errno> {
        if self.is_empty() {
            return Ok(());
        }
        self.requests.acknowledge();
        self.requests.begin_quietly(BATCH_END, 0, &boundary());
        let mut tries = 0;
        loop {
            match socket.carry_out(&self.requests) {
                Err((_, Errno::AGAIN | Errno::INTR | ERESTART)) if tries < TRIES => tries += 1,
                answer => return answer.map_err(|(_, errno)| errno),
            }
        }
    }
}

/// How often what others got in the way of is tried.
const TRIES: u32 = 20;

/// The kernel's own number for "the ruleset changed meanwhile", which leaks out of some versions.
const ERESTART: Errno = Errno::from_raw_os_error(85);

pub(super) fn header(family: u8) -> [u8; HEADER] {
    [family, 0, 0, 0]
}

fn boundary() -> [u8; HEADER] {
    let subsystem = SUBSYSTEM.to_be_bytes();
    [0, 0, subsystem[0], subsystem[1]]
}

/// Asks for everything of a kind and keeps what `read` makes of it; `narrow` adds what it is narrowed to (older kernels
/// ignore some of it, so `read` looks again). What does not exist is nothing. Interrupted by a change, it asks again.
pub(super) fn dump<T>(
    socket: &Socket,
    family: u8,
    kind: u16,
    narrow: impl Fn(&mut Requests),
    read: impl Fn(Attributes<'_>, &mut Vec<T>),
) -> Result<Vec<T>, Errno> {
    let mut tries = 0;
    loop {
        let mut requests = Requests::new();
        narrow(requests.begin(SUBSYSTEM << 8 | kind, DUMP, &header(family)));
        let mut found = Vec::new();
        let mut interrupted = false;
        let answer = socket.exchange(&requests, |message| {
            interrupted |= message.flags & DUMP_INTERRUPTED != 0;
            read(message.attributes(HEADER), &mut found);
        });
        match answer {
            Ok(()) if !interrupted || tries >= TRIES => return Ok(found),
            Err((_, Errno::NOENT)) => return Ok(Vec::new()),
            Ok(()) => tries += 1,
            Err((_, Errno::INTR | Errno::AGAIN | ERESTART)) if tries < TRIES => tries += 1,
            Err((_, errno)) => return Err(errno),
        }
    }
}
