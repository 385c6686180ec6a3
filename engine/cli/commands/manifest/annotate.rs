//! `berth manifest annotate`.

use anyhow::{Context, ensure};
use berth_image::formats::PlatformSpec;

use super::shelf::Shelf;
use super::{reference, without_engine};
use crate::commands::Act;
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Annotate {
    /// Set architecture
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Set operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// Set operating system feature
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    os_features: Vec<String>,
    /// Set operating system version
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,
    /// Set architecture variant
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    #[arg(value_name = "MANIFEST")]
    manifest: String,
}

/// What programs are made for: GOOS/GOARCH, of those that images are of.
const KNOWN: &[(&str, &[&str])] = &[
    ("linux", &["386", "amd64", "arm", "arm64", "loong64", "mips64", "mips64le", "ppc64le", "riscv64", "s390x"]),
    ("freebsd", &["386", "amd64", "arm", "arm64", "riscv64"]),
    ("windows", &["386", "amd64", "arm", "arm64"]),
    ("darwin", &["amd64", "arm64"]),
];

impl Act for Annotate {
    const LOCAL: bool = true;

    async fn act(self, session: Session) -> anyhow::Result<u8> {
        without_engine(session).await
    }

    fn act_locally(self, _: Globals) -> anyhow::Result<u8> {
        let (list, name) = (reference(&self.list)?, reference(&self.manifest)?);
        let shelf = Shelf::of(&list)?;
        let found = shelf.get(&name)?;
        let mut entry = found.with_context(|| format!("manifest for image {name} does not exist in {list}"))?;
        let mut platform: PlatformSpec = entry.descriptor.platform.take().unwrap_or_default();
        if let Some(os) = self.os {
            platform.os = os;
        }
        if let Some(architecture) = self.arch {
            platform.architecture = architecture;
        }
        platform.variant = self.variant.or(platform.variant);
        platform.os_version = self.os_version.or(platform.os_version);
        if !self.os_features.is_empty() {
            let features = platform.os_features.get_or_insert_default();
            features.extend(self.os_features);
            features.sort();
            features.dedup();
        }
        let known = KNOWN.iter().any(|(os, all)| *os == platform.os && all.contains(&platform.architecture.as_str()));
        ensure!(
            known,
            "manifest entry for image has unsupported os/arch combination: {}/{}",
            platform.os,
            platform.architecture
        );
        entry.descriptor.platform = Some(platform);
        shelf.put(&entry)?;
        Ok(0)
    }
}
