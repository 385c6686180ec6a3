//! `network rm` and `network prune`.

use berth_api::Filters;
use rusqlite::Transaction;

use super::endpoints::{self, Endpoint};
use super::record::{self, Network};
use crate::{Engine, Error, Result};

impl Engine {
    /// Containers that do not run leave the network; one that runs keeps it.
    pub fn remove_network(&self, name: &str) -> Result<()> {
        let network = self.network(name)?;
        if network.is_predefined() {
            return Err(Error::Forbidden(format!("{} is a pre-defined network and cannot be removed", network.name)));
        }
        let ends = self.store().read(|connection| endpoints::of_network(connection, &network.id))?;
        // None of them starts meanwhile. Before the network's own lock, which a start waits for with the container's.
        let mut locks = Vec::new();
        for end in &ends {
            locks.push(self.try_lock_a_while(&end.container)?.ok_or_else(|| self.active(end))?);
            if self.is_active(end)? {
                return Err(self.active(end));
            }
        }
        let lock = self.lock(&format!("network-{}", network.id))?;
        self.take_down(&network)?;
        let deleted = self.store().write(|transaction| {
            let now = endpoints::of_network(transaction, &network.id)?;
            match now.iter().find(|end| ends.iter().all(|known| known.container != end.container)) {
                Some(newcomer) => Err(self.active(newcomer)),
                None => delete(transaction, &network.id),
            }
        });
        drop((lock, locks));
        if let Err(refused) = deleted {
            // Somebody joined it meanwhile, and is cut off until it is there again.
            if let Err(error) = self.ensure_up(network) {
                tracing::warn!("bring the network {name} up again: {error}");
            }
            return Err(refused);
        }
        self.emit_network(&network, "destroy", &[]);
        self.tidy_networks()
    }

    /// With the container's lock.
    fn is_active(&self, end: &Endpoint) -> Result<bool> {
        let container =
            match self.store().read(|connection| crate::containers::record::by_id(connection, &end.container)) {
                Ok(container) => container,
                Err(Error::NotFound(_)) => return Ok(false),
                Err(error) => return Err(error),
            };
        let state = self.settled_state(&container)?;
        Ok(state.status.is_up()
            && self
                .last_plan(&container)?
                .is_some_and(|plan| plan.endpoints.iter().any(|planned| planned.network == end.network.id)))
    }

    /// In Docker's words.
    fn active(&self, end: &Endpoint) -> Error {
        Error::Forbidden(format!(
            "error while removing network: network {} has active endpoints (name:\"{}\" id:\"{}\")",
            end.network.name,
            self.name_of(&end.container),
            &end.id[..12]
        ))
    }

    /// The row, and everything that names it.
    pub(super) fn forget_network(&self, network: &Network) -> Result<()> {
        self.store().write(|transaction| delete(transaction, &network.id))
    }

    /// Removes users' own networks that no container is in; returns their names. Filters: `until`, `label`, `label!`.
    pub fn prune_networks(&self, filters: &Filters) -> Result<Vec<String>> {
        let invalid = |error: berth_api::query::InvalidQuery| Error::InvalidArgument(error.0);
        filters.expect(&["until", "label", "label!"]).map_err(invalid)?;
        let until = filters.get("until").first().map(|text| crate::parse_time(text)).transpose().map_err(invalid)?;
        let mut pruned = Vec::new();
        for network in self.all_networks()? {
            let labels = &network.config.labels;
            let wanted = !network.is_predefined()
                && until.is_none_or(|until| network.created < until)
                && filters.allows_labels(|key| labels.get(key).map(String::as_str));
            if !wanted || !self.store().read(|connection| endpoints::of_network(connection, &network.id))?.is_empty() {
                continue;
            }
            match self.remove_network(&network.id) {
                Ok(()) => pruned.push(network.name),
                // Somebody was faster, or came to use it.
                Err(Error::NotFound(_) | Error::Forbidden(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.tidy_networks()?;
        self.emit("network", "prune", "", [("reclaimed".to_owned(), "0".to_owned())].into());
        Ok(pruned)
    }

    pub(super) fn emit_network(&self, network: &Network, action: &str, more: &[(&str, &str)]) {
        let mut attributes: std::collections::BTreeMap<_, _> =
            [("name".to_owned(), network.name.clone()), ("type".to_owned(), network.driver.name().to_owned())].into();
        attributes.extend(more.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        self.emit("network", action, &network.id, attributes);
    }
}

fn delete(transaction: &Transaction<'_>, id: &str) -> Result<()> {
    transaction.execute("DELETE FROM endpoints WHERE network = ?1", [id])?;
    match transaction.execute("DELETE FROM networks WHERE id = ?1", [id])? {
        0 => Err(record::no_such(id)),
        _ => Ok(()),
    }
}
