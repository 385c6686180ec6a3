//! `berth system check`: the store compared with the kernel and the disk, and put in order on request.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use berth_api::check::{Finding, SystemCheck};
use berth_backends::cgroup::Cgroup;
use berth_monitor::client;
use berth_network::attach::{self, Inside};
use berth_network::names::Names;
use berth_network::plan::{Link, Plan};
use berth_network::route::{LinkInfo, Route};
use berth_network::{bridge, sysctl};
use rusqlite::OptionalExtension;

use crate::networks::RELAY;
use crate::networks::record::{Driver, Network};
use crate::{Container, Engine, Error, Result};

const MISSING: &str = "missing";
const LEFT_OVER: &str = "left over";
/// An interface that somebody set down.
const DOWN: &str = "down";
/// An interface that somebody took out of its bridge.
const APART: &str = "apart";

/// The kernel takes the interfaces of a container that has ended away a while later.
const LINGERING: Duration = Duration::from_secs(2);

/// How a finding is put right.
type Remedy<'a> = Box<dyn Fn() -> Result<()> + 'a>;

struct Findings<'a> {
    repair: bool,
    list: Vec<(Finding, Remedy<'a>)>,
}

impl<'a> Findings<'a> {
    fn add(&mut self, kind: &str, name: &str, state: &str, owner: &str, remedy: impl Fn() -> Result<()> + 'a) {
        let [kind, name, state, owner] = [kind, name, state, owner].map(str::to_owned);
        self.list.push((Finding { kind, name, state, owner, repaired: None, error: None }, Box::new(remedy)));
    }

    fn finish(self) -> SystemCheck {
        let repair = self.repair;
        let carry_out = |(mut finding, remedy): (Finding, Remedy<'a>)| {
            if repair {
                let done = remedy();
                finding.repaired = Some(done.is_ok());
                finding.error = done.err().map(|error| error.to_string());
            }
            finding
        };
        SystemCheck { findings: self.list.into_iter().map(carry_out).collect() }
    }
}

/// A container that runs, and what it is connected to.
struct Running {
    container: Container,
    plan: Plan,
    /// 0 while it waits for its next start: it has no interfaces then.
    pid: i32,
}

impl Engine {
    /// Compares the store with the kernel; with `repair`, brings back what is missing and removes what is left over.
    pub fn check_system(&self, repair: bool) -> Result<SystemCheck> {
        let mut findings = Findings { repair, list: Vec::new() };
        let mut running = Vec::new();
        for container in self.containers()? {
            // Settles the ones whose monitor was killed.
            let state = self.state(&container)?;
            if state.status.is_up() {
                let plan = self.last_plan(&container)?.unwrap_or_default();
                running.push(Running { container, plan, pid: state.pid });
            } else {
                self.check_groups(container, &mut findings)?;
            }
        }
        self.check_links(&running, &mut findings)?;
        self.check_rules(&running, &mut findings)?;
        self.check_names(&running, &mut findings)?;
        self.check_folders(&mut findings)?;
        Ok(findings.finish())
    }

