//! Creating a container.

use std::time::{Duration, Instant};

use berth_api::models::{ContainerCreateBody, ContainerCreateResponse};
use berth_image::ImageId;
use berth_monitor::Status;
use rusqlite::{OptionalExtension, Transaction};

use super::platform;
use super::record::{self, Phase};
use crate::emulation;
use crate::networks::endpoints::{self, Asked};
use crate::settings::users::Users;
use crate::settings::{self, Checked, names, storage};
use crate::users::Mapping;
use crate::volumes::Making;
use crate::{Container, Engine, Error, Result, time};

/// How long a name is waited for whose container is being removed.
const REMOVAL: Duration = Duration::from_secs(3);

impl Engine {
    /// Checks the body, merges the image's configuration, and makes row, folder and layer; all or nothing.
    /// `platform`: `os/arch[/variant]`, refused if the image's differs.
    pub fn create(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        body: ContainerCreateBody,
    ) -> Result<ContainerCreateResponse> {
        self.make(name, platform, body).inspect_err(|_| {
            // To know whether there can be networks brought the default one up.
            if let Err(left) = self.tidy_networks() {
                tracing::warn!("take the networks down: {left}");
            }
        })
    }

    fn make(
        &self,
        name: Option<&str>,
        platform: Option<&str>,
        body: ContainerCreateBody,
    ) -> Result<ContainerCreateResponse> {
        self.usable_storage()?;
        let name = name.filter(|name| !name.is_empty()).map(names::container_name).transpose()?;
        let Some(wanted) = body.image.clone().filter(|image| !image.is_empty()) else {
            return Err(Error::invalid("no image specified"));
        };
        self.images().ensure_hello(&wanted)?;
        let image = self.images().resolve(&wanted)?;
        let asked = platform.filter(|text| !text.is_empty());
        if let Some(asked) = asked {
            platform::check(asked, &image, &wanted)?;
        }
        let id = random_id()?;
        let Checked { mut config, mut host, mut warnings, network, networking, network_was_left_open, users } =
            settings::check(body, &image.config.config, &id, &self.config(), self.host())?;
        config.image = Some(wanted);
        let image_platform = image.config.platform();
        warnings.extend(platform::foreign(&image, self.host(), asked.is_some()));
        if let Some(machine) = emulation::foreign(&image_platform) {
            warnings.extend(self.emulation_warning(machine));
        }
        for mode in [&mut host.network_mode, &mut host.pid_mode, &mut host.ipc_mode].into_iter().flatten() {
            // Names change, and what was joined does not.
            if let Some(name) = mode.strip_prefix("container:") {
                *mode = format!("container:{}", self.find(name).map_err(beside_the_image)?.id);
            }
        }
        let mode = host.network_mode.clone().unwrap_or_default();
        let mut networks = self.asked_endpoints(&network, &mode, networking).map_err(beside_the_image)?;
        if network_was_left_open && let Some(reason) = self.lacks_bridges(&networks)? {
            warnings.push(format!("{reason}: this container has no network; --network host gives it the host's"));
            host.network_mode = Some("none".to_owned());
            networks.clear();
        }
        let options = storage::layer_options(host.storage_opt.as_ref(), &self.config().storage_options)?;
        let mounts = self.settle_points(&config, &host).map_err(beside_the_image)?;

        let mapping = self.mapping(&users)?;
        let given = match &mapping {
            Some(mapping) => self.give_image(&image.id, mapping, &users)?,
            None => false,
        };

        let _lock = self.lock(&id)?;
        let container = Container {
            id: id.clone(),
            name: name.unwrap_or_default().to_owned(),
            created: time::now(),
            image: image.id.to_string(),
            layer: None,
            config,
            host_config: host,
            platform: Some(image_platform),
            phase: Phase::Creating,
            mounts,
            users: mapping.as_ref().map(|mapping| mapping.map.clone()),
        };
        if let Some(name) = name {
            self.free_left_over_name(name)?;
        }
        let (container, layer, mut making) = self.record(container, &image.id, given, &networks)?;
        drop(mapping);
        let made = self
            .images()
            .prepare_container_layer(&layer, &options)
            .map_err(Error::from)
            .and_then(|()| self.make_folder(&container))
            .and_then(|()| self.make_volumes(&container, &mut making))
            .and_then(|()| self.set_ready(&id, &making));
        if let Err(error) = made {
            match self.erase(&container, false) {
                Ok(()) => self.undo_volumes(making),
                Err(left) => tracing::warn!("undo the creation of {id}: {left}"),
            }
            return Err(error);
        }
        self.volumes_made(making);
        self.emit_container(&container, "create", &[]);
        Ok(ContainerCreateResponse { id, warnings })
    }

    /// The rows of container, layer and new volumes, in one transaction. Tried again if volumes come or go meanwhile.
    fn record(
        &self,
        container: Container,
        image: &ImageId,
        given: bool,
        networks: &[Asked],
    ) -> Result<(Container, berth_image::ContainerLayer, Making)> {
        let mut sources_made = false;
        loop {
            let making = container.mounts.as_deref().map_or(Ok(Making::default()), |points| self.begin_volumes(points));
            let making = making.map_err(beside_the_image)?;
            if !std::mem::replace(&mut sources_made, true) {
                self.make_bind_sources(&container.host_config)?;
            }
            let mut again = false;
            let inserted = self.store().write(|transaction| {
                let (container, layer) =
                    self.insert(transaction, container.clone(), image, given, networks, &making)?;
                again = layer.is_none();
                let changed = || Error::Conflict("its volumes were changed by somebody else".to_owned());
                Ok((container, layer.ok_or_else(changed)?))
            });
            match inserted {
                Err(_) if again => {}
                other => return other.map(|(container, layer)| (container, layer, making)),
            }
        }
    }

