//! What is printed: tables, templates, sizes and times in people's words.

pub(crate) mod human;
pub(crate) mod known;
pub(crate) mod natural;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod transfer;

use serde_json::Value;
use template::Template;

use crate::commands::Exit;

/// The template of a `--format` for single objects. As in Docker, one that cannot be read ends the program with 64, and with 1
/// where it is a list's.
pub(crate) fn template(format: &str) -> anyhow::Result<Template> {
    Template::parse(format).map_err(|error| Exit { code: 64, error }.into())
}

/// Prints one object by a `--format` of `json` or a template.
pub(crate) fn print_formatted(format: &str, value: &Value) -> anyhow::Result<()> {
    if format == "json" {
        println!("{value}");
    } else {
        println!("{}", template(format)?.render(value)?);
    }
    Ok(())
}
