//! The OCI platform (image-spec, image-index.md, "Platform Variants") that programs on this host belong to.

use serde::Serialize;

use crate::cpu;

/// As in the OCI image specification: `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

impl Platform {
    /// `machine` is uname(2)'s. What berth itself was built for decides: a 32-bit berth on a 64-bit kernel runs
    /// on a 32-bit system.
    pub fn of(machine: &str) -> Self {
        let architecture = cpu::OCI_ARCHITECTURE;
        let variant = match architecture {
            "arm64" => Some("v8"),
            "arm" => Some(arm_variant(machine)),
            _ => None,
        };
        Self {
            os: super::system::SYSTEM.into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
        }
    }
}

/// `armv6l`, `armv7l`; `armv8l` and `aarch64` are 64-bit processors running a 32-bit program.
fn arm_variant(machine: &str) -> &'static str {
    match machine {
        _ if machine.starts_with("armv5") => "v5",
        _ if machine.starts_with("armv6") => "v6",
        _ => "v7",
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_machine_names_give_arm_variants() {
        let cases = [("armv6l", "v6"), ("armv7l", "v7"), ("armv8l", "v7"), ("aarch64", "v7"), ("armv5tejl", "v5")];
        for (machine, variant) in cases {
            assert_eq!(arm_variant(machine), variant, "{machine}");
        }
    }

    #[test]
    fn a_platform_reads_as_in_docker() {
        let platform = Platform { os: "linux".into(), architecture: "arm".into(), variant: Some("v7".into()) };
        assert_eq!(platform.to_string(), "linux/arm/v7");
        assert_eq!(Platform { variant: None, ..platform }.to_string(), "linux/arm");
    }
}
