//! What a container takes from its image.

use berth_api::models::{ContainerConfig, ContainerCreateBody, HealthConfig};
use berth_image::RunConfig;

/// The body's own configuration, without the host's and the network's part.
pub(crate) fn own(body: ContainerCreateBody) -> ContainerConfig {
    ContainerConfig {
        hostname: body.hostname,
        domainname: body.domainname,
        user: body.user,
        attach_stdin: body.attach_stdin,
        attach_stdout: body.attach_stdout,
        attach_stderr: body.attach_stderr,
        exposed_ports: body.exposed_ports,
        tty: body.tty,
        open_stdin: body.open_stdin,
        stdin_once: body.stdin_once,
        env: body.env,
        cmd: body.cmd,
        healthcheck: body.healthcheck,
        args_escaped: body.args_escaped,
        image: body.image,
        volumes: body.volumes,
        working_dir: body.working_dir,
        entrypoint: body.entrypoint,
        network_disabled: body.network_disabled,
        on_build: body.on_build,
        labels: body.labels,
        stop_signal: body.stop_signal,
        stop_timeout: body.stop_timeout,
        shell: body.shell,
    }
}

fn given(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

/// Fills `config` from the image, as Docker's `merge` does.
pub(crate) fn image(config: &mut ContainerConfig, image: &RunConfig) {
    if !given(&config.user) {
        config.user = Some(image.user.clone());
    }
    if !given(&config.working_dir) {
        config.working_dir = Some(image.working_dir.clone());
    }
    if !given(&config.stop_signal) {
        config.stop_signal.clone_from(&image.stop_signal);
    }
    if config.stop_timeout.is_none() {
        config.stop_timeout = image.stop_timeout;
    }
    if config.shell.as_ref().is_none_or(Vec::is_empty) {
        config.shell.clone_from(&image.shell);
    }
    union(&mut config.exposed_ports, image.exposed_ports.iter().flat_map(|set| &set.0));
    union(&mut config.volumes, image.volumes.iter().flat_map(|set| &set.0));
    environment(config.env.get_or_insert_default(), image.env.as_deref().unwrap_or_default());
    let labels = config.labels.get_or_insert_default();
    for (key, value) in image.labels.iter().flatten() {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    // A new entry point makes the image's arguments meaningless. [""] stands for none at all.
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd.clone_from(&image.cmd);
        }
        if config.entrypoint.is_none() {
            config.entrypoint.clone_from(&image.entrypoint);
        }
    } else if config.entrypoint.as_ref().is_some_and(|list| list.len() == 1 && list[0].is_empty()) {
        config.entrypoint = None;
    }
    health(config, image);
}

fn health(config: &mut ContainerConfig, image: &RunConfig) {
    let Some(theirs) = &image.healthcheck else { return };
    let ours = config.healthcheck.get_or_insert_default();
    let HealthConfig { test, interval, timeout, retries, start_period, start_interval } = ours;
    if test.as_ref().is_none_or(Vec::is_empty) {
        *test = Some(theirs.test.clone());
    }
    for (ours, theirs) in [
        (interval, theirs.interval),
        (timeout, theirs.timeout),
        (retries, theirs.retries),
        (start_period, theirs.start_period),
        (start_interval, theirs.start_interval),
    ] {
        if ours.unwrap_or(0) == 0 && theirs != 0 {
            *ours = Some(theirs);
        }
    }
}

fn union<'a>(list: &mut Option<Vec<String>>, more: impl Iterator<Item = &'a String>) {
    let mut set: std::collections::BTreeSet<String> = list.take().into_iter().flatten().collect();
    set.extend(more.cloned());
    *list = (!set.is_empty()).then(|| set.into_iter().collect());
}

/// The image's variables that the container does not set come after its own, as Docker has them.
fn environment(own: &mut Vec<String>, image: &[String]) {
    let key = |pair: &str| pair.split_once('=').map_or(pair, |(key, _)| key).to_owned();
    let set: std::collections::HashSet<_> = own.iter().map(|pair| key(pair)).collect();
    own.extend(image.iter().filter(|pair| !set.contains(&key(pair))).cloned());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    fn merged(entrypoint: Option<Vec<String>>, cmd: Option<Vec<String>>) -> (Option<Vec<String>>, Option<Vec<String>>) {
        let run = RunConfig { entrypoint: list(&["/e"]), cmd: list(&["c"]), ..RunConfig::default() };
        let mut config = ContainerConfig { entrypoint, cmd, ..ContainerConfig::default() };
        image(&mut config, &run);
        (config.entrypoint, config.cmd)
    }

    #[test]
    fn entry_point_and_arguments_follow_dockers_rules() {
        assert_eq!(merged(None, None), (list(&["/e"]), list(&["c"])));
        assert_eq!(merged(None, list(&["x"])), (list(&["/e"]), list(&["x"])));
        assert_eq!(merged(list(&["/n"]), None), (list(&["/n"]), None));
        assert_eq!(merged(list(&["/n"]), list(&["x"])), (list(&["/n"]), list(&["x"])));
        assert_eq!(merged(list(&[""]), list(&["x"])), (None, list(&["x"])));
    }

    #[test]
    fn the_containers_own_variables_and_labels_win() {
        let run = RunConfig {
            env: list(&["A=1", "B=2"]),
            labels: Some([("k".to_owned(), "image".to_owned()), ("l".to_owned(), "image".to_owned())].into()),
            user: "nobody".to_owned(),
            ..RunConfig::default()
        };
        let mut config = ContainerConfig {
            env: list(&["B=3"]),
            labels: Some([("k".to_owned(), "own".to_owned())].into()),
            ..ContainerConfig::default()
        };
        image(&mut config, &run);
        assert_eq!(config.env, list(&["B=3", "A=1"]));
        let labels = config.labels.unwrap();
        assert_eq!((labels["k"].as_str(), labels["l"].as_str()), ("own", "image"));
        assert_eq!(config.user.as_deref(), Some("nobody"));
    }
}
