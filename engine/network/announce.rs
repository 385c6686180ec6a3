//! What others see of a container's networks: its names, and the rules of its public ports. Both have to be taken back;
//! links and addresses go with the container's network namespace.

use crate::firewall::{self, Owner, PacketPath};
use crate::names::Names;
use crate::plan::{Endpoint, Plan};
use crate::{Error, Result};

/// Announces and takes back, by the plan's packet path, which it keeps: to let go of one may take until the kernel has
/// freed what was deleted last, by whomever, ten milliseconds and more.
#[derive(Default)]
pub struct Announcer {
    path: Option<Box<dyn PacketPath>>,
}

impl Announcer {
    fn path(&mut self, plan: &Plan) -> Result<&dyn PacketPath> {
        let path = match self.path.take().filter(|path| path.name() == plan.packet_path) {
            Some(path) => path,
            None => firewall::by_name(&plan.packet_path)
                .ok_or_else(|| Error::Unavailable(format!("this program has no packet path {}", plan.packet_path)))?,
        };
        Ok(&**self.path.insert(path))
    }

    /// Makes the container known under its names, and leads its public ports to it. Idempotent; undone on an error.
    pub fn announce(&mut self, plan: &Plan, container: &str) -> Result<()> {
        let announced = plan.endpoints.iter().try_for_each(|endpoint| name(endpoint, container));
        let announced = announced.and_then(|()| self.publish(plan));
        if announced.is_err() {
            let _ = self.withdraw(plan, container);
        }
        announced
    }

    /// Idempotent. Goes on after an error, and says the first.
    pub fn withdraw(&mut self, plan: &Plan, container: &str) -> Result<()> {
        let unpublished = self.unpublish(plan);
        plan.endpoints.iter().map(|endpoint| unname(endpoint, container)).fold(unpublished, Result::and)
    }

    /// Idempotent.
    pub fn publish(&mut self, plan: &Plan) -> Result<()> {
        let rules = plan.port_rules();
        if rules.is_empty() { Ok(()) } else { self.path(plan)?.publish(&Owner(plan.owner.clone()), &rules) }
    }

    /// Idempotent.
    pub fn unpublish(&mut self, plan: &Plan) -> Result<()> {
        let rules = plan.port_rules();
        if rules.is_empty() { Ok(()) } else { self.path(plan)?.unpublish(&Owner(plan.owner.clone()), &rules) }
    }
}

pub fn name(endpoint: &Endpoint, container: &str) -> Result<()> {
    let Some(folder) = &endpoint.folder else { return Ok(()) };
    let addresses: Vec<_> = endpoint.addresses.iter().map(ipnet::IpNet::addr).collect();
    Names::new(folder).add(container, &endpoint.names, &addresses)
}

pub fn unname(endpoint: &Endpoint, container: &str) -> Result<()> {
    let Some(folder) = &endpoint.folder else { return Ok(()) };
    let addresses: Vec<_> = endpoint.addresses.iter().map(ipnet::IpNet::addr).collect();
    Names::new(folder).remove(container, &endpoint.names, &addresses)
}
