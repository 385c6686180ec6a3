//! Choosing among the platforms of an index (image-spec, image-index.md, "Platform Variants").

use berth_arch::host::Platform;

use crate::ImageConfig;
use crate::formats::{Descriptor, PlatformSpec, REFERENCE_TYPE};

/// What is wanted of images for several platforms.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The best first.
    pub platforms: Vec<Platform>,
    /// Somebody asked for it: another will not do.
    pub explicit: bool,
}

impl Wanted {
    /// What somebody asked for, else what this host runs.
    pub fn new(asked: Option<&Platform>) -> Self {
        match asked {
            Some(platform) => Self { platforms: vec![platform.clone()], explicit: true },
            None => Self { platforms: berth_arch::host::runnable(), explicit: false },
        }
    }

    /// How well an image for `offered` serves: 0 not at all, more is better.
    pub fn fitness(&self, offered: &PlatformSpec) -> u32 {
        let of = |(rank, wanted): (u32, &Platform)| match fitness(offered, wanted) {
            0 => 0,
            fit => u32::from(fit) + 100 * rank,
        };
        (0..).zip(self.platforms.iter().rev()).map(of).max().unwrap_or(0)
    }

    /// The manifest that serves best; one that does not say what it is for serves if nothing else does.
    pub fn choose<'a>(&self, candidates: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let fits = |descriptor: &Descriptor| descriptor.platform.as_ref().map_or(1, |offered| self.fitness(offered));
        // Of equal ones the first, as in other engines.
        let best = candidates.iter().rev().max_by_key(|descriptor| fits(descriptor))?;
        let alone = candidates.len() == 1 && !self.explicit;
        (fits(best) > 0 || alone).then_some(best)
    }

    /// For messages.
    pub fn name(&self) -> String {
        self.platforms.first().map(Platform::to_string).unwrap_or_default()
    }
}

/// How well an image for `offered` runs on `wanted`: 0 not at all, up to 100. A smaller variant runs on a larger one.
fn fitness(offered: &PlatformSpec, wanted: &Platform) -> u8 {
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
pub fn is_image(descriptor: &Descriptor) -> bool {
    descriptor.annotation(REFERENCE_TYPE).is_none()
        && descriptor.platform.as_ref().is_none_or(|platform| platform.os != "unknown")
}

/// The platforms of some manifests, for messages.
pub fn offered(candidates: &[Descriptor]) -> String {
    let names = candidates.iter().filter_map(|descriptor| descriptor.platform.as_ref()).map(PlatformSpec::to_string);
    names.collect::<Vec<_>>().join(", ")
}

impl From<&Platform> for PlatformSpec {
    fn from(platform: &Platform) -> Self {
        Self {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            ..Self::default()
        }
    }
}

impl From<&ImageConfig> for PlatformSpec {
    fn from(config: &ImageConfig) -> Self {
        Self {
            architecture: config.architecture.clone(),
            os: config.os.clone(),
            // Some write an empty one for none.
            variant: config.variant.clone().filter(|variant| !variant.is_empty()),
            os_version: config.os_version.clone(),
            os_features: config.os_features.clone(),
        }
    }
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

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    fn spec(text: &str) -> PlatformSpec {
        (&platform(text)).into()
    }

    #[test]
    fn an_empty_variant_is_none() {
        let config: ImageConfig =
            serde_json::from_str(r#"{"os":"linux","architecture":"arm","variant":"","os.version":"6"}"#).unwrap();
        let found = PlatformSpec::from(&config);
        assert_eq!((found.variant.as_deref(), found.os_version.as_deref()), (None, Some("6")));
        assert_eq!(config.platform(), "linux/arm");
        let config = ImageConfig { variant: Some("v6".to_owned()), ..config };
        assert_eq!(config.platform(), "linux/arm/v6");
    }

    #[test]
    fn the_nearest_variant_below_fits_best() {
        let wanted = Wanted { platforms: vec![platform("linux/arm/v7")], explicit: false };
        let fit = |text| wanted.fitness(&spec(text));
        assert!(fit("linux/arm/v7") > fit("linux/arm/v6") && fit("linux/arm/v6") > fit("linux/arm/v5"));
        assert_eq!(fit("linux/arm"), fit("linux/arm/v7"));
        assert_eq!((fit("linux/arm/v8"), fit("linux/arm64"), fit("windows/arm/v7")), (0, 0, 0));
    }

    #[test]
    fn another_architecture_serves_only_where_nothing_better_does() {
        let wanted = Wanted { platforms: ["linux/arm64/v8", "linux/arm/v8"].map(platform).to_vec(), explicit: false };
        let fit = |text| wanted.fitness(&spec(text));
        assert!(fit("linux/arm64") > fit("linux/arm/v7") && fit("linux/arm/v7") > fit("linux/arm/v6"));
        assert!(fit("linux/arm/v6") > 0 && fit("linux/amd64") == 0);
        let v3 = Wanted { platforms: vec![platform("linux/amd64/v3")], explicit: false };
        assert!(v3.fitness(&spec("linux/amd64/v2")) > v3.fitness(&spec("linux/amd64")));
        assert_eq!(v3.fitness(&spec("linux/amd64/v4")), 0);
    }
}
