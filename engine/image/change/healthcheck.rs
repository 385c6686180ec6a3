//! `HEALTHCHECK [--interval=30s ...] CMD command` and `HEALTHCHECK NONE`.

use super::{invalid, json_list};
use crate::{Healthcheck, Result};

/// The shortest interval that Docker takes: a millisecond.
const SHORTEST: i64 = 1_000_000;

pub(super) fn parse(text: &str) -> Result<Healthcheck> {
    let mut health = Healthcheck::default();
    let mut rest = text;
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        let (name, value) = flag.split_once('=').ok_or_else(|| invalid(format!("missing a value on flag: {flag}")))?;
        match name {
            "--interval" => health.interval = time(name, value)?,
            "--timeout" => health.timeout = time(name, value)?,
            "--start-period" => health.start_period = time(name, value)?,
            "--start-interval" => health.start_interval = time(name, value)?,
            "--retries" => {
                let wrong = |_| invalid(format!("--retries must be a number of at least 0, not {value:?}"));
                health.retries = i64::from(value.parse::<u32>().map_err(wrong)?);
            }
            _ => return Err(invalid(format!("unknown flag: {}", name.trim_start_matches('-')))),
        }
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    health.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(invalid("HEALTHCHECK NONE takes no arguments")),
        "CMD" if command.is_empty() => return Err(invalid("missing command after HEALTHCHECK CMD")),
        "CMD" => match json_list(command) {
            Some(list) => ["CMD".to_owned()].into_iter().chain(list).collect(),
            None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        other => return Err(invalid(format!("unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    };
    Ok(health)
}

/// Go's durations: `1h2m3.5s`, `500ms`; nanoseconds. 0 is the default.
fn time(name: &str, text: &str) -> Result<i64> {
    let wrong = || invalid(format!("invalid duration {text:?} of {name}"));
    let mut rest = text;
    let mut sum = 0f64;
    if text.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() && rest != "0" {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let factor = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return Err(wrong()),
        };
        sum += number.parse::<f64>().map_err(|_| wrong())? * factor;
        rest = after;
    }
    let nanoseconds = sum as i64;
    if nanoseconds != 0 && nanoseconds < SHORTEST {
        return Err(invalid(format!("{name} cannot be less than 1ms")));
    }
    Ok(nanoseconds)
}
