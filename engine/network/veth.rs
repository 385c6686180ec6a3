//! Whether the kernel makes what leads a container into a network: a bridge, and a pair of interfaces with one end in it.
//! Tried in a network namespace that is thrown away, so that a module that can be loaded is.

use std::fs::File;
use std::os::fd::AsFd;

use berth_arch::{Probe, pretend};
use nix::sched::{CloneFlags, unshare};

use crate::route::{NewLink, Route};
use crate::{Error, Result, bridge};

const HINT: &str = "load or build the modules bridge and veth; containers have --network none, host and container:NAME";

pub fn probe() -> Probe {
    if pretend::without("veth") {
        return Probe::pretended("veth");
    }
    match require() {
        Ok(()) => Probe::available(()),
        Err(error) => Probe::unavailable(error.to_string(), HINT),
    }
}

/// As [`probe`]; [`Error::Unavailable`] where the kernel has no such interfaces.
pub fn require() -> Result<()> {
    if pretend::without("veth") {
        return Err(Error::Unavailable("veth is pretended to be absent".to_owned()));
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(Error::io("make a network namespace"))?;
            make()
        });
        let ended = thread.map_err(Error::io("start a thread"))?.join();
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn make() -> Result<()> {
    let link = |name| NewLink { name, mac: None, mtu: None };
    let here = File::open("/proc/thread-self/ns/net")
        // Since 3.17. The way round names the thread.
        .or_else(|_| File::open(format!("/proc/self/task/{}/ns/net", rustix::thread::gettid().as_raw_nonzero())))
        .map_err(Error::io("open the own network namespace"))?;
    let route = Route::open()?;
    route.add_bridge(&link("berth-b"), "")?;
    let made = bridge::find(&route, "berth-b")?;
    let index = made.ok_or_else(|| Error::NotFound("the bridge berth-b is gone again".to_owned()))?.index;
    route.add_veth(&link("berth-v"), index, &link("berth-p"), here.as_fd())
}
