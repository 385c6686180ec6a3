//! Query strings, read as Docker reads them: the first value of a name counts, unknown names are ignored.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use crate::Filters;

/// A query string taken apart.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

/// A value that is not what its name asks for; in Docker's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidQuery(pub String);

impl std::fmt::Display for InvalidQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidQuery {}

impl Query {
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The value of `name`; an empty one counts as none.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// As [`Query::get`], with "" for none.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// All values of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// Everything is true but nothing, `0`, `no`, `false` and `none`.
    pub fn flag(&self, name: &str) -> bool {
        self.flag_or(name, false)
    }

    pub fn flag_or(&self, name: &str, default: bool) -> bool {
        self.get(name).map_or(default, |value| {
            let value = value.trim().to_ascii_lowercase();
            !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
        })
    }

    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, InvalidQuery> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(InvalidQuery(format!("invalid value for {name}: {value:?} is not a valid number"))),
        }
    }

    pub fn filters(&self) -> Result<Filters, InvalidQuery> {
        self.get("filters").map_or(Ok(Filters::default()), Filters::parse)
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_as_docker_reads_them() {
        let query = Query::parse("a=1&b=true&c=True&d=0&e=false&f=&g&h=False&i=yes&a=0&j=none");
        for name in ["a", "b", "c", "i"] {
            assert!(query.flag(name), "{name}");
        }
        for name in ["d", "e", "f", "g", "h", "j", "absent"] {
            assert!(!query.flag(name), "{name}");
        }
        assert!(query.flag_or("absent", true));
    }

    #[test]
    fn values_are_decoded_and_repeated_names_kept() {
        let query = Query::parse("names=a%2Fb%3A1&names=c+d&t=-1&x=1z");
        assert_eq!(query.all("names").collect::<Vec<_>>(), ["a/b:1", "c d"]);
        assert_eq!(query.number("t"), Ok(Some(-1)));
        assert_eq!(query.number::<i64>("absent"), Ok(None));
        assert!(query.number::<i64>("x").is_err());
    }
}
