//! `ps`: containers with filters. One query, and one small file a container.

use std::collections::{HashMap, HashSet};

use berth_api::models::{
    ContainerSummary, ContainerSummaryHostConfig, ContainerSummaryNetworkSettings, ContainerSummaryStateEnum,
    PortSummary, PortSummaryTypeEnum,
};
use berth_monitor::{State, Status};
use berth_network::Protocol;

use super::inspect::{exposed_ports, shows_ports};
use super::record::{Container, Phase};
use crate::networks::endpoints;
use crate::networks::ports::{self, Lease};
use crate::{Engine, Error, Filters, Result, settings, time};

#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Those that do not run too.
    pub all: bool,
    /// The newest so many, whether they run or not.
    pub limit: Option<usize>,
    pub size: bool,
    pub filters: Filters,
}

const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// Filters with what had to be looked up.
struct Wanted<'a> {
    filters: &'a Filters,
    before: Option<i64>,
    since: Option<i64>,
    /// Image IDs.
    ancestors: Option<Vec<String>>,
    exited: Vec<i32>,
    /// IDs of containers in the networks that were named, and of those that publish a port.
    networks: Option<HashSet<String>>,
    published: Option<HashSet<String>>,
}

impl Engine {
    pub fn list(&self, options: &ListOptions) -> Result<Vec<ContainerSummary>> {
        let wanted = self.wanted(&options.filters)?;
        // As Docker: a filter by state or code speaks of those that do not run too.
        let all = options.all
            || options.limit.is_some()
            || ["status", "exited", "before", "since"]
                .iter()
                .any(|name| options.filters.get(*name).is_some_and(|values| !values.is_empty()));
        let mut summaries = Vec::new();
        let mut images = HashMap::new();
        for container in self.containers()? {
            if options.limit.is_some_and(|limit| summaries.len() >= limit && limit > 0) {
                break;
            }
            if !wanted.fits_row(&container) {
                continue;
            }
            let state = self.state(&container)?;
            if self.reap_left_over(&container, &state) {
                continue;
            }
            if !all && !state.status.is_up() || !wanted.fits_state(&container, &state) {
                continue;
            }
            if !images.contains_key(&container.image) {
                let shown = self.shown_image(&container);
                images.insert(container.image.clone(), shown);
            }
            let named = images.get(&container.image).is_some_and(|known| *known);
            summaries.push(self.summary(&container, &state, named, options.size)?);
        }
        Ok(summaries)
    }