    /// No layer: the volumes are not as they were when their locks were taken, and all has to be rolled back.
    fn insert(
        &self,
        transaction: &Transaction<'_>,
        mut container: Container,
        image: &ImageId,
        given: bool,
        networks: &[Asked],
        making: &Making,
    ) -> Result<(Container, Option<berth_image::ContainerLayer>)> {
        if container.name.is_empty() {
            container.name = free_name(transaction, &container.id)?;
        } else if let Some(owner) = owner(transaction, &container.name)? {
            return Err(name_taken(&container.name, &owner));
        }
        let users = container.users.as_ref();
        let layer = self.images().insert_container_layer(transaction, image, users.filter(|_| given))?;
        container.layer = Some(layer.number);
        let json = |error: serde_json::Error| Error::Internal(format!("encode a container's configuration: {error}"));
        let mut points = container.mounts.take();
        transaction
            .prepare_cached(
                "INSERT INTO containers (id, name, phase, created, image, layer, config, host_config, platform, users)
                 VALUES (?1, ?2, 'creating', ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute((
                &container.id,
                &container.name,
                container.created,
                &container.image,
                container.layer,
                serde_json::to_string(&container.config).map_err(json)?,
                serde_json::to_string(&container.host_config).map_err(json)?,
                &container.platform,
                container.users.as_ref().map(ToString::to_string),
            ))?;
        for (position, asked) in (0..).zip(networks) {
            endpoints::insert(transaction, &container.id, position, &random_id()?, asked)?;
        }
        if let Some(points) = &mut points {
            if !self.take_volumes(transaction, &container.id, making, points)? {
                return Ok((container, None));
            }
            transaction
                .prepare_cached("UPDATE containers SET mounts = ?2 WHERE id = ?1")?
                .execute([container.id.as_str(), serde_json::to_string(points).map_err(json)?.as_str()])?;
        }
        container.mounts = points;
        Ok((container, Some(layer)))
    }

    /// Where mounts cannot map owners, makes the layer that gives the image to the container's users, and says so: true.
    fn give_image(&self, image: &ImageId, mapping: &Mapping, users: &Users) -> Result<bool> {
        let Some(why) = self.images().maps_no_owners(&mapping.map)? else { return Ok(false) };
        if let Users::Auto(_) = users {
            // A copy of the image for each container.
            return Err(Error::Unavailable(format!(
                "--userns auto: the storage driver {} cannot map the owners of files here: {why}; use --userns remap, whose \
                 containers share a copy of each image",
                self.driver().name()
            )));
        }
        self.images().give(image, &mapping.map)?;
        Ok(true)
    }

    /// An ended container of `--rm` does not keep its name: if nobody lived to remove it, that is done here, and else waited for.
    fn free_left_over_name(&self, name: &str) -> Result<()> {
        let begin = Instant::now();
        loop {
            let owner = self.store().read(|connection| record::by_name(connection, name))?;
            let Some(owner) = owner.filter(Container::auto_remove) else { return Ok(()) };
            let state = self.state(&owner)?;
            let ended = matches!(state.status, Status::Exited | Status::Dead) || owner.phase == Phase::Removing;
            if !ended || self.reap_left_over(&owner, &state) || begin.elapsed() > REMOVAL {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn make_folder(&self, container: &Container) -> Result<()> {
        let folder = self.folder(container);
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => berth_store::create_private(&folder),
            other => other,
        }
        .map_err(Error::io("create", &folder))
    }

    fn set_ready(&self, id: &str, making: &Making) -> Result<()> {
        self.store().write(|transaction| {
            self.volumes_ready(transaction, making)?;
            transaction.prepare_cached("UPDATE containers SET phase = 'ready' WHERE id = ?1")?.execute([id])?;
            Ok(())
        })
    }

    /// `-v` makes a folder that is not there, as Docker does.
    fn make_bind_sources(&self, host: &berth_api::models::HostConfig) -> Result<()> {
        for point in settings::mounts::parse(host)? {
            if let settings::mounts::Kind::Bind(bind) = point.kind
                && bind.create_source
                && std::fs::metadata(&bind.source).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
            {
                std::fs::create_dir_all(&bind.source).map_err(|error| {
                    Error::invalid(format!(
                        "error while creating mount source path '{}': {error}",
                        bind.source.display()
                    ))
                })?;
            }
        }
        Ok(())
    }
}

pub(super) fn owner(transaction: &Transaction<'_>, name: &str) -> Result<Option<String>> {
    Ok(transaction
        .prepare_cached("SELECT id FROM containers WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

pub(super) fn name_taken(name: &str, owner: &str) -> Error {
    Error::Conflict(format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{owner}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    ))
}

/// Docker's clients take "not found" for a want of the image, and fetch it.
fn beside_the_image(error: Error) -> Error {
    match error {
        Error::NotFound(message) => Error::InvalidArgument(message),
        other => other,
    }
}

fn free_name(transaction: &Transaction<'_>, id: &str) -> Result<String> {
    let random = u64::from_str_radix(&id[..16], 16).unwrap_or_default();
    for attempt in 0..10 {
        let name = names::generate(random.wrapping_add(u64::from(attempt)), attempt);
        if owner(transaction, &name)?.is_none() {
            return Ok(name);
        }
    }
    Ok(id.to_owned())
}

/// 64 hexadecimal digits.
pub(crate) fn random_id() -> Result<String> {
    use std::fmt::Write;
    let mut bytes = [0u8; 32];
    berth_arch::random::fill(&mut bytes).map_err(Error::io("read", "/dev/urandom"))?;
    Ok(bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
