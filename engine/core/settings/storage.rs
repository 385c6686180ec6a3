//! `--storage-opt`: what is asked of a container's writable layer, and of the storage driver.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use berth_fs_drivers::{LayerOptions, registry};

use super::log::bytes;
use crate::{Error, Result};

/// `defaults` are the configuration file's. Whether the driver can keep to it is seen when the layer is made.
pub(crate) fn layer_options(
    asked: Option<&HashMap<String, String>>,
    defaults: &BTreeMap<String, String>,
) -> Result<LayerOptions> {
    let mut options = LayerOptions::default();
    if let Some(key) = asked.into_iter().flat_map(HashMap::keys).find(|key| registry::is_driver_option(key)) {
        return Err(Error::invalid(format!(
            "storage option {key} is for the whole state: set it in berth.toml ([storage-options]), or before the command"
        )));
    }
    let defaults = defaults.iter().filter(|(key, _)| !registry::is_driver_option(key));
    for (key, value) in defaults.chain(asked.into_iter().flatten()) {
        match key.to_ascii_lowercase().as_str() {
            "size" => {
                let size = bytes(value).ok_or_else(|| {
                    Error::invalid(format!("storage option size={value}: a number of bytes is wanted, as 500m or 10G"))
                })?;
                // None, as in Docker.
                options.size = Some(size).filter(|&size| size > 0);
            }
            _ => return Err(Error::invalid(format!("unknown storage option {key}: the known one is size"))),
        }
    }
    Ok(options)
}

/// Refuses what means nothing to the engine or to the driver that it names.
pub(crate) fn check(options: &BTreeMap<String, String>) -> Result<()> {
    layer_options(None, options)?;
    Ok(registry::check_options(options, bytes)?)
}

/// Hands the driver what is meant for it, before it is tried or opened.
pub(crate) fn configure_driver(state: &Path, options: &BTreeMap<String, String>) -> Result<()> {
    Ok(registry::configure(state, options, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_s_own_size_wins_over_the_default() {
        let defaults = BTreeMap::from([("size".to_owned(), "10G".to_owned())]);
        let asked = |key: &str, value: &str| {
            layer_options(Some(&HashMap::from([(key.to_owned(), value.to_owned())])), &defaults)
        };
        assert_eq!(layer_options(None, &BTreeMap::new()).unwrap().size, None);
        assert_eq!(layer_options(None, &defaults).unwrap().size, Some(10 << 30));
        assert_eq!(asked("Size", "500m").unwrap().size, Some(500 << 20));
        assert_eq!(asked("size", "0").unwrap().size, None);
        for (key, value) in [("size", "much"), ("size", "-1"), ("colour", "red")] {
            assert!(asked(key, value).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn options_of_a_driver_are_the_state_s_and_no_container_s() {
        let driver = BTreeMap::from([("lvm.pool".to_owned(), "vg/pool".to_owned())]);
        check(&driver).unwrap();
        assert_eq!(layer_options(None, &driver).unwrap().size, None);
        let asked = HashMap::from([("lvm.pool".to_owned(), "vg/pool".to_owned())]);
        assert!(layer_options(Some(&asked), &BTreeMap::new()).unwrap_err().to_string().contains("berth.toml"));
        assert!(check(&BTreeMap::from([("lvm.colour".to_owned(), "red".to_owned())])).is_err());
        assert!(check(&BTreeMap::from([("colour".to_owned(), "red".to_owned())])).is_err());
    }
}
