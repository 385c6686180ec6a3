//! A network's row, and how names find it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::{Deserialize, Serialize};

use crate::{Engine, Error, Result};

#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub id: String,
    pub name: String,
    pub driver: Driver,
    /// Nanoseconds after the Unix epoch.
    pub created: i64,
    pub config: Config,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    Bridge,
    Host,
    Null,
    Macvlan,
    Ipvlan,
}

impl Driver {
    pub(crate) const ALL: [Self; 5] = [Self::Bridge, Self::Host, Self::Null, Self::Macvlan, Self::Ipvlan];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|driver| driver.name() == name)
    }
}

/// What is kept of how a network was made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    pub ipv4: bool,
    pub ipv6: bool,
    pub internal: bool,
    pub attachable: bool,
    /// The subnets were berth's choice: an address cannot be asked for, and the default network may get another one
    /// when the host's own networks have changed.
    pub automatic: bool,
    pub subnets: Vec<Subnet>,
    /// The driver's.
    pub options: BTreeMap<String, String>,
    pub ipam_options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subnet {
    pub subnet: IpNet,
    /// Addresses are given out from this part alone.
    pub range: Option<IpNet>,
    /// The host's address, or another router's (macvlan); none if there is no way out.
    pub gateway: Option<IpAddr>,
    /// Addresses that others have, by a name that means something to the user.
    #[serde(default)]
    pub reserved: BTreeMap<String, IpAddr>,
}

const COLUMNS: &str = "id, name, driver, created, config";

impl Network {
    fn from_row(row: &Row<'_>) -> Result<Self> {
        let driver: String = row.get(2)?;
        let config = row.get_ref(4).and_then(|value| Ok(value.as_str()?))?;
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            created: row.get(3)?,
            driver: Driver::by_name(&driver)
                .ok_or_else(|| Error::Internal(format!("this program has no network driver {driver}")))?,
            config: serde_json::from_str(config)
                .map_err(|error| Error::Internal(format!("read a network's configuration: {error}")))?,
        })
    }

    pub(crate) fn is_predefined(&self) -> bool {
        is_predefined(&self.name)
    }

    /// Whether containers in it have an interface of their own.
    pub(crate) fn has_links(&self) -> bool {
        !matches!(self.driver, Driver::Host | Driver::Null)
    }

    /// Users' own networks answer names.
    pub(crate) fn has_names(&self) -> bool {
        self.has_links() && !self.is_predefined()
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.config.options.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub(crate) fn subnet(&self, v6: bool) -> Option<&Subnet> {
        self.config.subnets.iter().find(|subnet| subnet.subnet.addr().is_ipv6() == v6)
    }

    /// The subnet that holds an address.
    pub(crate) fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.config.subnets.iter().find(|subnet| subnet.subnet.contains(&address))
    }
}

pub(crate) fn is_predefined(name: &str) -> bool {
    matches!(name, "bridge" | "host" | "none" | "default")
}

pub(crate) fn no_such(name: &str) -> Error {
    Error::NotFound(format!("network {name} not found"))
}

impl Engine {
    pub(crate) fn network(&self, name: &str) -> Result<Network> {
        self.store().read(|connection| find(connection, name))
    }

    pub(crate) fn all_networks(&self) -> Result<Vec<Network>> {
        self.store().read(all)
    }
}

/// Sorted by name.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Network>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM networks ORDER BY name"))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Network::from_row(row)?);
    }
    Ok(found)
}

/// By ID, by name, or by a prefix of the ID that fits only one.
pub(crate) fn find(connection: &Connection, wanted: &str) -> Result<Network> {
    let name = if wanted == "default" { "bridge" } else { wanted };
    let one = |condition: &str| {
        let sql = format!("SELECT {COLUMNS} FROM networks WHERE {condition}");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([name])?;
        rows.next()?.map(Network::from_row).transpose()
    };
    if let Some(network) = one("id = ?1 OR name = ?1 ORDER BY id <> ?1 LIMIT 1")? {
        return Ok(network);
    }
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(no_such(wanted));
    }
    let count: i64 = connection
        .prepare_cached("SELECT count(*) FROM networks WHERE id >= ?1 AND id < ?1 || 'g'")?
        .query_row([name], |row| row.get(0))?;
    if count > 1 {
        return Err(Error::invalid(format!(
            "network {wanted} is ambiguous ({count} matches found based on ID prefix)"
        )));
    }
    one("id >= ?1 AND id < ?1 || 'g' LIMIT 1")?.ok_or_else(|| no_such(wanted))
}

pub(crate) fn by_id(connection: &Connection, id: &str) -> Result<Network> {
    let sql = format!("SELECT {COLUMNS} FROM networks WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(Network::from_row).transpose()?.ok_or_else(|| no_such(id))
}

pub(crate) fn id_by_name(connection: &Connection, name: &str) -> Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT id FROM networks WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

pub(crate) fn encode(config: &Config) -> Result<String> {
    serde_json::to_string(config).map_err(|error| Error::Internal(format!("encode a network's configuration: {error}")))
}
