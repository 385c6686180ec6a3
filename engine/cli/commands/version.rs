//! `berth version`: the program's own version and the engine's.

use berth_api::models::SystemVersion;

use super::Act;
use crate::built;
use crate::output::{self, known};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Version {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Act for Version {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let server: SystemVersion = session.client.get("/version", &()).await?;
        let client = serde_json::json!({
            "Version": env!("CARGO_PKG_VERSION"),
            "ApiVersion": "1.51",
            "Os": std::env::consts::OS,
            "Arch": server.arch.clone().unwrap_or_default(),
            "GitCommit": built::COMMIT,
            "BuildTime": built::date(),
            "Berth": built::json(),
        });
        let mut value = serde_json::json!({ "Client": client, "Server": server });
        if let Some(format) = &self.format {
            if format != "json" {
                known::fill::<SystemVersion>(&mut value["Server"]);
            }
            output::print_formatted(format, &value)?;
            return Ok(0);
        }
        let place = if session.client.connector().is_in_process() { "in this process" } else { "daemon" };
        println!("Client: berth");
        println!(" Version:      {}", env!("CARGO_PKG_VERSION"));
        println!(" API version:  1.51");
        println!(" Git commit:   {}", built::COMMIT);
        println!(" Source date:  {}", built::date());
        println!();
        println!("Engine ({place}):");
        for (name, text) in [
            ("Version", &server.version),
            ("API version", &server.api_version),
            ("Min API", &server.min_api_version),
            ("Git commit", &server.git_commit),
            ("Source date", &server.build_time),
            ("Kernel", &server.kernel_version),
            ("OS", &server.os),
            ("Arch", &server.arch),
        ] {
            println!(
                " {:<14}{}",
                format!("{name}:"),
                text.as_deref().filter(|text| !text.is_empty()).unwrap_or("unknown")
            );
        }
        Ok(0)
    }
}
