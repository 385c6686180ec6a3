//! Words of a body that the wire types know only some of: a client that sends another hears what Docker says of it, and not
//! how the types are read.

use berth_api::models::{MountBindOptionsPropagationEnum, MountType, RestartPolicyNameEnum};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What is wrong with a container's settings: `HostConfig` of one that is made, the body of an update.
pub(crate) fn unknown(settings: &Value) -> Option<String> {
    if let Some(name) = stranger::<RestartPolicyNameEnum>(settings.pointer("/RestartPolicy/Name")) {
        return Some(format!(
            "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        ));
    }
    settings.get("Mounts")?.as_array()?.iter().find_map(|mount| {
        let kind = mount.get("Type");
        if let Some(kind) = stranger::<MountType>(kind) {
            return Some(format!("invalid mount config for type {kind:?}: mount type unknown"));
        }
        let mode = stranger::<MountBindOptionsPropagationEnum>(mount.pointer("/BindOptions/Propagation"))?;
        let kind = kind.and_then(Value::as_str).unwrap_or_default();
        Some(format!("invalid mount config for type {kind:?}: invalid propagation mode: {mode}"))
    })
}

/// The word, if it is none of `T`'s.
fn stranger<T: DeserializeOwned>(word: Option<&Value>) -> Option<&str> {
    let word = word?;
    T::deserialize(word).is_err().then(|| word.as_str())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_that_the_types_do_not_know_are_refused_in_dockers() {
        for (settings, said) in [
            (json!({ "RestartPolicy": { "Name": "no" }, "Mounts": [{ "Type": "bind" }] }), None),
            (json!({ "RestartPolicy": { "Name": 3 }, "Mounts": null }), None),
            (json!({ "RestartPolicy": { "Name": "often" } }), Some("unknown policy 'often'")),
            (json!({ "Mounts": [{}, { "Type": "odd" }] }), Some("for type \"odd\": mount type unknown")),
            (
                json!({ "Mounts": [{ "Type": "bind", "BindOptions": { "Propagation": "far" } }] }),
                Some("for type \"bind\": invalid propagation mode: far"),
            ),
        ] {
            let found = unknown(&settings);
            assert_eq!(found.is_some(), said.is_some(), "{settings}: {found:?}");
            assert!(found.is_none_or(|found| found.contains(said.unwrap_or_default())), "{settings}");
        }
    }
}
