//! Giving a container another name.

use berth_monitor::protocol::Request;

use super::create::{name_taken, owner};
use super::record;
use crate::settings::names;
use crate::{Container, Engine, Error, Result};

impl Engine {
    pub fn rename(&self, name: &str, new: &str) -> Result<()> {
        if name.is_empty() || new.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let new = names::container_name(new)?;
        let found = self.find(name)?;
        let _lock = self.lock(&found.id)?;
        let old = self.store().write(|transaction| {
            let container = record::by_id(transaction, &found.id)?;
            if container.name == new {
                return Err(Error::invalid("Renaming a container with the same name as its current name"));
            }
            if let Some(owner) = owner(transaction, new)? {
                return Err(name_taken(new, &owner));
            }
            transaction
                .prepare_cached("UPDATE containers SET name = ?2 WHERE id = ?1")?
                .execute([container.id.as_str(), new])?;
            Ok(container)
        })?;
        let container = Container { name: new.to_owned(), ..old.clone() };
        // The monitor's events carry the name; one that does not run reads it when it starts.
        let attributes = Some(container.attributes());
        let told = self.ask(&container, &Request::Update { resources: None, restart: None, attributes });
        if let Err(error) = told
            && !matches!(error, Error::Conflict(_))
        {
            tracing::warn!("tell the monitor of {} its new name: {error}", container.short_id());
        }
        self.emit_container(&container, "rename", &[("oldName", &format!("/{}", old.name))]);
        Ok(())
    }
}
