//! A store of its own for each test, once on every driver that works here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use berth_arch::Host;
use berth_fs_drivers::registry::DRIVERS;
use berth_image::{ContainerLayer, ImageId, ImageStore, ImportOptions, Progress};
use berth_store::{Paths, Store};

pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) images: ImageStore,
}

/// Runs `test` on every driver whose probe passes.
pub(crate) fn on_each_driver(test: impl Fn(&Fixture)) {
    for entry in DRIVERS {
        let folder = tempfile::tempdir().unwrap();
        if let berth_arch::Probe::Unavailable { reason, .. } = (entry.probe)(folder.path()) {
            eprintln!("skip {}: {reason}", entry.name);
            continue;
        }
        eprintln!("on {}", entry.name);
        test(&Fixture::open(folder, entry.name));
    }
}

/// On the first driver that works.
pub(crate) fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let name = DRIVERS.iter().find(|entry| (entry.probe)(folder.path()).is_available()).unwrap().name;
    Fixture::open(folder, name)
}

impl Fixture {
    fn open(folder: tempfile::TempDir, driver: &str) -> Self {
        let (store, images) = open(folder.path(), driver);
        Self { folder, store, images }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn import(&self, name: &str, archive: &[u8]) -> ImageId {
        let options = ImportOptions { reference: Some(name.parse().unwrap()), ..ImportOptions::default() };
        self.images.import(archive, &options, &mut quiet).unwrap()
    }

    pub(crate) fn container(&self, image: &ImageId) -> ContainerLayer {
        let layer =
            self.store.write(|transaction| self.images.insert_container_layer(transaction, image, None)).unwrap();
        self.images.prepare_container_layer(&layer, &Default::default()).unwrap();
        layer
    }

    pub(crate) fn discard(&self, layer: &ContainerLayer) {
        self.images.remove_container_layer(layer.number).unwrap();
        let unneeded =
            self.store.write(|transaction| self.images.forget_container_layer(transaction, layer.number)).unwrap();
        self.images.discard_layers(&unneeded).unwrap();
    }

    /// Nothing is left: no row, no layer, no record, no lock, no scratch.
    pub(crate) fn assert_empty(&self) {
        for table in ["layers", "images", "tags"] {
            assert_eq!(self.count(table), 0, "{table}");
        }
        self.assert_no_leftovers();
    }

    /// Only what the records know.
    pub(crate) fn assert_no_leftovers(&self) {
        let known = self.count("layers") as usize;
        // The places to mount on belong to the state, once there was a container.
        let listed = self.images.driver().list().unwrap();
        let numbered = listed.iter().filter(|id| id.as_str() != "mount-points").count();
        assert_eq!(numbered, known, "layers on disk");
        let settled: i64 = self.count("layers WHERE state <> 'valid'");
        assert_eq!(settled, 0);
        let entries = |path: PathBuf| std::fs::read_dir(path).map_or(0, Iterator::count);
        let paths = self.store.paths();
        assert_eq!(entries(paths.content()), self.count("layers WHERE chain_id IS NOT NULL") as usize, "records");
        assert_eq!((entries(paths.locks()), entries(paths.scratch())), (0, 0), "locks and scratch");
    }

    pub(crate) fn count(&self, table: &str) -> i64 {
        let query = format!("SELECT count(*) FROM {table}");
        self.store
            .read(|connection| Ok::<_, berth_image::Error>(connection.query_row(&query, [], |row| row.get(0))?))
            .unwrap()
    }
}

pub(crate) fn open(folder: &Path, driver: &str) -> (Arc<Store>, ImageStore) {
    let store = Arc::new(Store::open(Paths::within(folder)).unwrap());
    let entry = DRIVERS.iter().find(|entry| entry.name == driver).unwrap();
    let driver = (entry.open)(folder).unwrap();
    let images = ImageStore::new(Arc::clone(&store), Arc::from(driver), Host::detect().platform);
    (store, images)
}

pub(crate) fn quiet(_: Progress<'_>) {}

pub(crate) fn nobody(
    _: &berth_store::rusqlite::Connection,
    _: &ImageId,
) -> berth_image::Result<Vec<berth_image::ImageUser>> {
    Ok(Vec::new())
}

/// An archive of files by name and content.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_600_000_000);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// QEMU's user mode does not start this program a second time.
pub(crate) fn is_emulated() -> bool {
    let emulated = std::env::var_os("BERTH_TEST_EMULATED").is_some();
    if emulated {
        println!("skipped: QEMU's user mode does not start this program a second time");
    }
    emulated
}
