//! Giving a container its interfaces, from outside, while its first process waits.

use std::fs::File;
use std::os::fd::AsFd;

use crate::plan::{Endpoint, Link};
use crate::route::{LinkInfo, NewLink, Route};
use crate::{Error, Result, bridge, namespace, sysctl};

/// A container's network namespace, and ways to both sides of it.
#[derive(Debug)]
pub struct Inside {
    namespace: File,
    host: Route,
    inside: Route,
}

/// The host's end of an endpoint's pair; known from the endpoint's ID, so that what is left over can be told.
pub fn host_interface(endpoint: &str) -> String {
    format!("veth{}", endpoint.get(..11).unwrap_or(endpoint))
}

/// Whether a link is such an end, whosever it is or was.
pub fn is_host_interface(link: &LinkInfo) -> bool {
    let digits = link.name.strip_prefix("veth").unwrap_or_default();
    link.kind == "veth" && digits.len() == 11 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Inside {
    /// Of the process `pid`, which has a network namespace of its own.
    pub fn of(pid: i32) -> Result<Self> {
        let namespace = namespace::of_process(pid)?;
        let host = Route::home()?;
        let inside = namespace::within(namespace.as_fd(), Route::open)??;
        Ok(Self { namespace, host, inside })
    }

    /// Runs `f` inside; what it opens stays there.
    pub fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> Result<T> {
        namespace::within(self.namespace.as_fd(), f)
    }

    /// Makes the interface, with its addresses and routes. On an error nothing of it is left.
    pub fn connect(&self, endpoint: &Endpoint) -> Result<()> {
        let made = self.make_link(endpoint).and_then(|()| self.configure(endpoint));
        if made.is_err() {
            let _ = self.disconnect(endpoint);
        }
        made
    }

    /// Idempotent. A pair goes by the host's end, of which a container that may rename or move its own knows nothing.
    pub fn disconnect(&self, endpoint: &Endpoint) -> Result<()> {
        match endpoint.link {
            Link::Bridge { .. } => self.host.remove_link(&host_interface(&endpoint.id)),
            Link::Macvlan { .. } | Link::Ipvlan { .. } => self.inside.remove_link(&endpoint.interface),
        }
    }

    /// Whether an interface of that name is there.
    pub fn has(&self, interface: &str) -> Result<bool> {
        Ok(self.inside.link(interface)?.is_some())
    }

    /// Leads what goes elsewhere through this endpoint from now on, or no longer.
    pub fn change_way_out(&self, endpoint: &Endpoint, out: bool) -> Result<()> {
        let link = self.link(endpoint)?;
        for &gateway in &endpoint.gateways {
            if out {
                self.inside.add_default_route(&endpoint.interface, link.index, &endpoint.addresses, gateway)?;
            } else {
                self.inside.remove_default_route(link.index, gateway)?;
            }
        }
        Ok(())
    }

    fn link(&self, endpoint: &Endpoint) -> Result<LinkInfo> {
        let found = self.inside.link(&endpoint.interface)?;
        found.ok_or_else(|| Error::NotFound(format!("the interface {} is gone", endpoint.interface)))
    }

    fn make_link(&self, endpoint: &Endpoint) -> Result<()> {
        let inside = NewLink { name: &endpoint.interface, mac: endpoint.mac, mtu: endpoint.mtu };
        match &endpoint.link {
            Link::Bridge { bridge: name } => {
                let bridge = bridge::find(&self.host, name)?.ok_or_else(|| {
                    Error::NotFound(format!("the bridge {name} of network {} is gone", endpoint.name))
                })?;
                let own = host_interface(&endpoint.id);
                let host = NewLink { name: &own, mac: None, mtu: endpoint.mtu };
                match self.host.add_veth(&host, bridge.index, &inside, self.namespace.as_fd()) {
                    // Of the run before: somebody shares its namespace and lives on.
                    Err(Error::Conflict(_)) => {
                        self.host.remove_link(&own)?;
                        self.host.add_veth(&host, bridge.index, &inside, self.namespace.as_fd())
                    }
                    other => other,
                }
            }
            Link::Macvlan { parent, .. } | Link::Ipvlan { parent, .. } => {
                let found = self.host.link(parent)?.ok_or_else(|| {
                    Error::NotFound(format!("the parent interface {parent} of network {} is gone", endpoint.name))
                })?;
                let target = self.namespace.as_fd();
                self.host.add_of_parent(&endpoint.link, found.index, &inside, target)
            }
        }
    }

    fn configure(&self, endpoint: &Endpoint) -> Result<()> {
        let name = &endpoint.interface;
        let link = self.link(endpoint)?;
        let v6 = endpoint.addresses.iter().any(|address| address.addr().is_ipv6());
        self.within(|| {
            // Its neighbours in the network are not its routers.
            for setting in ["accept_ra", "accept_dad"].iter().filter(|_| v6) {
                sysctl::set(&format!("ipv6/conf/{name}/{setting}"), "0")?;
            }
            sysctl::set(&format!("ipv6/conf/{name}/disable_ipv6"), if v6 { "0" } else { "1" })?;
            endpoint.sysctls.iter().try_for_each(|(setting, value)| sysctl::set(setting, value))
        })??;
        self.inside.configure(name, link.index, &endpoint.addresses, &endpoint.gateways)
    }
}
