//! The process of `exec`: a file in the specification's form, or the container's own with what the flags change.

use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};

#[derive(clap::Args)]
pub(crate) struct Wanted {
    /// File with the process, as config.json has it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) process: Option<PathBuf>,
    /// Working directory
    #[arg(long, value_name = "FOLDER")]
    cwd: Option<PathBuf>,
    /// Set a variable (NAME=VALUE)
    #[arg(short, long, value_name = "VARIABLE")]
    env: Vec<String>,
    /// Give the program a terminal
    #[arg(short, long)]
    tty: bool,
    /// UID or UID:GID
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Additional groups
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Add a capability
    #[arg(short, long, value_name = "NAME")]
    cap: Vec<String>,
    /// Set no_new_privs
    #[arg(long)]
    no_new_privs: bool,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Wanted {
    pub(crate) fn build(&self, spec: &Spec) -> anyhow::Result<Process> {
        if let Some(path) = &self.process {
            ensure!(
                self.args.is_empty(),
                "--process {}: the file names the program; leave out {:?}",
                path.display(),
                self.args
            );
            let text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            return serde_json::from_slice(&text).with_context(|| format!("parse {}", path.display()));
        }
        ensure!(!self.args.is_empty(), "exec: name a program, or a file with --process");
        let mut process = spec.process().clone().context("config.json: it has no process")?;
        process.set_args(Some(self.args.clone())).set_terminal(Some(self.tty)).set_console_size(None);
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.clone());
        }
        process.env_mut().get_or_insert_default().extend(self.env.iter().cloned());
        if let Some(label) = &self.process_label {
            process.set_selinux_label(Some(label.clone()));
        }
        if let Some(profile) = &self.apparmor {
            process.set_apparmor_profile(Some(profile.clone()));
        }
        if self.no_new_privs {
            process.set_no_new_privileges(Some(true));
        }
        self.set_user(&mut process)?;
        self.add_capabilities(&mut process)?;
        Ok(process)
    }

    fn set_user(&self, process: &mut Process) -> anyhow::Result<()> {
        let user = process.user_mut();
        if let Some(text) = &self.user {
            let (uid, gid) = text.split_once(':').map_or((text.as_str(), None), |(uid, gid)| (uid, Some(gid)));
            let number =
                |text: &str| text.parse::<u32>().with_context(|| format!("--user {text:?}: use numbers, UID[:GID]"));
            user.set_uid(number(uid)?);
            if let Some(gid) = gid {
                user.set_gid(number(gid)?);
            }
        }
        if !self.additional_gids.is_empty() {
            let mut groups = user.additional_gids().clone().unwrap_or_default();
            groups.extend(&self.additional_gids);
            user.set_additional_gids(Some(groups));
        }
        Ok(())
    }

    /// To the sets that decide what a program may do; the ambient one only what root's programs do not need it for.
    fn add_capabilities(&self, process: &mut Process) -> anyhow::Result<()> {
        if self.cap.is_empty() {
            return Ok(());
        }
        let mut added = Vec::new();
        for name in &self.cap {
            let upper = name.to_ascii_uppercase();
            let word = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
            match serde_json::from_value::<Capability>(word.into()) {
                Ok(capability) => added.push(capability),
                Err(_) => bail!("--cap {name}: there is no such capability"),
            }
        }
        let mut sets = process.capabilities().clone().unwrap_or_else(|| {
            let mut none = LinuxCapabilities::default();
            let empty = || Some(Default::default());
            none.set_bounding(empty()).set_effective(empty()).set_permitted(empty());
            none.set_inheritable(empty()).set_ambient(empty());
            none
        });
        let extended = |set: &Option<std::collections::HashSet<Capability>>| {
            let mut set = set.clone().unwrap_or_default();
            set.extend(added.iter().copied());
            Some(set)
        };
        let (bounding, effective, permitted) =
            (extended(sets.bounding()), extended(sets.effective()), extended(sets.permitted()));
        sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
        if process.user().uid() != 0 {
            let (inheritable, ambient) = (extended(sets.inheritable()), extended(sets.ambient()));
            sets.set_inheritable(inheritable).set_ambient(ambient);
        }
        process.set_capabilities(Some(sets));
        Ok(())
    }
}
