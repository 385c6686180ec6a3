//! What is beyond a network: asked of the host's routes, and remembered for a moment.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::Result;
use crate::bridge;
use crate::namespace;
use crate::route::{Route, WayKind};

/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(5);
/// Answers kept.
const MOST: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Somewhere else, to where the host sends it.
    Outside,
    /// The host itself, which has it from the bridge.
    Host,
    /// No one container's business: another network of containers, groups.
    Nobody,
    /// The host knows no way.
    NoRoute,
}

#[derive(Debug)]
pub(super) struct Map {
    route: Route,
    /// Of the bridges, if they are elsewhere.
    home: Option<Route>,
    known: HashMap<IpAddr, (Instant, Reach)>,
}

impl Map {
    /// Of the network namespace that the calling thread is in.
    pub(super) fn new() -> Result<Self> {
        let home = if namespace::is_away() { Some(Route::home()?) } else { None };
        Ok(Self { route: Route::open()?, home, known: HashMap::new() })
    }

    pub(super) fn find(&mut self, to: IpAddr, now: Instant) -> Reach {
        if let Some((until, reach)) = self.known.get(&to)
            && now < *until
        {
            return *reach;
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        let reach = self.ask(to).unwrap_or(Reach::NoRoute);
        self.known.insert(to, (now + FRESH, reach));
        reach
    }

    fn ask(&self, to: IpAddr) -> Result<Reach> {
        let odd = to.is_unspecified() || to.is_loopback() || to.is_multicast();
        let near = matches!(to, IpAddr::V6(address) if address.is_unicast_link_local());
        if odd || near {
            return Ok(Reach::Nobody);
        }
        if let Some(home) = &self.home
            && home.way(to)?.is_some_and(|way| way.kind != WayKind::Other)
        {
            return Ok(Reach::Nobody);
        }
        let Some(way) = self.route.way(to)? else { return Ok(Reach::NoRoute) };
        Ok(match way.kind {
            // Without a bridge at the host, it is as far as anybody else.
            WayKind::Local if self.home.is_some() => Reach::Outside,
            WayKind::Local => Reach::Host,
            WayKind::Other => Reach::Nobody,
            // Networks of containers are apart.
            WayKind::Unicast if self.route.link_at(way.index)?.is_some_and(|link| bridge::is_ours(&link)) => {
                Reach::Nobody
            }
            WayKind::Unicast => Reach::Outside,
        })
    }
}
