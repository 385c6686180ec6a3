//! `--security-opt`.

use crate::{Error, Result};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Security {
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    /// A profile for AppArmor; `None`: none of our own.
    pub apparmor: Option<String>,
    pub writable_cgroups: bool,
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Seccomp {
    #[default]
    Default,
    Unconfined,
    /// A profile's JSON, as the command line sends it.
    Profile(String),
}

fn boolean(value: &str, option: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!("invalid --security-opt: \"{option}\""))),
    }
}

fn apparmor_runs() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.first() == Some(&b'Y'))
}

pub(crate) fn parse(options: &[String]) -> Result<Security> {
    let mut security = Security::default();
    for option in options {
        let invalid = || Error::invalid(format!("invalid --security-opt: \"{option}\""));
        match option.as_str() {
            "no-new-privileges" => {
                security.no_new_privileges = true;
                continue;
            }
            "disable" => continue,
            _ => {}
        }
        let (key, value) = option.split_once('=').or_else(|| option.split_once(':')).ok_or_else(invalid)?;
        match key {
            "no-new-privileges" => security.no_new_privileges = boolean(value, option)?,
            "writable-cgroups" => security.writable_cgroups = boolean(value, option)?,
            "seccomp" => {
                security.seccomp = match value {
                    "unconfined" => Seccomp::Unconfined,
                    "builtin" | "" => Seccomp::Default,
                    json => Seccomp::Profile(json.to_owned()),
                }
            }
            "apparmor" if value == "unconfined" => security.apparmor = None,
            "apparmor" if apparmor_runs() => security.apparmor = Some(value.to_owned()),
            "apparmor" => {
                return Err(Error::Unavailable(format!(
                    "AppArmor profile {value}: this kernel runs without AppArmor; boot with apparmor=1 security=apparmor, \
                     or leave the option out"
                )));
            }
            "label" if value == "disable" => {}
            "label" => security
                .warnings
                .push(format!("SELinux label {value}: berth sets no labels; the container has its parent's")),
            _ => return Err(invalid()),
        }
    }
    Ok(security)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Security> {
        parse(&[text.to_owned()])
    }

    #[test]
    fn both_separators_and_the_bare_word_are_understood() {
        for text in ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"] {
            assert!(one(text).unwrap().no_new_privileges, "{text}");
        }
        assert_eq!(one("seccomp=unconfined").unwrap().seccomp, Seccomp::Unconfined);
        assert_eq!(one("seccomp={\"a\":1}").unwrap().seccomp, Seccomp::Profile("{\"a\":1}".to_owned()));
    }

    #[test]
    fn unknown_options_are_refused() {
        for text in ["foo", "foo=bar", "no-new-privileges=maybe", ""] {
            assert!(one(text).is_err(), "{text}");
        }
    }
}