    fn wanted<'a>(&self, filters: &'a Filters) -> Result<Wanted<'a>> {
        for (name, values) in filters {
            if !FILTERS.contains(&name.as_str()) {
                return Err(Error::invalid(format!("invalid filter '{name}'")));
            }
            let known: &[&str] = match name.as_str() {
                "status" => &["created", "dead", "exited", "paused", "removing", "restarting", "running"],
                "health" => &["starting", "healthy", "unhealthy", "none"],
                "is-task" => &["true", "false", "1", "0"],
                "isolation" => &["default", "process", "hyperv", ""],
                _ => continue,
            };
            if let Some(value) = values.iter().find(|value| !known.contains(&value.as_str())) {
                return Err(Error::invalid(format!("invalid filter '{name}={value}'")));
            }
        }
        let exited = values(filters, "exited").iter().map(|code| {
            code.parse().map_err(|_| Error::invalid(format!("invalid filter 'exited={code}': a number is wanted")))
        });
        let created = |name: &str| -> Result<Option<i64>> {
            match values(filters, name) {
                [] => Ok(None),
                [one] => Ok(Some(self.find(one)?.created)),
                _ => Err(Error::invalid(format!("invalid filter '{name}': one container is wanted"))),
            }
        };
        let ancestors = match values(filters, "ancestor") {
            [] => None,
            names => Some(self.descendants(names)?),
        };
        Ok(Wanted {
            exited: exited.collect::<Result<_>>()?,
            before: created("before")?,
            since: created("since")?,
            ancestors,
            networks: match values(filters, "network") {
                [] => None,
                names => Some(self.members(names)?),
            },
            published: match values(filters, "publish") {
                [] => None,
                ports => Some(self.publishers(ports)?),
            },
            filters,
        })
    }

    /// Containers in the networks of these names or IDs.
    fn members(&self, names: &[String]) -> Result<HashSet<String>> {
        let mut found = HashSet::new();
        for name in names {
            let network = match self.network(name) {
                Ok(network) => network,
                Err(Error::NotFound(_)) => continue,
                Err(error) => return Err(error),
            };
            if network.has_links() {
                let ends = self.store().read(|connection| endpoints::of_network(connection, &network.id))?;
                found.extend(ends.into_iter().map(|end| end.container));
            } else {
                let modes = self.containers()?.into_iter();
                let same = |own: &Container| own.host_config.network_mode.as_deref() == Some(network.name.as_str());
                found.extend(modes.filter(same).map(|container| container.id));
            }
        }
        Ok(found)
    }

    /// Containers with one of these ports public: the number outside or the one inside.
    fn publishers(&self, wanted: &[String]) -> Result<HashSet<String>> {
        let mut list = Vec::new();
        for text in wanted {
            list.extend(settings::ports::expand(text)?);
        }
        let leases = self.store().read(ports::of_all)?;
        let fits = |lease: &Lease| {
            [lease.port, lease.container_port]
                .iter()
                .any(|port| list.contains(&format!("{port}/{}", lease.protocol.name())))
        };
        Ok(leases.into_iter().filter(|(_, lease)| fits(lease)).map(|(container, _)| container).collect())
    }

    /// The images named, and those committed on top of them.
    fn descendants(&self, names: &[String]) -> Result<Vec<String>> {
        let mut ids: Vec<String> = Vec::new();
        for name in names {
            match self.images().resolve(name) {
                Ok(image) => ids.push(image.id.to_string()),
                Err(berth_image::Error::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let pairs: Vec<(String, Option<String>)> = self
            .images()
            .list(&berth_image::Filter::default())?
            .into_iter()
            .map(|summary| (summary.id.to_string(), summary.parent.map(|parent| parent.to_string())))
            .collect();
        let mut index = 0;
        while index < ids.len() {
            let above =
                pairs.iter().filter(|(_, parent)| parent.as_ref() == Some(&ids[index])).map(|(id, _)| id.clone());
            let above: Vec<_> = above.filter(|id| !ids.contains(id)).collect();
            ids.extend(above);
            index += 1;
        }
        Ok(ids)
    }

    /// Whether the name that the container was made of still leads to its image; else its ID is shown.
    fn shown_image(&self, container: &Container) -> bool {
        self.images().resolve(container.image_name()).is_ok_and(|image| image.id.as_str() == container.image)
    }

    fn summary(&self, container: &Container, state: &State, named: bool, size: bool) -> Result<ContainerSummary> {
        let (size_rw, size_root_fs) = if size { self.sizes(container)? } else { (None, None) };
        let ports = if shows_ports(container, state) {
            let leases = self.store().read(|connection| ports::of_container(connection, &container.id))?;
            port_summaries(container, &leases)
        } else {
            Vec::new()
        };
        let removing = container.phase == Phase::Removing;
        let image = if named { container.image_name().to_owned() } else { container.image.clone() };
        Ok(ContainerSummary {
            id: Some(container.id.clone()),
            names: Some(vec![format!("/{}", container.name)]),
            image: Some(image),
            image_id: Some(container.image.clone()),
            command: Some(container.command().join(" ")),
            created: Some(container.created / 1_000_000_000),
            ports: Some(ports),
            size_rw,
            size_root_fs,
            labels: Some(container.config.labels.clone().unwrap_or_default()),
            state: Some(if removing { ContainerSummaryStateEnum::REMOVING } else { wire_status(state.status) }),
            status: Some(if removing { "Removal In Progress".to_owned() } else { status_text(state) }),
            host_config: Some(ContainerSummaryHostConfig {
                network_mode: container.host_config.network_mode.clone(),
                annotations: container.host_config.annotations.clone(),
            }),
            network_settings: Some(ContainerSummaryNetworkSettings {
                networks: Some(self.endpoint_settings(container, state.status.is_up())?),
            }),
            mounts: Some(self.mount_points(container)),
            ..ContainerSummary::default()
        })
    }
}

fn values<'a>(filters: &'a Filters, name: &str) -> &'a [String] {
    filters.get(name).map_or(&[], Vec::as_slice)
}

fn wire_status(status: Status) -> ContainerSummaryStateEnum {
    match status {
        Status::Created => ContainerSummaryStateEnum::CREATED,
        Status::Running => ContainerSummaryStateEnum::RUNNING,
        Status::Paused => ContainerSummaryStateEnum::PAUSED,
        Status::Restarting => ContainerSummaryStateEnum::RESTARTING,
        Status::Exited => ContainerSummaryStateEnum::EXITED,
        Status::Dead => ContainerSummaryStateEnum::DEAD,
    }
}

/// `Up 5 minutes (Paused)`, `Exited (0) 2 hours ago`.
pub(crate) fn status_text(state: &State) -> String {
    let since = |moment: i64| time::human_duration(time::now().saturating_sub(moment));
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => format!("Up {}", since(state.started_at)),
        Status::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Dead => "Dead".to_owned(),
    }
}

