//! Verbs that do one thing to each of several objects, as Docker does: what works is printed, what does not is
//! reported, and the rest goes on.

use std::future::Future;

use berth_client::segment;

use crate::options::wrong_flag;

/// Does `action` to each name and prints what it returns, unless that is empty. Exit code 1 if any failed.
pub(super) async fn each<'a, F>(names: &'a [String], action: impl Fn(&'a str) -> F) -> anyhow::Result<u8>
where
    F: Future<Output = anyhow::Result<String>>,
{
    let mut code = 0;
    for name in names {
        match action(name).await {
            Ok(text) if text.is_empty() => {}
            Ok(text) => println!("{text}"),
            Err(error) => {
                eprintln!("{}", super::ending::described(&error));
                code = 1;
            }
        }
    }
    Ok(code)
}

/// `/containers/NAME/VERB`.
pub(super) fn container(name: &str, verb: &str) -> String {
    format!("/containers/{}/{verb}", segment(name))
}

/// Docker's `filters` from `NAME=VALUE` arguments, as the JSON that the API takes.
pub(super) fn filters(arguments: &[String]) -> anyhow::Result<Option<String>> {
    let mut filters = std::collections::BTreeMap::<String, Vec<&str>>::new();
    for argument in arguments.iter().filter(|argument| !argument.is_empty()) {
        let Some((name, value)) = argument.split_once('=') else {
            return Err(wrong_flag("--filter", argument, "bad format of filter (expected name=value)"));
        };
        filters.entry(name.trim().to_lowercase()).or_default().push(value.trim());
    }
    Ok(if filters.is_empty() { None } else { Some(serde_json::to_string(&filters)?) })
}

/// Asks before something is lost. `--force` answers yes.
pub(super) fn confirm(force: bool, warning: &str) -> anyhow::Result<bool> {
    use std::io::Write;
    if force {
        return Ok(true);
    }
    print!("{warning}\nAre you sure you want to continue? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
