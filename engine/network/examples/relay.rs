//! A relay by itself, to be measured against others: `relay tcp|udp FIRST-PORT COUNT TARGET-ADDRESS` publishes COUNT
//! ports from FIRST-PORT on, each to the same port of the target.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use berth_network::Protocol;
use berth_network::relay::{Relay, hold};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, protocol, first, count, target] = &arguments[..] else {
        return Err("usage: relay tcp|udp FIRST-PORT COUNT TARGET-ADDRESS".into());
    };
    let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
    let (first, count, target): (u16, u16, IpAddr) = (first.parse()?, count.parse()?, target.parse()?);
    let mut relay = Relay::new()?;
    for port in first..first + count {
        let socket = hold(protocol, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
        relay.add(protocol, socket, Some(SocketAddr::new(target, port)))?;
    }
    loop {
        let timeout = relay.deadline().map(|at| {
            let left = at.saturating_duration_since(std::time::Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        poll(&mut [PollFd::from_borrowed_fd(relay.as_fd(), PollFlags::IN)], timeout.as_ref())?;
        relay.turn()?;
    }
}
