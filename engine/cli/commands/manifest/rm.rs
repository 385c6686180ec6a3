//! `berth manifest rm`.

use super::shelf::Shelf;
use super::{reference, without_engine};
use crate::commands::Act;
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    #[arg(value_name = "MANIFEST_LIST", required = true)]
    lists: Vec<String>,
}

impl Act for Rm {
    const LOCAL: bool = true;

    async fn act(self, session: Session) -> anyhow::Result<u8> {
        without_engine(session).await
    }

    fn act_locally(self, _: Globals) -> anyhow::Result<u8> {
        let mut code = 0;
        for name in &self.lists {
            let list = reference(name)?;
            if let Err(error) = Shelf::of(&list).and_then(|shelf| shelf.remove(&list)) {
                eprintln!("{error:#}");
                code = 1;
            }
        }
        Ok(code)
    }
}
