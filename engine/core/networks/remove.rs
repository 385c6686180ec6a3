//! `network rm` and `network prune`.

use berth_api::Filters;
use rusqlite::Transaction;

use super::endpoints;
use super::record::{self, Network};
use crate::{Engine, Error, Result};

impl Engine {
    /// Containers that do not run leave the network; one that runs keeps it.
    pub fn remove_network(&self, name: &str) -> Result<()> {
        let network = self.network(name)?;
        if network.is_predefined() {
            return Err(Error::Forbidden(format!("{} is a pre-defined network and cannot be removed", network.name)));
        }
        let _lock = self.lock(&format!("network-{}", network.id))?;
        let ends = self.store().read(|connection| endpoints::of_network(connection, &network.id))?;
        for end in &ends {
            let container = match self.find(&end.container) {
                Ok(container) => container,
                Err(Error::NotFound(_)) => continue,
                Err(error) => return Err(error),
            };
            if self
                .running_plan(&container)?
                .is_some_and(|plan| plan.endpoints.iter().any(|end| end.network == network.id))
            {
                return Err(Error::Forbidden(format!(
                    "error while removing network: network {} has active endpoints (name:\"{}\" id:\"{}\")",
                    network.name,
                    container.name,
                    &end.id[..12]
                )));
            }
        }
        self.take_down(&network)?;
        self.forget_network(&network)?;
        self.emit_network(&network, "destroy", &[]);
        self.tidy_networks()
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