/// Public ones, and those that are only exposed.
fn port_summaries(container: &Container, leases: &[Lease]) -> Vec<PortSummary> {
    let kind = |protocol: Protocol| match protocol {
        Protocol::Tcp => PortSummaryTypeEnum::TCP,
        Protocol::Udp => PortSummaryTypeEnum::UDP,
        Protocol::Sctp => PortSummaryTypeEnum::SCTP,
    };
    let public = leases.iter().map(|lease| PortSummary {
        ip: Some(lease.address.to_string()),
        private_port: lease.container_port,
        public_port: Some(lease.port),
        typ: Some(kind(lease.protocol)),
    });
    let exposed = exposed_ports(container).iter().filter_map(|text| ports::parse(text));
    let private = exposed
        .filter(|(port, protocol)| {
            !leases.iter().any(|lease| (lease.container_port, lease.protocol) == (*port, *protocol))
        })
        .map(|(port, protocol)| PortSummary {
            ip: None,
            private_port: port,
            public_port: None,
            typ: Some(kind(protocol)),
        });
    public.chain(private).collect()
}

impl Wanted<'_> {
    fn any(&self, name: &str, fits: impl Fn(&str) -> bool) -> bool {
        let values = values(self.filters, name);
        values.is_empty() || values.iter().any(|value| fits(value))
    }

    /// What can be told without reading the state.
    fn fits_row(&self, container: &Container) -> bool {
        let labels = container.config.labels.as_ref();
        let label = |wanted: &String| {
            let (key, value) =
                wanted.split_once('=').map_or((wanted.as_str(), None), |(key, value)| (key, Some(value)));
            labels.and_then(|labels| labels.get(key)).is_some_and(|own| value.is_none_or(|value| value == own))
        };
        self.before.is_none_or(|before| container.created < before)
            && self.since.is_none_or(|since| container.created > since)
            && self.ancestors.as_ref().is_none_or(|ids| ids.contains(&container.image))
            && values(self.filters, "label").iter().all(label)
            && self.any("id", |id| container.id.starts_with(id))
            && self.any("name", |name| name_fits(&container.name, name))
            && self.networks.as_ref().is_none_or(|list| list.contains(&container.id))
            && self.any("expose", |port| self.exposes(container, port))
            && self.published.as_ref().is_none_or(|list| list.contains(&container.id))
            // Nothing has a health or belongs to a swarm.
            && self.any("health", |health| health == "none")
            && self.any("is-task", |value| matches!(value, "false" | "0"))
            && self.any("isolation", |value| matches!(value, "default" | ""))
            && self.any("volume", |volume| has_volume(container, volume))
    }

    fn exposes(&self, container: &Container, port: &str) -> bool {
        let Ok(wanted) = settings::ports::expand(port) else { return false };
        container.config.exposed_ports.iter().flatten().any(|own| wanted.contains(own))
    }

    fn fits_state(&self, container: &Container, state: &State) -> bool {
        let status = match container.phase {
            Phase::Removing => "removing".to_owned(),
            _ => wire_status(state.status).to_string(),
        };
        let exited = matches!(state.status, Status::Exited | Status::Dead) && state.started_at != 0;
        self.any("status", |wanted| wanted == status)
            && (self.exited.is_empty() || exited && self.exited.contains(&state.exit_code))
    }
}

/// By a volume's name, the host's path, or the place inside.
fn has_volume(container: &Container, wanted: &str) -> bool {
    use settings::mounts::Kind;
    container.points().unwrap_or_default().iter().any(|point| {
        let by_source = match &point.kind {
            Kind::Volume(volume) => volume.name == wanted,
            Kind::Bind(bind) => bind.source == std::path::Path::new(wanted),
            Kind::Tmpfs(_) => false,
        };
        by_source || point.destination == std::path::Path::new(wanted)
    })
}

/// Docker takes a regular expression; plain text with `^` and `$` at the ends is what is used of it.
fn name_fits(name: &str, pattern: &str) -> bool {
    let (start, pattern) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let (end, pattern) = pattern.strip_suffix('$').map_or((false, pattern), |rest| (true, rest));
    // The API's names begin with a slash, and patterns may say so.
    let pattern = pattern.strip_prefix('/').unwrap_or(pattern);
    match (start, end) {
        (true, true) => name == pattern,
        (true, false) => name.starts_with(pattern),
        (false, true) => name.ends_with(pattern),
        (false, false) => name.contains(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_anchored_text() {
        for (pattern, fits) in
            [("web", true), ("^web$", false), ("^/my-web$", true), ("^my", true), ("eb$", true), ("^web", false)]
        {
            assert_eq!(name_fits("my-web", pattern), fits, "{pattern}");
        }
    }

    #[test]
    fn a_status_reads_as_dockers_does() {
        let mut state = State { status: Status::Exited, exit_code: 3, ..State::default() };
        state.finished_at = time::now() - 120_000_000_000;
        assert_eq!(status_text(&state), "Exited (3) 2 minutes ago");
        state = State { status: Status::Paused, started_at: time::now() - 3_000_000_000, ..State::default() };
        assert_eq!(status_text(&state), "Up 3 seconds (Paused)");
        assert_eq!(status_text(&State::default()), "Created");
    }
}
