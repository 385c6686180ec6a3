//! Names of containers: what is allowed, and names made up for those that got none.

use crate::{Error, Result};

/// Docker's rule: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`; a slash before it is dropped.
pub(crate) fn container_name(text: &str) -> Result<&str> {
    let name = text.strip_prefix('/').unwrap_or(text);
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && name.len() > 1 {
        return Ok(name);
    }
    Err(Error::invalid(format!("Invalid container name ({text}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")))
}

/// `quiet_curie`. Adjectives of the sea and the weather; people who made computing and science.
pub(crate) fn generate(random: u64, attempt: u32) -> String {
    let pick = |list: &[&'static str], bits: u64| list[(bits % list.len() as u64) as usize];
    let mut name = format!("{}_{}", pick(ADJECTIVES, random), pick(SURNAMES, random >> 32));
    if attempt > 0 {
        name.push_str(&((random >> 16) % 10u64.pow(attempt.min(9))).to_string());
    }
    name
}

const ADJECTIVES: &[&str] = &[
    "able", "airy", "amber", "ample", "astern", "azure", "balmy", "brave", "breezy", "bright", "brisk", "buoyant",
    "calm", "candid", "careful", "cheery", "clear", "coastal", "copper", "cosy", "crisp", "curious", "dapper",
    "daring", "deep", "deft", "dewy", "docile", "drifting", "eager", "early", "earnest", "easy", "fair", "fleet",
    "floating", "fond", "frank", "fresh", "gallant", "gentle", "gilded", "glad", "golden", "graceful", "hardy", "hazy",
    "hearty", "hopeful", "humble", "idle", "inland", "jaunty", "jolly", "keen", "kind", "level", "light", "lively",
    "loyal", "lucid", "lunar", "mellow", "merry", "mild", "misty", "modest", "moored", "neat", "nimble", "noble",
    "northern", "open", "patient", "placid", "plucky", "polar", "proud", "quick", "quiet", "rapid", "ready", "roaming",
    "rosy", "rugged", "sandy", "seaborne", "serene", "silver", "sleek", "snug", "solar", "sound", "southern", "spry",
    "stable", "starry", "steady", "stout", "sunny", "swift", "tidal", "tidy", "tranquil", "trim", "trusty", "upbeat",
    "vivid", "warm", "wary", "wild", "windy", "wise", "witty", "young", "zesty",
];

const SURNAMES: &[&str] = &[
    "abel",
    "aiken",
    "allen",
    "ampere",
    "archimedes",
    "avogadro",
    "babbage",
    "backus",
    "bardeen",
    "bell",
    "boole",
    "bose",
    "boyle",
    "brahe",
    "cantor",
    "carson",
    "cauchy",
    "cerf",
    "church",
    "clarke",
    "codd",
    "cook",
    "copernicus",
    "cray",
    "curie",
    "dahl",
    "darwin",
    "davies",
    "descartes",
    "dijkstra",
    "dirac",
    "earhart",
    "eckert",
    "edison",
    "einstein",
    "engelbart",
    "erdos",
    "erlang",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "fermi",
    "feynman",
    "floyd",
    "fourier",
    "franklin",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "goedel",
    "goodall",
    "hamilton",
    "hamming",
    "hawking",
    "heisenberg",
    "hertz",
    "hilbert",
    "hoare",
    "hopper",
    "hubble",
    "huygens",
    "hypatia",
    "jackson",
    "johnson",
    "joule",
    "karp",
    "kay",
    "kepler",
    "kilby",
    "knuth",
    "kovalevskaya",
    "lamarr",
    "lamport",
    "laplace",
    "leibniz",
    "lovelace",
    "magellan",
    "markov",
    "maxwell",
    "mccarthy",
    "mcclintock",
    "meitner",
    "mendel",
    "minsky",
    "nansen",
    "nash",
    "newton",
    "nightingale",
    "noether",
    "noyce",
    "oersted",
    "ohm",
    "pascal",
    "pasteur",
    "perlman",
    "planck",
    "poincare",
    "ptolemy",
    "raman",
    "ramanujan",
    "ride",
    "riemann",
    "ritchie",
    "roentgen",
    "rubin",
    "rutherford",
    "sagan",
    "sammet",
    "shannon",
    "shirley",
    "stallman",
    "tesla",
    "thompson",
    "torvalds",
    "turing",
    "volta",
    "watt",
    "wiles",
    "wilkes",
    "wirth",
    "wozniak",
    "wright",
    "yonath",
    "zuse",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rule() {
        for good in ["ab", "a1", "/web", "A.b-c_d", "0x"] {
            assert!(container_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "/", "-a", ".a", "a/b", "a b", "ä1", "a\n"] {
            assert!(container_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn generated_names_are_allowed_and_grow_a_number_when_taken() {
        for random in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            assert!(container_name(&generate(random, 0)).is_ok());
            assert!(generate(random, 3).starts_with(&generate(random, 0)));
        }
    }
}
