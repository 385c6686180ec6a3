//! `berth serve`: the engine as a daemon.

use std::path::PathBuf;

use berth_server::ServeOptions;

use super::{Act, log_to_stderr};
use crate::session::{Globals, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Listen on this socket instead of the usual one (unix:///PATH, tcp://HOST:PORT or fd:// for a service manager's)
    #[arg(long = "listen", value_name = "HOST")]
    listen: Vec<String>,
    /// Group for unix sockets (default "docker" or "berth" if there is one)
    #[arg(short = 'G', long, value_name = "GROUP")]
    group: Option<String>,
    /// Write the process's number to this file, and refuse to start beside another daemon that has it
    #[arg(short, long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
}

impl Act for Serve {
    const LOCAL: bool = true;

    async fn act(self, _session: Session) -> anyhow::Result<u8> {
        unreachable!("a local verb")
    }

    fn act_locally(self, globals: Globals) -> anyhow::Result<u8> {
        // First of all: what is opened after it cannot be taken for one of them.
        let given = berth_server::given_sockets()?;
        log_to_stderr(globals.debug);
        let mut hosts = self.listen;
        hosts.extend(globals.host.clone());
        let addresses = hosts.iter().map(|host| host.parse()).collect::<Result<_, _>>()?;
        let engine = globals.engine_config()?;
        engine.enter()?;
        berth_server::serve(ServeOptions { engine, addresses, given, group: self.group, pidfile: self.pidfile })?;
        Ok(0)
    }
}
