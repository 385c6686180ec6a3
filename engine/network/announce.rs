//! What others see of a container's networks: its names, and the rules of its public ports. Both have to be taken back;
//! links and addresses go with the container's network namespace.

use crate::firewall::{self, Owner, PacketPath};
use crate::names::Names;
use crate::plan::{Endpoint, Plan};
use crate::{Error, Result};

fn path(plan: &Plan) -> Result<Box<dyn PacketPath>> {
    firewall::by_name(&plan.packet_path)
        .ok_or_else(|| Error::Unavailable(format!("this program has no packet path {}", plan.packet_path)))
}

/// Makes the container known under its names, and leads its public ports to it. Idempotent; undone on an error.
pub fn announce(plan: &Plan, container: &str) -> Result<()> {
    let announced = (|| {
        for endpoint in &plan.endpoints {
            name(endpoint, container)?;
        }
        publish(plan)
    })();
    if announced.is_err() {
        let _ = withdraw(plan, container);
    }
    announced
}

/// Idempotent. Goes on after an error, and says the first.
pub fn withdraw(plan: &Plan, container: &str) -> Result<()> {
    let unpublished = unpublish(plan);
    plan.endpoints.iter().map(|endpoint| unname(endpoint, container)).fold(unpublished, Result::and)
}

/// Idempotent.
pub fn publish(plan: &Plan) -> Result<()> {
    let rules = plan.port_rules();
    if rules.is_empty() { Ok(()) } else { path(plan)?.publish(&Owner(plan.owner.clone()), &rules) }
}

/// Idempotent.
pub fn unpublish(plan: &Plan) -> Result<()> {
    let rules = plan.port_rules();
    if rules.is_empty() { Ok(()) } else { path(plan)?.unpublish(&Owner(plan.owner.clone()), &rules) }
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
