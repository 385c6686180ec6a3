//! What tests need to look behind the driver.

use std::collections::BTreeMap;
use std::path::Path;

use super::record::Record;
use super::{Lvm, NAME, node, pool, thin};

/// A state whose pool in files is so small that it can be filled.
pub(crate) fn make_small(root: &Path, bytes: u64) {
    let folder = root.join(NAME);
    std::fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in [(pool::DATA, bytes), (pool::METADATA, 4 << 20)] {
        std::fs::File::create(folder.join(name)).unwrap().set_len(bytes).unwrap();
    }
}

/// device-mapper's name of the pool in files of a state.
pub(crate) fn pool_name(root: &Path) -> String {
    format!("berth-{}-pool", Lvm::open(root).unwrap().settings.tag)
}

pub(crate) fn configure(root: &Path, options: &[(&str, &str)]) -> crate::Result<()> {
    let pairs: BTreeMap<_, _> = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    crate::registry::configure(root, &pairs, |text| text.parse().ok())
}

/// Whether the layer has a device that can be used now.
pub(crate) fn is_active(root: &Path, layer: &str) -> bool {
    let lvm = Lvm::open(root).unwrap();
    node::control(lvm.path()).unwrap().info(&lvm.device_name(layer)).unwrap().is_some()
}

/// As one that is killed in the middle of a snapshot leaves it.
pub(crate) fn suspend(root: &Path, layer: &str) {
    let lvm = Lvm::open(root).unwrap();
    node::control(lvm.path()).unwrap().suspend(&lvm.device_name(layer)).unwrap();
}

pub(crate) fn number(root: &Path, layer: &str) -> u32 {
    Record::read(&root.join(NAME), layer).unwrap().device
}

/// Whether the pool has a device of this number.
pub(crate) fn has(root: &Path, number: u32) -> bool {
    let lvm = Lvm::open(root).unwrap();
    lvm.with_pool(|control, pool| {
        let target = thin::thin_target(pool.device, number, thin::BLOCK);
        let name = format!("berth-{}-look", lvm.settings.tag);
        let found = control.create(&name, &target).is_ok();
        control.remove(&name, false).unwrap();
        Ok(found)
    })
    .unwrap()
}

/// A thin device that is none of ours.
pub(crate) fn make_foreign(root: &Path, number: u32) {
    let lvm = Lvm::open(root).unwrap();
    let made = lvm.with_pool(|control, pool| Ok(thin::create(control, &pool.name, number)));
    made.unwrap().unwrap();
}

/// LVM's own number, which is nobody else's to change.
pub(crate) fn transaction(root: &Path) -> String {
    let lvm = Lvm::open(root).unwrap();
    let status = lvm.with_pool(|control, pool| Ok(control.status(&pool.name).unwrap().unwrap())).unwrap();
    status.words.split(' ').next().unwrap().to_owned()
}
