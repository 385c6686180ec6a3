//! The `filters` of lists, prunes and events.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::query::InvalidQuery;

/// Filter names with their values. Values of one name are alternatives, names are conditions that all hold
/// (for labels, all values too).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

/// Today's form, and the one from before API 1.22.
#[derive(Deserialize)]
#[serde(untagged)]
enum Wire {
    Lists(BTreeMap<String, Vec<String>>),
    Sets(BTreeMap<String, BTreeMap<String, bool>>),
}

impl Filters {
    pub fn parse(json: &str) -> Result<Self, InvalidQuery> {
        let wire = serde_json::from_str(json).map_err(|_| InvalidQuery(format!("invalid filter: {json:?}")))?;
        Ok(Self(match wire {
            Wire::Lists(lists) => lists,
            Wire::Sets(sets) => {
                let list = |set: BTreeMap<String, bool>| set.into_iter().filter(|(_, on)| *on).map(|(value, _)| value);
                sets.into_iter().map(|(name, set)| (name, list(set).collect())).collect()
            }
        }))
    }

    pub fn into_lists(self) -> BTreeMap<String, Vec<String>> {
        self.0
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    pub fn add(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_default().push(value.to_owned());
    }

    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }

    /// The values of `name`; none if it is absent.
    pub fn get(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    pub fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Refuses names that are not in `known`, in Docker's words.
    pub fn expect(&self, known: &[&str]) -> Result<(), InvalidQuery> {
        match self.names().find(|name| !known.contains(name)) {
            Some(name) => Err(InvalidQuery(format!("invalid filter '{name}'"))),
            None => Ok(()),
        }
    }

    /// The one value of a filter that is a switch. `default` if it is absent.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, InvalidQuery> {
        let values = self.get(name);
        let Some(first) = values.first() else { return Ok(default) };
        let known = |value: &str| match value {
            "1" | "t" | "T" | "true" | "True" | "TRUE" => Some(true),
            "0" | "f" | "F" | "false" | "False" | "FALSE" => Some(false),
            _ => None,
        };
        let invalid = || InvalidQuery(format!("invalid filter '{name}={values:?}'"));
        let value = known(first).ok_or_else(invalid)?;
        if values.iter().all(|other| known(other) == Some(value)) { Ok(value) } else { Err(invalid()) }
    }

    /// Whether `name` is absent or one of its values is `value`.
    pub fn allows(&self, name: &str, value: &str) -> bool {
        self.allows_where(name, |wanted| wanted == value)
    }

    /// Whether `name` is absent or `fits` one of its values.
    pub fn allows_where(&self, name: &str, fits: impl Fn(&str) -> bool) -> bool {
        let values = self.get(name);
        values.is_empty() || values.iter().any(|value| fits(value))
    }

    /// Whether all of `label=KEY` and `label=KEY=VALUE` hold, and none of `label!=...`.
    pub fn allows_labels<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let holds = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => label(key) == Some(value),
            None => label(wanted).is_some(),
        };
        self.get("label").iter().all(holds) && !self.get("label!").iter().any(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_filters_are_understood() {
        let new = Filters::parse(r#"{"status":["exited","created"],"label":["a=b"]}"#).unwrap();
        let old =
            Filters::parse(r#"{"status":{"created":true,"exited":true,"no":false},"label":{"a=b":true}}"#).unwrap();
        assert!(new.allows("status", "exited") && old.allows("status", "exited"));
        assert!(!new.allows("status", "no") && !old.allows("status", "no"));
        assert!(new.allows("name", "whatever"));
        assert!(Filters::parse("nonsense").is_err());
        assert!(new.expect(&["status"]).is_err());
        assert!(new.expect(&["status", "label"]).is_ok());
    }

    #[test]
    fn labels_are_conditions_that_all_hold() {
        let labels = |key: &str| [("a", "1"), ("b", "")].into_iter().find(|pair| pair.0 == key).map(|pair| pair.1);
        let filters = |json: &str| Filters::parse(json).unwrap();
        assert!(filters(r#"{"label":["a","a=1","b="]}"#).allows_labels(labels));
        assert!(!filters(r#"{"label":["a","c"]}"#).allows_labels(labels));
        assert!(!filters(r#"{"label":["a=2"]}"#).allows_labels(labels));
        assert!(!filters(r#"{"label!":["a"]}"#).allows_labels(labels));
    }

    #[test]
    fn a_switch_has_one_value() {
        let filters = |json: &str| Filters::parse(json).unwrap();
        assert_eq!(filters(r#"{"dangling":["true"]}"#).flag("dangling", false), Ok(true));
        assert_eq!(filters("{}").flag("dangling", true), Ok(true));
        assert!(filters(r#"{"dangling":["maybe"]}"#).flag("dangling", false).is_err());
        assert!(filters(r#"{"dangling":["1","0"]}"#).flag("dangling", false).is_err());
    }
}
