//! `KEY=VALUE` arguments that may be given several times.

use std::collections::HashMap;

use super::wrong_flag;

/// `KEY=VALUE` or `KEY`, as Docker reads maps: the last one of a key counts.
pub(crate) fn map(list: &[String]) -> HashMap<String, String> {
    list.iter()
        .map(|text| text.split_once('=').unwrap_or((text, "")))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// Labels, whose names Docker looks at. `flag`: as it is to be named.
pub(crate) fn labels(flag: &str, list: &[String]) -> anyhow::Result<HashMap<String, String>> {
    for text in list {
        let key = text.split('=').next().unwrap_or_default().trim_start_matches([' ', '\t']);
        if key.is_empty() {
            return Err(wrong_flag(flag, text, format!("invalid label '{text}': empty name")));
        }
        if key.contains([' ', '\t']) {
            return Err(wrong_flag(flag, text, format!("label '{key}' contains whitespaces")));
        }
    }
    Ok(map(list))
}
