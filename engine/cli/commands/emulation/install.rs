//! `berth emulation install`.

use anyhow::Context;
use berth_api::emulation::{Emulator, Installation};

use crate::commands::Act;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Install {
    /// A static QEMU on the engine's host (for one architecture)
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    qemu: Option<String>,
    /// An image that has static QEMUs
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// arm64, arm, amd64, 386, riscv64, ...; all that there is a QEMU for if none is named
    #[arg(value_name = "ARCHITECTURE")]
    architectures: Vec<String>,
}

impl Act for Install {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let absolute = |path: String| {
            let path = std::path::absolute(&path).with_context(|| format!("resolve {path:?}"))?;
            path.into_os_string().into_string().map_err(|path| anyhow::anyhow!("{path:?} is no UTF-8"))
        };
        let file = self.qemu.map(absolute).transpose()?;
        let body = Installation { architectures: self.architectures, file, image: self.image };
        let installed: Vec<Emulator> = session.client.post("/berth/emulation", &(), &body).await?;
        for emulator in installed {
            println!("{}: {}", emulator.architecture, super::ls::describe(&emulator));
        }
        Ok(0)
    }
}
