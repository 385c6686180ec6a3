//! What a registry says of an image, without fetching it.

use berth_image::formats::{Descriptor, PlatformSpec};
use berth_image::platform::is_image;
use berth_image::{Error, ImageConfig, Reference, Result};

use crate::manifests::{Fetched, MAX_MANIFEST};
use crate::{Access, Client, Credentials, Repository};

/// An image, or several for different platforms.
#[derive(Debug, Clone)]
pub struct Found {
    pub descriptor: Descriptor,
    pub platforms: Vec<PlatformSpec>,
}

impl Client {
    pub fn look_up(&self, reference: &Reference, credentials: Option<&Credentials>) -> Result<Found> {
        let repository = self.repository(reference, Access::Pull, credentials)?;
        let top = repository.manifest(reference)?;
        let platforms = if top.is_index() {
            top.index()?.manifests.into_iter().filter(is_image).filter_map(|entry| entry.platform).collect()
        } else {
            vec![repository.platform_of(&top)?]
        };
        Ok(Found { descriptor: top.descriptor, platforms })
    }
}

impl Repository<'_> {
    /// What the image of a manifest is for, by its configuration.
    pub fn platform_of(&self, fetched: &Fetched) -> Result<PlatformSpec> {
        let raw = self.small_blob(&fetched.manifest()?.config, MAX_MANIFEST, &|| false)?;
        let config: ImageConfig = serde_json::from_slice(&raw)
            .map_err(|error| Error::InvalidArgument(format!("the image's configuration makes no sense: {error}")))?;
        Ok(PlatformSpec::from(&config))
    }
}
