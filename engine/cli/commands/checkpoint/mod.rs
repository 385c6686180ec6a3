//! `berth checkpoint`: containers as files.

mod create;
mod ls;
mod rm;

use anyhow::Context;

use super::{Verb, verb};

pub(super) const VERBS: &[Verb] = &[
    verb::<create::Create>("create", &[], "Create a checkpoint from a running container"),
    verb::<ls::Ls>("ls", &["list"], "List checkpoints for a container"),
    verb::<rm::Rm>("rm", &["remove"], "Remove a checkpoint"),
];

/// The engine may run somewhere else. Empty: the container's own folder.
pub(super) fn absolute(folder: &str) -> anyhow::Result<String> {
    if folder.is_empty() {
        return Ok(String::new());
    }
    let path = std::path::absolute(folder).with_context(|| format!("resolve {folder}"))?;
    path.into_os_string().into_string().ok().with_context(|| format!("checkpoint folder {folder}: it is not UTF-8"))
}
