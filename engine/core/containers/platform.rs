//! Which images this host runs.

use berth_arch::host::Platform;
use berth_image::Image;
use berth_image::formats::PlatformSpec;
use berth_image::platform::Wanted;

use crate::{Error, Result};

fn of(image: &Image) -> PlatformSpec {
    let mut platform = PlatformSpec::from(&image.config);
    // Images of old say neither.
    if platform.os.is_empty() {
        "linux".clone_into(&mut platform.os);
    }
    platform
}

/// Refuses an image that is not for the platform `wanted`.
pub(super) fn check(wanted: &str, image: &Image, name: &str) -> Result<()> {
    let platform: Platform = wanted.parse().map_err(Error::InvalidArgument)?;
    if !image.config.architecture.is_empty() && Wanted::new(Some(&platform)).fitness(&of(image)) == 0 {
        return Err(Error::NotFound(format!(
            "image with reference {name} was found but does not provide the specified platform ({wanted})"
        )));
    }
    Ok(())
}

/// A warning if the image is for another machine than this and nobody has asked for that.
pub(super) fn foreign(image: &Image, host: &berth_arch::Host, asked: bool) -> Option<String> {
    let (config, here) = (&image.config, &host.platform);
    let plain =
        config.variant.as_deref().is_none_or(|variant| variant.is_empty() || here.variant.as_deref() == Some(variant));
    // The usual case, before this host's abilities are looked for.
    if asked || config.architecture.is_empty() || config.architecture == here.architecture && plain {
        return None;
    }
    let offered = of(image);
    if Wanted::new(None).fitness(&offered) > 0 {
        return None;
    }
    Some(format!(
        "The requested image's platform ({offered}) does not match the detected host platform ({here}) and no specific \
         platform was requested"
    ))
}
