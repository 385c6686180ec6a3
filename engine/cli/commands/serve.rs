//! `berth serve`: the engine as a daemon.

use berth_server::ServeOptions;

use super::{Act, log_to_stderr};
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Listen on this socket instead of the usual one (unix:///PATH or tcp://HOST:PORT)
    #[arg(long = "listen", value_name = "HOST")]
    listen: Vec<String>,
}

impl Act for Serve {
    const LOCAL: bool = true;

    async fn act(self, _session: Session) -> anyhow::Result<u8> {
        unreachable!("a local verb")
    }

    fn act_locally(self, globals: Globals) -> anyhow::Result<u8> {
        log_to_stderr(globals.debug);
        let mut hosts = self.listen;
        hosts.extend(globals.host.clone());
        let addresses = hosts.iter().map(|host| host.parse()).collect::<Result<_, _>>()?;
        let engine = globals.engine_config()?;
        engine.enter()?;
        berth_server::serve(ServeOptions { engine, addresses })?;
        Ok(0)
    }
}
