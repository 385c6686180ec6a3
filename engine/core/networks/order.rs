//! Keeping the kernel in order: taking down what nothing needs any more, and bringing back what others have removed.

use std::time::Duration;

use berth_network::bridge;
use berth_network::firewall::Wanted;
use berth_network::firewall::watch::Watch;
use berth_network::route::{LinkInfo, Route};
use rusqlite::{Connection, OptionalExtension};

use super::record::Driver;
use crate::follow::Changes;
use crate::{Engine, Error, Result};

/// In `meta`, while an engine takes the networks down: whoever starts a container meanwhile brings them up again.
const LEAVING: &str = "networks-leaving";

fn is_leaving(connection: &Connection) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM meta WHERE key = ?1")?;
    Ok(statement.query_row([LEAVING], |_| Ok(())).optional()?.is_some())
}

/// Whether a container is in a network, or a user has one.
fn are_needed(connection: &Connection) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM endpoints)
             OR EXISTS (SELECT 1 FROM networks WHERE name NOT IN ('bridge', 'host', 'none'))",
    )?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// How often an engine that stays looks whether networks have come up or gone, where nothing tells of it.
const LOOK: Duration = Duration::from_secs(1);
/// And where something does: whether it is to end.
const REST: Duration = Duration::from_secs(60);

impl Engine {
    /// Takes the networks down when no container is left that is in one; forwarding is set back then. Users' own networks
    /// keep their bridges, as Docker's do, and with them what all have in common.
    pub(crate) fn tidy_networks(&self) -> Result<()> {
        if self.picked_path().is_none() || self.store().read(are_needed)? {
            return Ok(());
        }
        let _lock = self.lock("networks")?;
        // A container that comes after this finds the mark; one that was there before is counted.
        let leaving = self.store().write(|transaction| {
            if are_needed(transaction)? {
                return Ok(false);
            }
            transaction.execute("INSERT OR IGNORE INTO meta VALUES (?1, '')", [LEAVING])?;
            Ok::<_, Error>(true)
        })?;
        if !leaving {
            return Ok(());
        }
        for network in self.all_networks()?.iter().filter(|network| network.driver == Driver::Bridge) {
            self.take_down(network)?;
        }
        if let Some(path) = self.picked_path() {
            path.remove(&self.owner()?)?;
        }
        bridge::restore_forwarding(&Route::home()?, &self.networks_folder())?;
        crate::containers::remove::remove_folder(&self.networks_folder())?;
        self.store().write(|transaction| {
            transaction.execute("DELETE FROM meta WHERE key = ?1", [LEAVING])?;
            Ok(())
        })
    }

    /// With a container in the store that needs networks: waits for an engine that takes them down, or finishes what one
    /// that was killed had begun.
    pub(super) fn after_leaving(&self) -> Result<()> {
        if !self.store().read(is_leaving)? {
            return Ok(());
        }
        let _lock = self.lock("networks")?;
        if !self.store().read(is_leaving)? {
            return Ok(());
        }
        // Half of it may be gone: what is needed is made anew.
        for network in self.all_networks()?.iter().filter(|network| network.driver == Driver::Bridge) {
            self.take_down(network)?;
        }
        self.store().write(|transaction| {
            transaction.execute("DELETE FROM meta WHERE key = ?1", [LEAVING])?;
            Ok(())
        })
    }

    /// The bridge networks that are there, as rules; no ports.
    pub(crate) fn wanted_networks(&self, route: &Route) -> Result<Wanted> {
        self.networks_where(route, |_| true)
    }

    fn networks_where(&self, route: &Route, is: impl Fn(&LinkInfo) -> bool) -> Result<Wanted> {
        let mut wanted = Wanted::default();
        for network in self.all_networks()? {
            let settled = network.driver == Driver::Bridge && !network.config.subnets.is_empty();
            if settled && matches!(bridge::find(route, &self.bridge_name(&network)), Ok(Some(link)) if is(&link)) {
                wanted.networks.push(self.network_rules(&network));
            }
        }
        Ok(wanted)
    }

    /// Looks whether somebody has removed rules (a firewall's reload), and brings them back. True if something was
    /// missing. Next to nothing where no network is up.
    pub fn heal_networks(&self) -> Result<bool> {
        let Some(path) = self.picked_path() else { return Ok(false) };
        // Ports are looked after with the networks: who flushes rules flushes all of them.
        // One that is coming up gets its rules first.
        let networks = self.networks_where(&Route::home()?, |link| link.up)?;
        if networks.networks.is_empty() || path.is_intact(&self.owner()?, &networks)? {
            return Ok(false);
        }
        self.restore_rules()?;
        tracing::warn!("the rules of the {} packet path were gone (a firewall's reload?); they are back", path.name());
        Ok(true)
    }

    /// Heals networks whenever their rules are taken away, until `ended`; for a thread of its own.
    pub fn watch_rules(&self, ended: &dyn Fn() -> bool) {
        let mut watched: Option<(&'static str, Watch)> = None;
        while !ended() {
            // From before it is looked for, so that nothing falls in between.
            let changes = self.changes_of_networks();
            let pause = if changes.tells() { REST } else { LOOK };
            let path = self.picked_path().map(|path| path.name());
            let mut changed = false;
            if watched.as_ref().map(|(name, _)| *name) != path {
                watched = path.and_then(|name| match Watch::open(name) {
                    Ok(watch) => Some((name, watch)),
                    Err(error) => {
                        tracing::warn!("{error}");
                        None
                    }
                });
                // Something may have been taken away before there was a watch.
                changed = watched.is_some();
            }
            match &mut watched {
                _ if changed => {}
                None => changes.wait_or(None, pause),
                Some((_, watch)) => {
                    changes.wait_or(watch.fd(), watch.interval().unwrap_or(pause));
                    changed = watch.changed().unwrap_or(true);
                }
            }
            if changed && let Err(error) = self.heal_networks() {
                tracing::warn!("bring back the rules of networks: {error}");
            }
        }
    }

    /// What wakes when networks come up, which makes the folder, or have gone.
    fn changes_of_networks(&self) -> Changes {
        let folder = self.networks_folder();
        Changes::in_folder(if folder.is_dir() { &folder } else { &self.paths().run })
    }

    /// Makes it so that the packet path does what it should now, for all containers that run.
    pub(crate) fn restore_rules(&self) -> Result<()> {
        let Some(path) = self.picked_path() else { return Ok(()) };
        let _lock = self.lock("networks")?;
        let owner = self.owner()?;
        let mut wanted = self.wanted_rules()?;
        loop {
            path.restore(&owner, &wanted)?;
            // A container that ended meanwhile has taken its ports back before they were brought back.
            let now = self.wanted_rules()?;
            if now == wanted {
                return Ok(());
            }
            wanted = now;
        }
    }

    fn wanted_rules(&self) -> Result<Wanted> {
        let mut wanted = self.wanted_networks(&Route::home()?)?;
        for container in self.containers()? {
            if let Some(plan) = self.running_plan(&container)? {
                wanted.ports.extend(plan.port_rules());
            }
        }
        Ok(wanted)
    }
}
