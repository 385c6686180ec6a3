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

/// Prints one object by a `--format` of `json` or a template.
pub(crate) fn print_formatted(format: &str, value: &Value) -> anyhow::Result<()> {
    if format == "json" {
        println!("{value}");
    } else {
        println!("{}", Template::parse(format)?.render(value)?);
    }
    Ok(())
}
