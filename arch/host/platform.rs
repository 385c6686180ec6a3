//! The OCI platforms (image-spec, image-index.md, "Platform Variants") whose programs run on this host.

use std::str::FromStr;

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
    fn new(architecture: &str, variant: Option<&str>) -> Self {
        Self {
            os: super::system::SYSTEM.into(),
            architecture: architecture.into(),
            variant: variant.map(str::to_owned),
        }
    }

    /// `machine` is uname(2)'s: the kernel's word and not what berth itself was built for, as a 32-bit berth on a 64-bit
    /// kernel starts 64-bit programs as well as any other.
    pub fn of(machine: &str) -> Self {
        match machine {
            "x86_64" | "amd64" => Self::new("amd64", None),
            "aarch64" | "arm64" => Self::new("arm64", Some("v8")),
            "riscv64" => Self::new("riscv64", None),
            _ if machine.starts_with("arm") => Self::new("arm", Some(arm_variant(machine))),
            _ if machine.len() == 4 && machine.starts_with('i') && machine.ends_with("86") => Self::new("386", None),
            _ => Self::new(cpu::OCI_ARCHITECTURE, None),
        }
    }

    /// Of this host's kernel.
    pub fn host() -> Self {
        Self::of(&rustix::system::uname().machine().to_string_lossy())
    }
}

/// The platforms of the programs that this host runs by itself, the best first.
pub fn runnable() -> Vec<Platform> {
    let host = Platform::host();
    let compat = match host.architecture.as_str() {
        "amd64" => super::system::runs("386"),
        "arm64" => super::system::runs("arm"),
        _ => false,
    };
    with_compat(host, cpu::x86_level(), compat)
}

/// `level`: of the x86-64 psABI, 1 to 4.
fn with_compat(host: Platform, level: u8, compat: bool) -> Vec<Platform> {
    match host.architecture.as_str() {
        "amd64" => {
            let best = Platform::new("amd64", Some(&format!("v{level}")));
            std::iter::once(best).chain(compat.then(|| Platform::new("386", None))).collect()
        }
        "arm64" => std::iter::once(host).chain(compat.then(|| Platform::new("arm", Some("v8")))).collect(),
        _ => vec![host],
    }
}

/// `armv6l`, `armv7l`; `armv8l` is a 64-bit processor under a 32-bit kernel, or a kernel that hides that it has 64 bits.
fn arm_variant(machine: &str) -> &'static str {
    match machine {
        _ if machine.starts_with("armv5") => "v5",
        _ if machine.starts_with("armv6") => "v6",
        _ if machine.starts_with("armv8") => "v8",
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

/// What may stand alone: the architectures of Go, whose names OCI's are.
const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
];

/// OCI's name of an architecture that may have another's, and the variant.
fn normal<'a>(architecture: &'a str, variant: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    match architecture {
        "x86_64" | "x86-64" => ("amd64", variant),
        "i386" | "i486" | "i586" | "i686" => ("386", None),
        "aarch64" => ("arm64", variant),
        "armhf" => ("arm", Some("v7")),
        "armel" => ("arm", Some("v6")),
        other => (other, variant),
    }
}

/// Reads `OS/ARCH[/VARIANT]`, `OS` or `ARCH`, by the names that uname(1) and Debian have for architectures too; what is not said
/// is the host's.
impl FromStr for Platform {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = |part: &str| {
            part.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        let parts: Vec<String> = text.split('/').map(str::to_lowercase).collect();
        if parts.len() > 3 || !parts.iter().all(|part| word(part)) {
            return Err(format!("invalid platform {text:?}: expected OS/ARCH or OS/ARCH/VARIANT"));
        }
        let (os, architecture) = match &parts[..] {
            [os] if ["linux", "freebsd", "windows", "darwin"].contains(&os.as_str()) => {
                return Ok(Self { os: os.clone(), ..Self::host() });
            }
            [architecture] => {
                if !ARCHITECTURES.contains(&normal(architecture, None).0) {
                    return Err(format!("invalid platform {text:?}: unknown operating system or architecture"));
                }
                (super::system::SYSTEM, architecture)
            }
            [os, architecture, ..] => (os.as_str(), architecture),
            [] => return Err(format!("invalid platform {text:?}")),
        };
        let (architecture, variant) = normal(architecture, parts.get(2).map(String::as_str));
        // The first of each is what it is without a variant.
        let variant = match (architecture, variant) {
            ("amd64", Some("v1")) => None,
            ("arm64", Some("8" | "v8")) | ("arm64", None) => Some("v8".to_owned()),
            ("arm", None) => Some("v7".to_owned()),
            ("arm", Some(number @ ("5" | "6" | "7" | "8"))) => Some(format!("v{number}")),
            (_, variant) => variant.map(str::to_owned),
        };
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_machine_names_give_platforms() {
        for (machine, platform) in [
            ("x86_64", "linux/amd64"),
            ("i686", "linux/386"),
            ("aarch64", "linux/arm64/v8"),
            ("armv5tejl", "linux/arm/v5"),
            ("armv6l", "linux/arm/v6"),
            ("armv7l", "linux/arm/v7"),
            ("armv8l", "linux/arm/v8"),
            ("riscv64", "linux/riscv64"),
        ] {
            assert_eq!(Platform::of(machine).to_string(), platform, "{machine}");
        }
    }

    #[test]
    fn a_64_bit_host_runs_32_bit_programs_only_where_its_kernel_does() {
        let names = |machine: &str, compat| {
            with_compat(Platform::of(machine), 3, compat).iter().map(Platform::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("x86_64", true), ["linux/amd64/v3", "linux/386"]);
        assert_eq!(names("x86_64", false), ["linux/amd64/v3"]);
        assert_eq!(names("aarch64", true), ["linux/arm64/v8", "linux/arm/v8"]);
        assert_eq!(names("aarch64", false), ["linux/arm64/v8"]);
        assert_eq!(names("armv6l", true), ["linux/arm/v6"]);
    }

    #[test]
    fn platforms_are_read_as_people_write_them() {
        for (text, platform) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64/v1", "linux/amd64"),
            ("linux/arm64", "linux/arm64/v8"),
            ("aarch64", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("Linux/ARM/v5", "linux/arm/v5"),
            ("armel", "linux/arm/v6"),
            ("i686", "linux/386"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), platform, "{text}");
        }
        for text in ["", "/", "bogus", "linux/", "a/b/c/d", "linux/am d64", "linux/../x"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }
}
