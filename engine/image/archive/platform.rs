//! Choosing among the platforms of an index.

use berth_arch::host::Platform;

use super::formats::{Descriptor, PlatformSpec};

/// How well an image for `offered` runs on `wanted`: 0 not at all, more is better. A smaller ARM variant runs on a
/// larger one, and 32-bit code is left to who asks for it.
pub(super) fn fitness(offered: &PlatformSpec, wanted: &Platform) -> u8 {
    if offered.os != wanted.os || offered.architecture != wanted.architecture {
        return 0;
    }
    let level = |variant: Option<&str>| match (wanted.architecture.as_str(), variant) {
        ("arm64", None) => 8,
        ("arm", None) => 7,
        ("amd64", None) => 1,
        (_, variant) => variant.and_then(|text| text.strip_prefix('v')?.parse().ok()).unwrap_or(0),
    };
    let (offered, wanted) = (level(offered.variant.as_deref()), level(wanted.variant.as_deref()));
    if offered > wanted { 0 } else { 100 - (wanted - offered).min(99) }
}

/// Whether it is an image at all, and not something about one.
pub(super) fn is_image(descriptor: &Descriptor) -> bool {
    descriptor.annotation(super::formats::REFERENCE_TYPE).is_none()
        && descriptor.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
}

impl std::fmt::Display for PlatformSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_variant_below_fits_best() {
        let spec = |architecture: &str, variant: Option<&str>| PlatformSpec {
            os: "linux".into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
        };
        let v7 = Platform { os: "linux".into(), architecture: "arm".into(), variant: Some("v7".into()) };
        let fit = |architecture, variant| fitness(&spec(architecture, variant), &v7);
        assert!(fit("arm", Some("v7")) > fit("arm", Some("v6")) && fit("arm", Some("v6")) > fit("arm", Some("v5")));
        assert_eq!((fit("arm", Some("v8")), fit("arm64", None)), (0, 0));
    }
}
