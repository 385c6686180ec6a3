//! `berth manual FOLDER`: the manual pages, from the same definitions as the help. Only in a program built with the feature
//! `manual`, for packages: the one that is installed has them beside it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Act, root_command};
use crate::session::{Globals, Session};

/// What the help does not say.
const FILES: &[(&str, &str)] = &[
    ("/etc/berth/berth.toml", "The configuration of all users; $XDG_CONFIG_HOME/berth/berth.toml is read after it."),
    ("/var/lib/berth", "Images, containers and volumes; of an ordinary user $XDG_DATA_HOME/berth."),
    (
        "/run/berth",
        "What does not survive a reboot, and the socket of berth serve, berth.sock; of an ordinary user $XDG_RUNTIME_DIR/berth.",
    ),
];
const ENVIRONMENT: &[(&str, &str)] = &[
    ("BERTH_HOST, DOCKER_HOST", "The engine to talk to, as --host has it."),
    ("BERTH_ROOT", "As --root."),
    ("BERTH_CONFIG", "As --config."),
    ("BERTH_PRETEND_WITHOUT", "Facilities of the kernel that are taken for absent, for tests, separated by commas."),
];
const STATUS: &[(&str, &str)] = &[
    ("125", "berth run: the container was not started; any verb: an option is wrong."),
    ("126, 127", "berth run, berth exec: the program could not be executed, or is not there."),
    ("1", "Anything else went wrong. berth run and berth exec end with the program's own code."),
];

#[derive(Debug, clap::Args)]
pub(crate) struct Manual {
    /// Where the pages are written
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Act for Manual {
    const LOCAL: bool = true;

    async fn act(self, _session: Session) -> anyhow::Result<u8> {
        unreachable!("a local verb")
    }

    fn act_locally(self, _globals: Globals) -> anyhow::Result<u8> {
        let mut command = root_command(&|_| true);
        command.build();
        std::fs::create_dir_all(&self.folder).with_context(|| format!("create {}", self.folder.display()))?;
        pages(&command, "berth", &self.folder)?;
        Ok(0)
    }
}

/// A page of each verb and group: `berth-container-ls.1`.
fn pages(command: &Command, name: &str, folder: &Path) -> anyhow::Result<()> {
    let path = folder.join(format!("{name}.1"));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&path)?;
        let source = concat!("berth ", env!("CARGO_PKG_VERSION"));
        let man = Man::new(command.clone()).title(name.to_uppercase()).source(source).manual("User Commands");
        man.render_title(&mut file)?;
        man.render_name_section(&mut file)?;
        // Not clap_mangen's, which lists every option there.
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").trim();
        file.write_all(Roff::new().control("SH", ["SYNOPSIS"]).text([roman(usage)]).to_roff().as_bytes())?;
        man.render_description_section(&mut file)?;
        man.render_options_section(&mut file)?;
        if command.has_subcommands() {
            man.render_subcommands_section(&mut file)?;
        }
        if name == "berth" {
            for (title, entries) in [("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT), ("EXIT STATUS", STATUS)] {
                file.write_all(section(title, entries).as_bytes())?;
            }
        }
        Ok(())
    };
    write().with_context(|| format!("write {}", path.display()))?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages(verb, &format!("{name}-{}", verb.get_name()), folder)?;
    }
    Ok(())
}

fn section(title: &str, entries: &[(&str, &str)]) -> String {
    let mut roff = Roff::default();
    roff.control("SH", [title]);
    for (what, text) in entries {
        roff.control("TP", []).text([bold(*what)]).text([roman(*text)]);
    }
    roff.to_roff()
}
