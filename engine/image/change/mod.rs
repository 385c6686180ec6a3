//! `--change` instructions of `import` and `commit`: those of a Dockerfile that only touch the configuration.
//!
//! `words.rs` splits and expands arguments as a Dockerfile does, `healthcheck.rs` reads HEALTHCHECK.

mod healthcheck;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use self::words::{expand, words};
use crate::config::KeySet;
use crate::{Error, Result, RunConfig};

/// Applies `changes` in their order.
pub(crate) fn apply(config: &mut RunConfig, changes: &[String]) -> Result<()> {
    let mut cmd_set = false;
    for change in changes.iter().flat_map(|change| change.lines()).map(str::trim) {
        if change.is_empty() || change.starts_with('#') {
            continue;
        }
        one(config, change, &mut cmd_set)?;
    }
    Ok(())
}

fn one(config: &mut RunConfig, change: &str, cmd_set: &mut bool) -> Result<()> {
    let (name, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
    let name = name.to_ascii_uppercase();
    let rest = rest.trim();
    if rest.is_empty() {
        return Err(invalid(format!("{name} requires at least one argument")));
    }
    let env = config.env.clone().unwrap_or_default();
    match name.as_str() {
        "CMD" => {
            config.cmd = Some(command(config, rest));
            *cmd_set = true;
        }
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(config, rest));
            // The image's command was meant for another entry point.
            if !*cmd_set {
                config.cmd = None;
            }
        }
        "ENV" => {
            let list = config.env.get_or_insert_default();
            for (key, value) in pairs("ENV", rest, &env)? {
                let prefix = format!("{key}=");
                let variable = format!("{prefix}{value}");
                match list.iter_mut().find(|old| old.starts_with(&prefix)) {
                    Some(old) => *old = variable,
                    None => list.push(variable),
                }
            }
        }
        "LABEL" => {
            let new: BTreeMap<_, _> = pairs("LABEL", rest, &env)?.into_iter().collect();
            config.labels.get_or_insert_default().extend(new);
        }
        "EXPOSE" => {
            let mut ports = BTreeSet::new();
            for word in words(rest)? {
                expose(&expand(&word, &env)?, &mut ports)?;
            }
            config.exposed_ports.get_or_insert_default().0.extend(ports);
        }
        "USER" => config.user = single("USER", rest, &env)?,
        "WORKDIR" => config.working_dir = join(&config.working_dir, &expand(rest, &env)?),
        "VOLUME" => {
            let list = match json_list(rest) {
                Some(list) => list,
                None => words(rest)?,
            };
            for volume in list {
                let volume = expand(&volume, &env)?;
                if volume.trim().is_empty() {
                    return Err(invalid("VOLUME specified can not be an empty string"));
                }
                config.volumes.get_or_insert_with(KeySet::default).0.insert(volume);
            }
        }
        "STOPSIGNAL" => {
            let signal = single("STOPSIGNAL", rest, &env)?;
            if !is_signal(&signal) {
                return Err(invalid(format!("invalid signal: {signal}")));
            }
            config.stop_signal = Some(signal);
        }
        "ONBUILD" => {
            let trigger = rest.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            match trigger.as_str() {
                "ONBUILD" => return Err(invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")),
                "MAINTAINER" | "FROM" => return Err(invalid(format!("{trigger} isn't allowed as an ONBUILD trigger"))),
                _ => config.on_build.get_or_insert_default().push(rest.to_owned()),
            }
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck::parse(rest)?),
        _ => return Err(invalid(format!("{} is not a valid change command", name.to_ascii_lowercase()))),
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::InvalidArgument(message.into())
}

/// The exec form (a JSON list), else a line for the shell.
fn command(config: &RunConfig, rest: &str) -> Vec<String> {
    json_list(rest).unwrap_or_else(|| {
        let shell = config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
        shell.into_iter().chain([rest.to_owned()]).collect()
    })
}

fn json_list(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

fn single(name: &str, rest: &str, env: &[String]) -> Result<String> {
    match &words(rest)?[..] {
        [only] => expand(only, env),
        _ => Err(invalid(format!("{name} requires exactly one argument"))),
    }
}

/// `key=value ...`, or the old form `key value with blanks`.
fn pairs(name: &str, rest: &str, env: &[String]) -> Result<Vec<(String, String)>> {
    let list = words(rest)?;
    if let Some(first) = list.first()
        && !first.contains('=')
    {
        let value = rest[first.len()..].trim();
        if value.is_empty() {
            return Err(invalid(format!("{name} must have two arguments")));
        }
        return Ok(vec![(expand(first, env)?, expand(value, env)?)]);
    }
    list.iter()
        .map(|word| {
            let (key, value) = word.split_once('=').ok_or_else(|| {
                invalid(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value"))
            })?;
            let key = expand(key, env)?;
            if key.is_empty() {
                return Err(invalid(format!("{name} names can not be blank")));
            }
            Ok((key, expand(value, env)?))
        })
        .collect()
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn expose(text: &str, ports: &mut BTreeSet<String>) -> Result<()> {
    let wrong = || invalid(format!("invalid containerPort: {text}"));
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
        return Err(invalid(format!("invalid proto: {protocol}")));
    }
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let (low, high): (u16, u16) = (low.parse().map_err(|_| wrong())?, high.parse().map_err(|_| wrong())?);
    if low > high {
        return Err(wrong());
    }
    ports.extend((low..=high).map(|port| format!("{port}/{protocol}")));
    Ok(())
}

/// The directory `path` seen from `base`, without `.`, `..` and doubled slashes.
fn join(base: &str, path: &str) -> String {
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

const SIGNALS: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// A number from 1 to 64 or a name with or without `SIG`; `RTMIN+n` and `RTMAX-n` too.
fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = name.strip_prefix("RTMIN+").or_else(|| name.strip_prefix("RTMAX-"));
    match offset {
        Some(offset) => offset.parse::<u8>().is_ok_and(|offset| offset <= 30),
        None => SIGNALS.contains(&name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<RunConfig> {
        let mut config = RunConfig { cmd: Some(vec!["old".into()]), ..RunConfig::default() };
        apply(&mut config, &changes.iter().map(|&change| change.to_owned()).collect::<Vec<_>>())?;
        Ok(config)
    }

    fn keys(set: Option<KeySet>) -> Vec<String> {
        set.unwrap().0.into_iter().collect()
    }

    #[test]
    fn every_instruction_changes_its_part() {
        let config = changed(&[
            r#"ENTRYPOINT ["/bin/sh", "-c"]"#,
            "ENV A=1 B=\"two words\" C=$A",
            "env D ${A:-x} and the rest",
            "ENV A=2 C=$B",
            "EXPOSE 80 53/udp 8000-8002",
            "LABEL version=1 'a key'=\"a \\\"value\\\"\"",
            "USER root:$A",
            "WORKDIR /srv",
            "WORKDIR ../x/./y",
            r#"VOLUME ["/a b", "/c"]"#,
            "VOLUME /d /e",
            "STOPSIGNAL sigrtmin+3",
            "ONBUILD RUN make all",
            "HEALTHCHECK --interval=1m30s --timeout=500ms --retries=4 CMD curl -f localhost",
            "CMD echo $HOME",
        ])
        .unwrap();
        assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c"]);
        assert_eq!(config.cmd.unwrap(), ["/bin/sh", "-c", "echo $HOME"]);
        assert_eq!(config.env.unwrap(), ["A=2", "B=two words", "C=two words", "D=1 and the rest"]);
        assert_eq!(keys(config.exposed_ports), ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
        assert_eq!(config.labels.unwrap()["a key"], "a \"value\"");
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("root:2", "/x/y"));
        assert_eq!(keys(config.volumes), ["/a b", "/c", "/d", "/e"]);
        assert_eq!(config.on_build.unwrap(), ["RUN make all"]);
        let health = config.healthcheck.unwrap();
        assert_eq!(health.test, ["CMD-SHELL", "curl -f localhost"]);
        assert_eq!((health.interval, health.timeout, health.retries), (90_000_000_000, 500_000_000, 4));
    }

    #[test]
    fn a_new_entry_point_drops_the_command_it_was_not_given() {
        assert_eq!(changed(&["ENTRYPOINT a"]).unwrap().cmd, None);
        assert_eq!(changed(&["CMD [\"b\"]", "ENTRYPOINT a"]).unwrap().cmd.unwrap(), ["b"]);
    }

    #[test]
    fn what_a_dockerfile_refuses_is_refused() {
        for change in [
            "RUN ls",
            "FROM x",
            "CMD",
            "ENV A",
            "ENV =x",
            "EXPOSE x",
            "EXPOSE 9-8",
            "EXPOSE 80/ftp",
            "STOPSIGNAL SIGNOTHING",
            "ONBUILD ONBUILD RUN x",
            "ONBUILD FROM x",
            "HEALTHCHECK maybe",
            "LABEL a=\"b",
            "USER a b",
            "ENV A=1 B",
            "HEALTHCHECK --interval=never CMD x",
        ] {
            assert!(changed(&[change]).is_err(), "{change}");
        }
    }
}
