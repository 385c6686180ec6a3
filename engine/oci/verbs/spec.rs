//! `spec`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context as _;
use oci_spec::runtime::Spec;

#[derive(clap::Args)]
pub(crate) struct Template {
    /// Folder in which config.json is written
    #[arg(short, long, value_name = "FOLDER", default_value = ".")]
    bundle: PathBuf,
    /// For a user without root's rights
    #[arg(long)]
    rootless: bool,
}

impl Template {
    pub(crate) fn act(self) -> anyhow::Result<u8> {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mut spec = if self.rootless { Spec::rootless(user, group) } else { Spec::default() };
        spec.set_version(crate::SPEC_VERSION.to_owned()).set_hostname(Some("berth".to_owned()));
        if let Some(process) = spec.process_mut() {
            process.set_terminal(Some(true));
        }
        let path = self.bundle.join("config.json");
        let file = std::fs::File::options().write(true).create_new(true).open(&path);
        let mut file = file.with_context(|| format!("create {} (what is there is not overwritten)", path.display()))?;
        let text = serde_json::to_string_pretty(&spec)? + "\n";
        file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))?;
        Ok(0)
    }
}
