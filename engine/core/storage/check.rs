//! `berth storage check`: every layer compared with what was recorded of it, and put in order on request.

use berth_api::check::{Finding, StorageCheck};
use berth_image::{Damaged, OnProgress, Reference};
use berth_monitor::state::boot_id;

use crate::containers::record::Phase;
use crate::{Container, Engine, Error, RemoveOptions, Result};

const DAMAGED: &str = "damaged";
const LEFT_OVER: &str = "left over";

/// The row of `meta` with the boot in which the layers were last gone through.
const BOOT: &str = "boot";

impl Engine {
    /// Once a boot: the one before may have ended with a power cut, which can take a layer's record and leave its files, and the
    /// files of a container that was to be removed at its end and leave its record.
    pub(crate) fn scrub_after_boot(&self) {
        let scrub = || -> Result<()> {
            let boot = boot_id();
            if self.store().read(|connection| super::get(connection, BOOT))?.as_deref() == Some(boot.as_str()) {
                return Ok(());
            }
            for container in self.containers()?.iter().filter(|container| container.auto_remove()) {
                let state = self.state(container)?;
                let files = container.layer.map(|number| self.images().container_usage(number));
                let gone = matches!(files, Some(Err(berth_image::Error::Driver(berth_fs_drivers::Error::NotFound(_)))));
                if !self.reap_left_over(container, &state) && gone && !state.status.is_up() {
                    self.remove(&container.id, RemoveOptions::default())?;
                }
            }
            self.images().scrub()?;
            self.store().write(|transaction| super::set(transaction, BOOT, &boot))
        };
        if let Err(error) = scrub() {
            tracing::warn!("remove what an unclean stop may have left of layers: {error}");
        }
    }

    /// With `repair`, images with damaged layers are removed, unless a container stands on them, and what is left over
    /// goes. Reads everything: takes as long as `save` of all images.
    pub fn check_storage(&self, repair: bool, progress: &mut OnProgress<'_>) -> Result<StorageCheck> {
        let checked = self.images().check_layers(progress)?;
        let mut findings = Vec::new();
        for damaged in &checked.damaged {
            let standing = self.standing_on(damaged)?;
            // A container's own layer comes after its record and goes before it.
            let whole = |container: &Container| container.phase == Phase::Ready;
            if damaged.diff_id.is_none() && !standing.iter().any(whole) {
                continue;
            }
            let mut finding = Finding {
                kind: "layer".to_owned(),
                name: damaged.diff_id.clone().unwrap_or_else(|| format!("of a container ({})", damaged.id)),
                state: format!("{DAMAGED}: {}", damaged.reason),
                owner: self.owners(damaged, &standing)?,
                ..Finding::default()
            };
            if repair {
                let done = self.discard_damaged(damaged, &standing);
                finding.repaired = Some(done.is_ok());
                finding.error = done.err().map(|error| error.to_string());
            }
            findings.push(finding);
        }
        for id in &checked.left_over {
            let (kind, name, state) = ("layer".to_owned(), id.to_string(), LEFT_OVER.to_owned());
            findings.push(Finding { kind, name, state, ..Finding::default() });
        }
        if repair && !checked.left_over.is_empty() {
            let done = self.images().scrub().map_err(|error| error.to_string());
            for finding in findings.iter_mut().filter(|finding| finding.state == LEFT_OVER) {
                finding.repaired = Some(done.is_ok());
                finding.error = done.clone().err();
            }
        }
        let driver = self.storage().name.to_owned();
        let note = self.unfinished_migration()?;
        Ok(StorageCheck { driver, layers: checked.layers, bytes: checked.bytes, findings, note })
    }

    fn standing_on(&self, damaged: &Damaged) -> Result<Vec<Container>> {
        let mut standing = Vec::new();
        for container in self.containers()? {
            let Some(number) = container.layer else { continue };
            let on_it = number == damaged.number
                || self.images().container_layer(number).is_ok_and(|layer| layer.parents.contains(&damaged.id));
            if on_it {
                standing.push(container);
            }
        }
        Ok(standing)
    }

    fn owners(&self, damaged: &Damaged, standing: &[Container]) -> Result<String> {
        let mut names = Vec::new();
        for id in &damaged.images {
            let tags = self.images().names(id)?;
            names.extend(tags.iter().map(Reference::familiar));
            if tags.is_empty() {
                names.push(id.short().to_owned());
            }
        }
        names.extend(standing.iter().map(|container| container.name.clone()));
        Ok(names.join(", "))
    }

    fn discard_damaged(&self, damaged: &Damaged, standing: &[Container]) -> Result<()> {
        if !standing.is_empty() {
            let names: Vec<_> = standing.iter().map(|container| container.name.as_str()).collect();
            return Err(Error::Conflict(format!(
                "in use by {}: take what is needed out of it (berth cp, berth export), remove it (berth rm), and repair again",
                names.join(", ")
            )));
        }
        let removed = self.images().discard_damaged(damaged, &|connection, id| self.image_users(connection, id))?;
        self.emit_removed(&removed);
        Ok(())
    }
}
