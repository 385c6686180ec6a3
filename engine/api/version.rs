//! Versions of the API: which ones are spoken, and what an unspoken one is told.

use std::fmt;
use std::str::FromStr;

/// The newest version spoken.
pub const CURRENT: ApiVersion = ApiVersion { major: 1, minor: 51 };
/// The oldest version spoken.
pub const MINIMUM: ApiVersion = ApiVersion { major: 1, minor: 24 };

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    pub major: u32,
    pub minor: u32,
}

impl ApiVersion {
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Docker's words for a version that is not spoken.
    pub fn check(self) -> Result<(), String> {
        if self < MINIMUM {
            return Err(format!(
                "client version {self} is too old. Minimum supported API version is {MINIMUM}, please upgrade your \
                 client to a newer version"
            ));
        }
        if self > CURRENT {
            return Err(format!("client version {self} is too new. Maximum supported API version is {CURRENT}"));
        }
        Ok(())
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if plain { digits.parse().map_err(|_| ()) } else { Err(()) }
        };
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number_and_not_by_text() {
        let version = |text: &str| text.parse::<ApiVersion>().unwrap();
        assert!(version("1.9") < version("1.24"));
        assert!(version("1.9").check().is_err());
        assert!(version("1.24").check().is_ok());
        assert!(version("1.51").check().is_ok());
        assert!(version("1.52").check().is_err());
        for text in ["1", "1.", ".1", "1.+2", "v1.2", "1.2.3", "1.99999999999"] {
            assert!(text.parse::<ApiVersion>().is_err(), "{text}");
        }
    }
}
