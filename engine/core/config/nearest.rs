//! Words for names that mean nothing: the nearest that does, and what Docker's are called here.

use super::keys::KEYS;

/// What `daemon.json` has, berth does not, and people may look for: the key, and what there is instead.
const DOCKER_ALONE: &[(&str, &str)] = &[
    ("default-ulimits", "--ulimit sets them container by container"),
    ("default-shm-size", "--shm-size sets it container by container"),
    ("dns", "--dns sets it container by container"),
    ("live-restore", "containers live on without the engine always"),
    ("init", "--init gives one to a container"),
    ("ip-forward", "berth switches forwarding on when a network is up"),
    ("bridge", "networks are made by berth network create"),
    ("bip", "networks are made by berth network create"),
    ("default-address-pools", "subnets are given by berth network create --subnet"),
    ("exec-opts", "berth makes control groups itself (cgroupfs)"),
    ("cgroup-parent", "--cgroup-parent sets it container by container"),
    ("no-new-privileges", "--security-opt no-new-privileges sets it container by container"),
];

/// `; did you mean NAME?` if one is near enough to be a slip.
pub(super) fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(word, known).map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}

/// The one that `word` may be a slip of.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, known) = known.map(|known| (distance(word, known), known)).min()?;
    (distance <= 1 + known.len() / 3).then_some(known)
}

/// What to say of a key that there is not; `name` is its whole one, without a profile's.
pub(super) fn unknown_key(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    let docker = |word: &str| KEYS.iter().find(|key| key.docker.contains(&word));
    if let Some(key) = docker(name) {
        return format!("there is no such key; what Docker's {name} is for is {} here", key.name);
    }
    if let Some((_, instead)) = DOCKER_ALONE.iter().find(|(docker, _)| *docker == name) {
        return format!("there is no such key; Docker has it, and berth does not: {instead}");
    }
    // Written in the wrong table, or in none.
    if let Some(key) = KEYS.iter().find(|key| key.name.rsplit('.').next() == Some(last)) {
        return format!("there is no such key; did you mean {}?", key.name);
    }
    let names = || KEYS.iter().map(|key| key.name).chain(["when"]);
    let mut meant = did_you_mean(name, names());
    if meant.is_empty()
        && let Some(key) = KEYS
            .iter()
            .flat_map(|key| key.docker.iter().map(move |docker| (distance(name, docker), key)))
            .min_by_key(|(distance, _)| *distance)
        && key.0 <= 2
    {
        meant = format!("; did you mean {}?", key.1.name);
    }
    format!("there is no such key{meant}")
}

/// How many letters are to be put in, left out or exchanged to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, have) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, want) in to.bytes().enumerate() {
            let exchanged = diagonal + usize::from(have != want);
            diagonal = row[column + 1];
            row[column + 1] = exchanged.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_not_to_be_there_is_not() {
        let known = |name: &str| KEYS.iter().any(|key| key.name == name || key.docker.contains(&name));
        let stale: Vec<_> = DOCKER_ALONE.iter().filter(|(name, _)| known(name)).collect();
        assert!(stale.is_empty(), "{stale:?}");
    }

    #[test]
    fn a_slip_a_wrong_table_and_dockers_names_lead_to_the_right_key() {
        for (name, meant) in [
            ("isolaton", "did you mean isolation?"),
            ("stroage", "did you mean storage?"),
            ("log.drivr", "did you mean log.driver?"),
            ("storage_options", "did you mean storage-options?"),
            ("packet-path", "did you mean network.packet-path?"),
            ("whem", "did you mean when?"),
            ("storage-driver", "Docker's storage-driver is for is storage"),
            ("data-root", "is root here"),
            ("hosts", "is listen here"),
            ("debug", "is log-level here"),
            ("storge-driver", "did you mean storage?"),
            ("live-restore", "always"),
        ] {
            let said = unknown_key(name);
            assert!(said.contains(meant), "{name}: {said}");
        }
        assert_eq!(unknown_key("colour"), "there is no such key");
    }
}
