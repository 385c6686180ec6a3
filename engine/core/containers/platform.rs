//! Which images this host runs.

use berth_arch::host::{self, Platform};
use berth_arch::kernel::binfmt;
use berth_image::Image;
use berth_image::formats::PlatformSpec;
use berth_image::platform::Wanted;

use crate::{Error, Result};

fn of(image: &Image) -> PlatformSpec {
    PlatformSpec {
        // Images of old say neither.
        os: if image.config.os.is_empty() { "linux".to_owned() } else { image.config.os.clone() },
        architecture: image.config.architecture.clone(),
        variant: image.config.variant.clone(),
        ..PlatformSpec::default()
    }
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
    let (offered, here) = (of(image), &host.platform);
    if asked || image.config.architecture.is_empty() || Wanted::new(None).fitness(&offered) > 0 {
        return None;
    }
    Some(format!(
        "The requested image's platform ({offered}) does not match the detected host platform ({here}) and no specific \
         platform was requested"
    ))
}

/// Before a start: refuses an image whose programs neither the processor nor an emulator that the kernel knows runs, as the
/// kernel's own words for that ("exec format error") tell nobody what to do.
pub(super) fn refuse_foreign(image: &Image) -> Result<()> {
    let offered = of(image);
    let wanted = Wanted::new(None);
    if offered.architecture.is_empty() || wanted.fitness(&offered) > 0 || binfmt::emulates(&offered.architecture) {
        return Ok(());
    }
    let ours: Vec<String> = host::runnable().iter().map(Platform::to_string).collect();
    Err(Error::Unavailable(format!(
        "the image is for {offered}, and this host runs {}: take an image for that (--platform), or register an emulator for \
         {} with the kernel (binfmt_misc)",
        ours.join(" and "),
        offered.architecture
    )))
}
