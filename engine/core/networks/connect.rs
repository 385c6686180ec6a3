//! `network connect` and `network disconnect`.

use berth_api::models::EndpointSettings;
use berth_monitor::protocol::Request;

use super::endpoints::{self, Asked, Endpoint};
use super::plan::{choose_way_out, resolver};
use crate::containers::create::random_id;
use crate::settings::modes;
use crate::spec::files;
use crate::{Container, Engine, Error, Result};

impl Engine {
    /// A running container gets the interface at once, another one at its next start.
    pub fn connect_network(&self, network: &str, container: &str, settings: EndpointSettings) -> Result<()> {
        let network = self.network(network)?;
        let container = self.find(container)?;
        let _lock = self.lock(&container.id)?;
        if matches!(mode(&container)?, modes::Network::Host) || network.name == "host" {
            return Err(Error::Forbidden(
                "container cannot be disconnected from host network or connected to host network".to_owned(),
            ));
        }
        if let modes::Network::Container(_) = mode(&container)? {
            return Err(Error::Forbidden(
                "container sharing network namespace with another container or host cannot be connected to any other network"
                    .to_owned(),
            ));
        }
        if matches!(mode(&container)?, modes::Network::None) || !network.has_links() {
            return Err(Error::Forbidden(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode"
                    .to_owned(),
            ));
        }
        let asked = Asked { network, settings };
        endpoints::check(&asked)?;
        for link in asked.settings.links.iter().flatten() {
            super::links::parse(link)?;
        }
        let id = random_id()?;
        let end = self.store().write(|transaction| {
            let ends = endpoints::of_container(transaction, &container.id)?;
            if ends.iter().any(|end| end.network.id == asked.network.id) {
                return Err(Error::Forbidden(format!(
                    "endpoint with name {} already exists in network {}",
                    container.name, asked.network.name
                )));
            }
            let position = (0..).find(|position| ends.iter().all(|end| end.position != *position)).unwrap_or_default();
            endpoints::insert(transaction, &container.id, position, &id, &asked)?;
            Ok(Endpoint {
                id: id.clone(),
                container: container.id.clone(),
                network: asked.network.clone(),
                position,
                settings: asked.settings.clone(),
            })
        })?;
        let changed = self.endpoints_of(&container.id).and_then(|ends| self.change_running(&container, ends));
        if let Err(error) = changed {
            self.drop_endpoint(&end)?;
            return Err(error);
        }
        self.emit_network(&end.network, "connect", &[("container", &container.id)]);
        Ok(())
    }

    /// `force`: also a container that is not there any more, or that a running monitor does not answer for.
    pub fn disconnect_network(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let network = self.network(network)?;
        let container = self.find(container)?;
        let _lock = self.lock(&container.id)?;
        let mut ends = self.endpoints_of(&container.id)?;
        let Some(index) = ends.iter().position(|end| end.network.id == network.id) else {
            if matches!(mode(&container)?, modes::Network::Host) && network.name == "host" {
                return Err(Error::Forbidden("container cannot be disconnected from host network".to_owned()));
            }
            return Err(Error::Forbidden(format!(
                "container {} is not connected to network {}",
                container.id, network.name
            )));
        };
        let end = ends.remove(index);
        // The row goes last: as long as the container may be in the network, it can be disconnected.
        match self.change_running(&container, ends) {
            Err(error) if !force => return Err(error),
            Err(error) => tracing::warn!("disconnect {} from {}: {error}", container.name, network.name),
            Ok(()) => {}
        }
        self.drop_endpoint(&end)?;
        self.emit_network(&network, "disconnect", &[("container", &container.id)]);
        Ok(())
    }

    fn drop_endpoint(&self, end: &Endpoint) -> Result<()> {
        self.store().write(|transaction| {
            let who = (&end.container, &end.network.id);
            transaction.execute("DELETE FROM endpoints WHERE container = ?1 AND network = ?2", who)?;
            transaction.execute("DELETE FROM addresses WHERE container = ?1 AND network = ?2", who)?;
            Ok(())
        })
    }

    /// Tells the monitor of a running container what its networks are to be now.
    fn change_running(&self, container: &Container, mut ends: Vec<Endpoint>) -> Result<()> {
        let state = self.state(container)?;
        if !state.status.is_up() {
            return Ok(());
        }
        self.after_leaving()?;
        for end in &mut ends {
            end.network = self.ensure_up(end.network.clone())?;
        }
        let mut plan = self.told(container)?.unwrap_or_default();
        plan.owner = self.owner()?.0;
        plan.packet_path = self.packet_path()?.name().to_owned();
        plan.endpoints.clear();
        for end in &ends {
            plan.endpoints.push(self.plan_endpoint(container, end)?);
        }
        choose_way_out(&mut plan, &ends);
        // Ports stay with the address that they were published for, if that is still there.
        let own: Vec<_> = plan.endpoints.iter().flat_map(|end| &end.addresses).map(ipnet::IpNet::addr).collect();
        let targets = super::plan::targets(&plan, &ends);
        for port in &mut plan.ports {
            if !own.contains(&port.container_address) {
                port.container_address = targets.of(port.host_address);
            }
        }
        let links = self.links(container, &ends)?;
        plan.resolver = resolver(container, &ends, &plan, links.names);
        let answered = plan.resolver.is_some();
        self.ask(container, &Request::Networks { plan: Box::new(plan) })?;
        files::ask_elsewhere(container, &mode(container)?, answered, &self.folder(container))
    }
}

fn mode(container: &Container) -> Result<modes::Network> {
    modes::network(container.host_config.network_mode.as_deref().unwrap_or_default())
}
