use std::time::Duration;

use serde_json::Value;

use super::{inside, working};
use crate::support::{Mode, World, eventually, kernel};

/// What the scenario came to, in the order in which it was asked.
type Answers = Vec<(&'static str, String)>;

const SERVE: &str = "trap 'exit 7' TERM; mkdir -p /data/www; echo $COLOUR > /data/www/index.html; id -u > /data/user; \
                     echo up; httpd -f -p 8000 -h /data/www & wait $!";

/// A web server with a volume, limits, environment, user, published port, logs, exec and stop.
fn scenario(world: &World, backend: &str) -> Answers {
    let mut answers = Answers::new();
    let folder = world.path(&format!("data-{backend}"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let volume = format!("{}:/data", folder.display());
    world.start(
        &[
            "--isolation",
            backend,
            "--name",
            backend,
            "-v",
            &volume,
            "-e",
            "COLOUR=blue",
            "-u",
            "user",
            "--memory",
            "64m",
            "--pids-limit",
            "100",
            "-p",
            "8080:8000",
            "-w",
            "/data",
            "--ulimit",
            "nofile=512",
        ],
        SERVE,
    );
    let mut add = |what, answer: String| answers.push((what, answer));
    let page = "for i in $(seq 50); do busybox wget -qO- http://127.0.0.1:8080/ && exit; sleep 0.1; done; exit 1";
    add("page", world.shell(page).text());
    add("logs", world.berth(&["logs", backend]).ok().text());
    add("ports", world.berth(&["port", backend, "8000"]).ok().lines()[0].clone());
    let inside = "id -un; pwd; echo $COLOUR; ulimit -n; cat user; touch /etc/x 2>/dev/null || echo refused";
    add("exec", world.berth(&["exec", backend, "sh", "-c", inside]).ok().text());
    add(
        "root",
        world.berth(&["exec", "-u", "0", backend, "sh", "-c", "id -u; ls -d /data/www /etc/passwd"]).ok().text(),
    );
    add("stdin", world.feed(&["exec", "-i", backend, "wc", "-c"], &[7; 100_000]).ok().text());
    add("missing", world.berth(&["exec", backend, "no-such-program"]).code.to_string());
    add("status", world.inspect(backend, "{{.State.Status}} {{.HostConfig.Memory}}"));
    add("top", (world.berth(&["top", backend]).ok().lines().len() >= 3).to_string());
    world.berth(&["stop", "-t", "20", backend]).ok();
    add("stopped", world.inspect(backend, "{{.State.Status}} {{.State.ExitCode}}"));
    world.berth(&["start", backend]).ok();
    add("page again", world.shell(page).text());
    world.berth(&["kill", backend]).ok();
    add("killed", world.inspect(backend, "{{.State.ExitCode}}"));
    world.berth(&["commit", backend, &format!("made-{backend}")]).ok();
    world.berth(&["rm", "-f", backend]).ok();
    add("file", std::fs::read_to_string(folder.join("user")).unwrap());
    add("code", world.run(&["--rm", "--isolation", backend, "box", "sh", "-c", "exit 9"]).code.to_string());
    add("gone", world.run(&["--rm", "--isolation", backend, "box", "no-such-program"]).code.to_string());
    add("sum", world.run(&["--rm", "--isolation", backend, &format!("made-{backend}"), "ls", "-d", "/data"]).text());
    answers
}

/// What differs, by what the backend claims.
fn differences(world: &World, backend: &str, claims: &Value) {
    let claimed = |name: &str| claims[name] == true;
    let run = |flags: &[&str], script: &str| {
        world.run(&[&["--rm", "--isolation", backend], flags, &["box", "sh", "-c", script]].concat())
    };
    let own = run(&[], "echo $$").ok().text();
    assert_eq!(own == "1", claimed("pid"), "{backend}: the first process is {own}");
    let named = run(&["--hostname", "inner"], "hostname").ok();
    assert_eq!(named.text() == "inner", claimed("uts"), "{backend}: {named}");
    assert_eq!(named.err().contains("--hostname"), !claimed("uts"), "{backend}: {named}");
    let alone = run(&["--network", "none"], "ls /sys/class/net");
    match claimed("network") {
        true => assert_eq!(alone.ok().text(), "lo", "{backend}"),
        false => drop(alone.refused(125, &["--network none", backend, "leave the option out"])),
    }
    let shared = run(&["--ipc", "shareable"], "true");
    match claimed("ipc") {
        true => drop(shared.ok()),
        false => drop(shared.refused(125, &["--ipc shareable", backend])),
    }
    let rights = run(&["--cap-drop", "ALL"], "grep CapEff /proc/self/status");
    match claimed("capabilities") {
        true => assert!(rights.clone().text().ends_with("0000000000000000"), "{backend}: {rights}"),
        false => drop(rights.refused(125, &["--cap-", backend])),
    }
    world.start(&["--isolation", backend, "--name", "still"], "exec sleep 1000");
    let paused = world.berth(&["pause", "still"]);
    assert_eq!(paused.code == 0, claimed("pause"), "{backend}: {paused}");
    world.berth(&["rm", "-f", "still"]).ok();
}

#[test]
fn the_same_scenario_has_the_same_result_on_every_backend() {
    if kernel::lacks("way into a container", (3, 8)) {
        return;
    }
    let world = World::new(Mode::Embedded);
    let backends = working(&world);
    let mut first: Option<(String, Answers)> = None;
    for (backend, claims) in &backends {
        let answers = scenario(&world, backend);
        match &first {
            None => {
                assert_eq!(answers[0].1, "blue", "{answers:?}");
                assert_eq!(answers[3].1, "user\n/data\nblue\n512\n1000\nrefused", "{answers:?}");
                first = Some((backend.clone(), answers));
            }
            Some((name, expected)) => assert_eq!(&answers, expected, "{backend} and {name}"),
        }
        differences(&world, backend, claims);
    }
    assert!(backends.iter().any(|(name, _)| name == "chroot"), "{backends:?}");
}

/// Processes of a user that only the test's containers have. Those that have ended and wait for their parents do not count.
fn of_user(user: u32) -> usize {
    let counts = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        field("Uid:").split_whitespace().next() == Some(&user.to_string()) && !field("State:").starts_with('Z')
    };
    crate::support::host::processes().iter().filter(|pid| counts(pid)).count()
}

#[test]
fn nothing_that_forks_hides_or_stands_still_outlives_its_container() {
    let world = World::new(Mode::Embedded);
    let (volume, bomb) = (inside::volume(), inside::command("forks_for_ever", "BOMB=1"));
    let bomb = format!("{bomb} & exec sleep 1000");
    let mischief = [
        ("bomb", bomb.as_str(), 400),
        (
            "daemons",
            "for i in $(seq 120); do (cd /tmp; env -i setsid sh -c 'env -i sleep 1000 >/dev/null 2>&1 </dev/null &' &); done; exec sleep 1000",
            120,
        ),
        ("stopped", "for i in $(seq 120); do sleep 1000 & kill -STOP $!; done; exec sleep 1000", 120),
        ("zombies", "for i in $(seq 60); do (true & true & exec sleep 1000) & done; exec sleep 1000", 60),
    ];
    let mut user = 60_000 + std::process::id() % 1000 * 32;
    for (backend, _) in working(&world) {
        for (name, script, least) in mischief {
            user += 1;
            let who = format!("{user}:{user}");
            let flags = [
                "--isolation",
                &backend,
                "--name",
                name,
                "-u",
                &who,
                "--ulimit",
                "nproc=500:500",
                "-v",
                &volume,
                "--pids-limit",
                "600",
            ];
            world.start(&flags, &format!("{{ {script}; }} >/dev/null 2>&1"));
            eventually(&format!("{name} of {backend} is there"), Duration::from_secs(90), || of_user(user) >= least);
            let removed = world.berth(&["rm", "-f", name]).ok();
            assert_eq!(of_user(user), 0, "{name} of {backend}");
            assert!(removed.took < Duration::from_secs(20), "{name} of {backend}: {removed}");
        }
    }
}
