//! `--storage-opt`: what is asked of a container's writable layer.

use std::collections::{BTreeMap, HashMap};

use berth_fs_drivers::LayerOptions;

use super::log::bytes;
use crate::{Error, Result};

/// `defaults` are the configuration file's. Whether the driver can keep to it is seen when the layer is made.
pub(crate) fn layer_options(
    asked: Option<&HashMap<String, String>>,
    defaults: &BTreeMap<String, String>,
) -> Result<LayerOptions> {
    let mut options = LayerOptions::default();
    for (key, value) in defaults.iter().chain(asked.into_iter().flatten()) {
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
}
