//! The engine itself: what it has opened, and what all verbs need.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use berth_arch::Host;
use berth_arch::mount::Mount;
use berth_backends::{AnyBackend, ContainerId, Sandbox, SavedSandbox};
use berth_fs_drivers::{Access, Driver};
use berth_image::ImageStore;
use berth_monitor::State;
use berth_store::{Lock, Paths, Store};

use crate::config;
use crate::storage::{self, Hold, Storage};
use crate::{Container, EngineConfig, Error, Result};

pub struct Engine {
    /// Replaced whole when a daemon reads it again.
    config: RwLock<Arc<EngineConfig>>,
    store: Arc<Store>,
    driver: Arc<dyn Driver>,
    images: ImageStore,
    host: Host,
    storage: Storage,
    hold: Option<Hold>,
    /// Connections for containers that do not run yet; handed to the monitor when this engine starts them.
    waiting: Mutex<HashMap<String, Vec<UnixStream>>>,
    opened: Instant,
}

impl Engine {
    /// Opens the store and the storage driver, and cleans up what dead engines left half-made; well under a
    /// millisecond on a state that exists and is in order.
    pub fn open(config: EngineConfig) -> Result<Self> {
        let store = Arc::new(Store::open(config.paths.clone())?);
        berth_arch::answers::keep_in(&config.paths.run);
        match Hold::shared(&config.paths.state)? {
            Some(hold) => Self::with(config, store, Some(hold)),
            None => {
                let moving = storage::moving(&store)?;
                Self::on(config, store, moving, None)
            }
        }
    }

    /// Without a hold for a caller that has one.
    pub(crate) fn with(config: EngineConfig, store: Arc<Store>, hold: Option<Hold>) -> Result<Self> {
        let chosen = storage::open(&store, config.storage_driver.as_deref(), &config.storage_options)?;
        Self::on(config, store, chosen, hold)
    }

    fn on(
        config: EngineConfig,
        store: Arc<Store>,
        (driver, storage): (Arc<dyn Driver>, Storage),
        hold: Option<Hold>,
    ) -> Result<Self> {
        let host = Host::detect();
        let images = ImageStore::new(store.clone(), driver.clone(), host.platform.clone());
        let engine = Self {
            config: RwLock::new(Arc::new(config)),
            store,
            driver,
            images,
            host,
            storage,
            hold,
            waiting: Mutex::default(),
            opened: Instant::now(),
        };
        if engine.storage.unusable.is_none() {
            engine.sweep_unsettled()?;
            engine.scrub_after_boot();
        }
        // Without a daemon, the next command is who notices that a firewall's reload took the rules away.
        if let Err(error) = engine.heal_networks() {
            tracing::warn!("bring back the rules of networks: {error}");
        }
        Ok(engine)
    }

    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// As it is at this moment.
    pub fn config(&self) -> Arc<EngineConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes by `new` from here on as far as an engine that runs can. Returns the settings that a restart takes, which stay as
    /// they are.
    pub fn reload(&self, new: &EngineConfig) -> Result<Vec<String>> {
        let (config, kept) = self.config().renewed(new)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.emit("daemon", "reload", "", self.reloaded());
        Ok(kept)
    }

    /// What is in force of what can be read again, for the event.
    fn reloaded(&self) -> BTreeMap<String, String> {
        let config = self.config();
        let reloads = config.settings().all().filter(|(key, ..)| key.reloads);
        reloads.map(|(key, entry, value, _)| (config::full_name(key.name, entry), value.to_string())).collect()
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    pub fn paths(&self) -> &Paths {
        self.store.paths()
    }

    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    pub(crate) fn storage_hold(&self) -> Option<&Hold> {
        self.hold.as_ref()
    }

    /// Keeps the layers from being moved to another driver as long as the value lives, by this very engine too.
    pub fn keep_storage(&self) -> Result<impl Sized + use<>> {
        Hold::shared(&self.paths().state)
    }

    /// For what touches layers: an error if the storage driver cannot be used, which looking at records bears.
    pub fn usable_storage(&self) -> Result<()> {
        match &self.storage.unusable {
            Some(reason) => Err(Error::Unavailable(reason.clone())),
            None => Ok(()),
        }
    }

    pub fn images(&self) -> &ImageStore {
        &self.images
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What makes the container's root, for looking into it.
    pub fn rootfs(&self, container: &Container, access: Access) -> Result<Vec<Mount>> {
        let number = container
            .layer
            .ok_or_else(|| Error::Internal(format!("container {} has no layer; remove it", container.short_id())))?;
        Ok(self.images.container_mounts(number, container.users.as_ref(), access)?)
    }

    /// The sandbox of a running container; [`Error::Conflict`] if it does not run.
    pub fn sandbox(&self, container: &Container, state: &State) -> Result<Box<dyn Sandbox>> {
        let stopped = || Error::Conflict(format!("container {} is not running", container.id));
        let saved = state.sandbox.as_ref().ok_or_else(stopped)?;
        let backend = self.backend_of(container, saved)?;
        let id: ContainerId = container.id.parse()?;
        backend.load(&id, saved, None).map_err(|error| match error {
            berth_backends::Error::NotFound(_) => stopped(),
            other => other.into(),
        })
    }

    /// The one that made what is saved.
    pub(crate) fn backend_of(&self, container: &Container, saved: &SavedSandbox) -> Result<AnyBackend> {
        berth_backends::by_name(&saved.backend, saved.runtime.as_ref()).ok_or_else(|| {
            Error::Unavailable(format!("container {}: this program has no backend {}", container.id, saved.backend))
        })
    }

    /// Whoever changes what a container is holds this.
    pub(crate) fn lock(&self, id: &str) -> Result<Lock> {
        Ok(Lock::acquire(&self.paths().locks(), id)?)
    }

    pub(crate) fn try_lock(&self, id: &str) -> Result<Option<Lock>> {
        Ok(Lock::try_acquire(&self.paths().locks(), id)?)
    }

    pub(crate) fn waiting(&self) -> MutexGuard<'_, HashMap<String, Vec<UnixStream>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
