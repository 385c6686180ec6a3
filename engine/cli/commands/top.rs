//! `berth top`.

use berth_api::models::ContainerTopResponse;

use super::Act;
use super::each::container;
use crate::output::table;
use crate::session::Session;

#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    container: String,
    #[arg(value_name = "ps OPTIONS", num_args = 0.., trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Act for Top {
    async fn act(self, session: Session) -> anyhow::Result<u8> {
        let options = self.options.join(" ");
        let query: Vec<_> = (!options.is_empty()).then_some(("ps_args", options)).into_iter().collect();
        let top: ContainerTopResponse = session.client.get(&container(&self.container, "top"), &query).await?;
        let lines = top.titles.into_iter().chain(top.processes.unwrap_or_default());
        print!("{}", table::align(lines.collect()));
        Ok(0)
    }
}
