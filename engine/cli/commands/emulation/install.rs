//! `berth emulation install`.

use anyhow::Context;
use berth_api::emulation::{Emulator, Installation};
use berth_image::Reference;

use crate::commands::Act;
use crate::commands::create::is_missing_image;
use crate::commands::pull::{Says, pull};
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Install {
    /// A static QEMU on the engine's host (for one architecture)
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    qemu: Option<String>,
    /// An image that has static QEMUs, pulled if it is not there
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
        let client = &session.client;
        let mut installed: berth_client::Result<Vec<Emulator>> = client.post("/berth/emulation", &(), &body).await;
        if let (Err(error), Some(image)) = (&installed, &body.image)
            && is_missing_image(error)
        {
            pull(client, &image.parse::<Reference>()?.with_default_tag(), None, Says::Err).await?;
            installed = client.post("/berth/emulation", &(), &body).await;
        }
        let installed = installed?;
        for emulator in installed {
            println!("{}: {}", emulator.architecture, super::ls::describe(&emulator));
        }
        Ok(0)
    }
}
