//! Port specifications: `80`, `80/udp`, `8000-8010/tcp`.

use crate::{Error, Result};

/// The ports that one specification names, as Docker keeps them: `80/tcp` each.
pub(crate) fn expand(text: &str) -> Result<Vec<String>> {
    let invalid = || Error::invalid(format!("invalid port specification: \"{text}\""));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(Error::invalid(format!("invalid proto: {protocol}")));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (first, last) = (number(first).ok_or_else(invalid)?, number(last).ok_or_else(invalid)?);
    if first > last {
        return Err(invalid());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_expanded_and_nonsense_is_refused() {
        assert_eq!(expand("80").unwrap(), ["80/tcp"]);
        assert_eq!(expand("80-82/UDP").unwrap(), ["80/udp", "81/udp", "82/udp"]);
        for bad in ["", "x", "80/", "80/foo", "82-80", "70000", "+80", "80-"] {
            assert!(expand(bad).is_err(), "{bad}");
        }
    }
}
