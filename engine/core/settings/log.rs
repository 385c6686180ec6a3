//! `--log-driver` and `--log-opt`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use berth_api::models::HostConfigLogConfig;
use berth_monitor::config::{LogConfig, LogDriver};

use crate::{Error, Result};

/// Those that there are.
pub(crate) const DRIVERS: &[&str] = &[JSON_FILE, "none"];

pub(crate) const JSON_FILE: &str = "json-file";

/// What a container's log options may speak of.
pub(crate) struct Subject<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub image: &'a str,
    pub image_id: &'a str,
    pub labels: &'a HashMap<String, String>,
    pub env: &'a [String],
}

/// Checks the options, and turns them into what the monitor understands.
pub(crate) fn resolve(log: &HostConfigLogConfig, path: &Path, subject: &Subject<'_>) -> Result<LogConfig> {
    let empty = HashMap::new();
    let options = log.config.as_ref().unwrap_or(&empty);
    let driver = match log.typ.as_deref().unwrap_or_default() {
        "none" => LogDriver::None,
        "" | JSON_FILE => LogDriver::JsonFile,
        other => {
            return Err(Error::invalid(format!(
                "logger: no log driver named '{other}' is registered: use json-file or none"
            )));
        }
    };
    let mut result = LogConfig { driver, path: path.to_owned(), ..scratch() };
    for (key, value) in options {
        if driver == LogDriver::None {
            return Err(Error::invalid(format!("unknown log opt '{key}' for none log driver")));
        }
        apply(&mut result, key, value, subject)?;
    }
    agree(&result)?;
    Ok(result)
}

/// Whether options of json-file mean something: each, and all together.
pub(crate) fn check(options: &BTreeMap<String, String>) -> Result<()> {
    options.iter().try_fold(scratch(), |log, (key, value)| check_one(log, key, value)).and_then(|log| agree(&log))
}

/// Whether one of them does by itself.
pub(crate) fn check_alone(key: &str, value: &str) -> Result<()> {
    check_one(scratch(), key, value).map(drop)
}

fn scratch() -> LogConfig {
    LogConfig {
        driver: LogDriver::JsonFile,
        path: PathBuf::new(),
        max_size: None,
        max_file: 1,
        compress: false,
        attributes: BTreeMap::new(),
    }
}

fn check_one(mut log: LogConfig, key: &str, value: &str) -> Result<LogConfig> {
    let labels = HashMap::new();
    let nobody = Subject { id: "", name: "", image: "", image_id: "", labels: &labels, env: &[] };
    apply(&mut log, key, value, &nobody)?;
    Ok(log)
}

fn apply(log: &mut LogConfig, key: &str, value: &str, subject: &Subject<'_>) -> Result<()> {
    match key {
        "max-size" if value == "-1" => {}
        "max-size" => {
            let size = bytes(value).filter(|&size| size > 0);
            log.max_size = Some(size.ok_or_else(|| invalid(key, value))?);
        }
        "max-file" => {
            log.max_file = value.parse().ok().filter(|&count| count >= 1).ok_or_else(|| invalid(key, value))?;
        }
        "compress" => log.compress = value.parse().map_err(|_| invalid(key, value))?,
        "mode" if value == "blocking" => {}
        "mode" => {
            return Err(Error::invalid(format!(
                "log opt 'mode={value}': the log is written in blocking mode only; leave the option out"
            )));
        }
        "labels-regex" | "env-regex" => {
            return Err(Error::Unsupported(format!("log opt '{key}': name them one by one with 'labels' or 'env'")));
        }
        "labels" => {
            for label in value.split(',') {
                if let Some(found) = subject.labels.get(label.trim()) {
                    log.attributes.insert(label.trim().to_owned(), found.clone());
                }
            }
        }
        "env" => {
            for wanted in value.split(',').map(str::trim) {
                let found = subject.env.iter().find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == wanted));
                log.attributes.extend(found.map(|(key, value)| (key.to_owned(), value.to_owned())));
            }
        }
        "tag" => {
            log.attributes.insert("tag".to_owned(), tag(value, subject)?);
        }
        _ => return Err(Error::invalid(format!("unknown log opt '{key}' for json-file log driver"))),
    }
    Ok(())
}

fn agree(log: &LogConfig) -> Result<()> {
    if log.max_file > 1 && log.max_size.is_none() {
        return Err(Error::invalid("max-file cannot be set to more than 1 without max-size"));
    }
    if log.compress && (log.max_file == 1 || log.max_size.is_none()) {
        return Err(Error::invalid("compress cannot be true when max-file is less than 2 or max-size is not set"));
    }
    Ok(())
}

fn invalid(key: &str, value: &str) -> Error {
    Error::invalid(format!("invalid value for {key}: {value}"))
}

/// `10m`, `1.5g`, `4096`: powers of 1024, as go-units' `RAMInBytes`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let factor: u64 = match lower[digits.len()..].trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return None,
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let fraction: f64 = digits.parse().ok().filter(|&number: &f64| number.is_finite() && number >= 0.0)?;
    Some((fraction * factor as f64) as u64)
}

/// The parts of Docker's log tag templates that are plain fields.
fn tag(template: &str, subject: &Subject<'_>) -> Result<String> {
    let short = |id: &str| id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect::<String>();
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (field, after) = after.split_once("}}").ok_or_else(|| invalid("tag", template))?;
        text.push_str(before);
        text.push_str(&match field.trim() {
            ".ID" => short(subject.id),
            ".FullID" => subject.id.to_owned(),
            ".Name" => subject.name.to_owned(),
            ".ImageName" => subject.image.to_owned(),
            ".ImageID" => short(subject.image_id),
            ".ImageFullID" => subject.image_id.to_owned(),
            ".DaemonName" => "berth".to_owned(),
            other => {
                return Err(Error::invalid(format!(
                    "log opt tag: {{{{{other}}}}} is not among .ID, .FullID, .Name, .ImageName, .ImageID, \
                     .ImageFullID and .DaemonName"
                )));
            }
        });
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(options: &[(&str, &str)]) -> Result<LogConfig> {
        let labels = HashMap::from([("a".to_owned(), "1".to_owned())]);
        let env = ["HOME=/root".to_owned()];
        let subject =
            Subject { id: "0123456789abcdef", name: "web", image: "i", image_id: "", labels: &labels, env: &env };
        let config = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let log = HostConfigLogConfig { typ: Some("json-file".to_owned()), config: Some(config) };
        resolve(&log, Path::new("/x"), &subject)
    }

    #[test]
    fn rotation_is_read_and_checked() {
        let log = with(&[("max-size", "10m"), ("max-file", "3"), ("compress", "true")]).unwrap();
        assert_eq!((log.max_size, log.max_file, log.compress), (Some(10 << 20), 3, true));
        for bad in [
            [("max-size", "x")],
            [("max-size", "0")],
            [("max-file", "0")],
            [("max-file", "2")],
            [("compress", "true")],
            [("foo", "1")],
            [("mode", "non-blocking")],
            [("tag", "{{.Nope}}")],
            [("tag", "{{")],
        ] {
            assert!(with(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn attributes_come_from_labels_environment_and_tag() {
        let log = with(&[("labels", "a,b"), ("env", "HOME"), ("tag", "{{.Name}}/{{.ID}}")]).unwrap();
        let expected = [("HOME", "/root"), ("a", "1"), ("tag", "web/0123456789ab")];
        assert_eq!(log.attributes, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    }
}