    /// Control groups of a container that does not run.
    fn check_groups<'a>(&'a self, container: Container, findings: &mut Findings<'a>) -> Result<()> {
        let find = move |container: &Container| -> Result<Cgroup> {
            Ok(Cgroup::find(&container.id.parse()?, Some(&crate::spec::cgroup_path(container)))?)
        };
        let groups = find(&container)?;
        let left: Vec<_> = groups.paths().iter().filter(|path| path.exists()).collect();
        // Or it has been started since.
        if left.is_empty() || self.is_watched(&container.id) {
            return Ok(());
        }
        for path in left {
            let (own, name) = (container.clone(), container.name.clone());
            findings.add("cgroup", &path.display().to_string(), LEFT_OVER, &name, move || {
                let Some(_lock) = self.try_lock(&own.id)? else { return Err(busy(&own)) };
                // Somebody may have started it since.
                if self.is_watched(&own.id) {
                    return Err(busy(&own));
                }
                let groups = find(&own)?;
                groups.kill_all()?;
                Ok(groups.delete()?)
            });
        }
        Ok(())
    }

    fn check_links<'a>(&'a self, running: &[Running], findings: &mut Findings<'a>) -> Result<()> {
        let route = Route::home()?;
        let (links, addresses) = (route.links()?, route.addresses()?);
        let used = |network: &Network| {
            running.iter().any(|one| one.plan.endpoints.iter().any(|end| end.network == network.id))
        };
        let path = self.picked_path().map(|path| path.name()).unwrap_or(RELAY);
        let mut ours = Vec::new();
        for network in self.all_networks()?.into_iter().filter(|network| network.driver == Driver::Bridge) {
            let name = self.bridge_name(&network);
            let Some(link) = bridge::find(&route, &name).ok().flatten() else {
                // One that is not needed now comes up when it is.
                if used(&network) {
                    let (owner, id) = (network.name.clone(), network.id.clone());
                    findings.add("link", &name, MISSING, &owner, move || self.bring_up_again(&id));
                }
                continue;
            };
            ours.push((link.index, network.name.clone()));
            if !link.up && used(&network) {
                let (owner, id) = (network.name.clone(), network.id.clone());
                findings.add("link", &name, DOWN, &owner, move || self.bring_up_again(&id));
            }
            self.check_ends(&network, &link, &links, running, findings);
            for subnet in &network.config.subnets {
                let Some(gateway) = subnet.gateway else { continue };
                let there = addresses.iter().any(|has| (has.index, has.address.addr()) == (link.index, gateway));
                if !there {
                    let (owner, id) = (network.name.clone(), network.id.clone());
                    findings.add("address", &format!("{gateway} of {name}"), MISSING, &owner, move || {
                        self.bring_up_again(&id)
                    });
                }
                let setting = if gateway.is_ipv6() { "ipv6/conf/all/forwarding" } else { "ipv4/ip_forward" };
                if !network.config.internal && path != RELAY && sysctl::read(setting).is_some_and(|value| value != "1")
                {
                    let (owner, id) = (network.name.clone(), network.id.clone());
                    findings
                        .add("setting", &format!("net/{setting}"), MISSING, &owner, move || self.bring_up_again(&id));
                }
            }
        }
        let ends: BTreeSet<String> =
            running.iter().flat_map(|one| &one.plan.endpoints).map(|end| attach::host_interface(&end.id)).collect();
        let strays = || -> Result<Vec<(String, String)>> {
            let stray = |link: LinkInfo| {
                let (_, owner) = ours.iter().find(|(index, _)| link.master == Some(*index))?;
                // In a bridge of ours are ends of ours alone, unless somebody put another interface there on purpose.
                let of_ours = attach::is_host_interface(&link);
                (of_ours && !ends.contains(&link.name)).then(|| (link.name, owner.clone()))
            };
            Ok(route.links()?.into_iter().filter_map(stray).collect())
        };
        let until = Instant::now() + LINGERING;
        let mut found = strays()?;
        while !found.is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
            found = strays()?;
        }
        for (name, owner) in found {
            if self.is_end_watched(&name)? {
                continue;
            }
            findings.add("link", &name.clone(), LEFT_OVER, &owner, move || match self.is_end_watched(&name)? {
                true => Ok(()),
                false => Ok(Route::home()?.remove_link(&name)?),
            });
        }
        Ok(())
    }

    /// Whether a container has a monitor, if only since a moment ago.
    fn is_watched(&self, container: &str) -> bool {
        client::is_alive(&self.paths().container_run(container))
    }

    /// Of the host's end of a pair, by its name.
    fn is_end_watched(&self, link: &str) -> Result<bool> {
        let digits = link.trim_start_matches("veth");
        let container: Option<String> = self.store().read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT container FROM endpoints WHERE substr(id, 1, 11) = ?1")?;
            Ok::<_, Error>(statement.query_row([digits], |row| row.get(0)).optional()?)
        })?;
        Ok(container.is_some_and(|id| self.is_watched(&id)))
    }

    /// The interfaces of containers in a network whose bridge is there.
    fn check_ends<'a>(
        &'a self,
        network: &Network,
        bridge: &LinkInfo,
        links: &[LinkInfo],
        running: &[Running],
        findings: &mut Findings<'a>,
    ) {
        for one in running.iter().filter(|one| one.pid != 0) {
            for end in one.plan.endpoints.iter().filter(|end| end.network == network.id) {
                let name = attach::host_interface(&end.id);
                let owner = &one.container.name;
                match links.iter().find(|link| link.name == name) {
                    None => {
                        let (container, end, pid) = (one.container.clone(), end.clone(), one.pid);
                        findings.add("link", &name, MISSING, owner, move || {
                            let Some(_lock) = self.try_lock(&container.id)? else { return Err(busy(&container)) };
                            Ok(Inside::of(pid)?.connect(&end)?)
                        });
                    }
                    Some(link) if link.master != Some(bridge.index) => {
                        let (index, bridge) = (link.index, bridge.index);
                        findings.add(
                            "link",
                            &name,
                            APART,
                            owner,
                            move || Ok(Route::home()?.set_master(index, bridge)?),
                        );
                    }
                    Some(link) if !link.up => {
                        let index = link.index;
                        findings.add("link", &name, DOWN, owner, move || Ok(Route::home()?.set_up(index)?));
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn bring_up_again(&self, id: &str) -> Result<()> {
        self.bring_up(&Route::home()?, id)?;
        self.restore_rules()
    }

    fn check_rules<'a>(&'a self, running: &[Running], findings: &mut Findings<'a>) -> Result<()> {
        let Some(path) = self.picked_path() else { return Ok(()) };
        let owner = self.owner()?;
        let mut wanted = self.wanted_networks(&Route::home()?)?;
        wanted.ports.extend(running.iter().flat_map(|one| one.plan.port_rules()));
        let mut ends = running.iter().flat_map(|one| &one.plan.endpoints);
        if wanted.networks.is_empty() && ends.any(|end| matches!(end.link, Link::Bridge { .. })) {
            // A bridge is missing, and rules come back with it.
            return Ok(());
        }
        if wanted.networks.is_empty() {
            for line in path.found(&owner)? {
                findings.add("rule", &line, LEFT_OVER, "", move || match self.picked_path() {
                    Some(path) => Ok(path.remove(&self.owner()?)?),
                    None => Ok(()),
                });
            }
        } else if !path.is_intact(&owner, &wanted)? {
            let name = format!("{} of {}", path.name(), owner.0);
            findings.add("rule", &name, MISSING, "", move || self.restore_rules());
        }
        Ok(())
    }

    fn check_names<'a>(&'a self, running: &[Running], findings: &mut Findings<'a>) -> Result<()> {
        for network in self.all_networks()?.iter().filter(|network| network.has_names()) {
            let folder = self.names_folder(network);
            for owner in Names::new(&folder).owners() {
                let known = running.iter().find(|one| one.container.id == owner);
                let lives = known.map_or_else(
                    || self.is_watched(&owner),
                    |one| one.plan.endpoints.iter().any(|end| end.network == network.id),
                );
                if !lives {
                    let folder = folder.clone();
                    let name = format!("names of {owner}");
                    let since = known.is_none();
                    findings.add("file", &name, LEFT_OVER, &network.name, move || {
                        match since && self.is_watched(&owner) {
                            true => Ok(()),
                            false => Ok(Names::new(&folder).sweep(|known| known != owner)?),
                        }
                    });
                }
            }
        }
        Ok(())
    }

    /// Folders of containers that the store does not know, and mounts of those that do not run.
    fn check_folders<'a>(&'a self, findings: &mut Findings<'a>) -> Result<()> {
        let known: BTreeSet<String> = self.store().read(|connection| {
            let mut statement = connection.prepare_cached("SELECT id FROM containers")?;
            Ok::<_, Error>(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
        })?;
        for entry in std::fs::read_dir(self.paths().shared_mount_points()).into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            let is_mounted = berth_backends::chroot::has_mounts(&entry.path())?;
            if self.is_watched(&id) || known.contains(&id) && !is_mounted {
                continue;
            }
            findings.add("mount", &entry.path().display().to_string(), LEFT_OVER, "", move || {
                // Somebody may have started it since.
                match self.try_lock(&id)? {
                    Some(_lock) if !self.is_watched(&id) => self.clear_shared_root(&id),
                    _ => Ok(()),
                }
            });
        }
        for parent in [self.paths().state.join("containers"), self.paths().run.join("containers")] {
            for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !known.contains(&name) {
                    findings.add("file", &entry.path().display().to_string(), LEFT_OVER, "", || self.sweep());
                }
            }
        }
        Ok(())
    }
}

fn busy(container: &Container) -> Error {
    Error::Conflict(format!("container {} is being changed by another engine", container.name))
}
