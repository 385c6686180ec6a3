//! `berth.toml`, its profiles and drop-ins, the environment and options of `serve`; and what is remembered of the host.

use crate::support::call::Background;
use crate::support::world::LIMIT;
use crate::support::{Mode, World, eventually, kernel};

#[test]
fn configuration_files_are_read_and_mistakes_named() {
    if kernel::lacks("seccomp filters", (3, 5)) {
        return;
    }
    let world = World::new(Mode::Embedded);
    let config = world.at("berth.toml");
    std::fs::write(&config, "strict = true\n[log]\noptions = { max-size = \"1k\", max-file = \"2\" }\n").unwrap();
    world.berth(&["--config", &config, "run", "--name", "one", "box", "seq", "1000"]).ok();
    assert!(world.berth(&["logs", "one"]).ok().lines().len() < 900);
    std::fs::write(&config, "strict = true\nnonsense = 1\n").unwrap();
    world.berth(&["--config", &config, "ps"]).refused(1, &["berth.toml:2: nonsense: there is no such key"]);
    world.berth(&["--config", "/no/such/file", "ps"]).refused(1, &["/no/such/file"]);
}

#[test]
fn one_file_serves_a_nas_a_pi_and_a_server() {
    let world = World::bare(Mode::Embedded);
    let config = world.at("fleet.toml");
    let text = "log.options = { max-size = '10m', max-file = '3' }\nstrict = true\n\
                [when.memory.'<=512MB']\nlog.options = { max-size = '512k', max-file = '1' }\nstrict = false\n\
                [when.kernel.'<4.0']\nstorage = ['overlay', 'vfs']\nisolation = ['namespace', 'chroot']\n\
                [when.host.'build-*']\nstorage-options.size = '20g'\n";
    std::fs::write(&config, text).unwrap();
    assert!(world.berth(&["config", "check", &config]).ok().out().contains("1 file: nothing is wrong"));
    let show = |host: &str| {
        world.berth(&["--config", &config, "config", "show", "--on", host, "--format", "json"]).ok().json()
    };
    let server = show("arch=amd64,kernel=6.12,memory=64g,host=build-7,cgroup=v2");
    assert_eq!((&server["strict"], &server["storage"]), (&true.into(), &"auto".into()));
    assert_eq!(
        (&server["storage-options"]["size"], &server["log"]["options"]["max-size"]),
        (&"20g".into(), &"10m".into())
    );
    let pi = show("arch=arm/v6,kernel=6.1.21-v6+,memory=430MB,host=pi-1");
    assert_eq!((&pi["strict"], &pi["log"]["options"]["max-size"]), (&false.into(), &"512k".into()));
    let nas = show("arch=arm64,kernel=3.10.108,memory=2g,host=nas-1,cgroup=v1");
    assert_eq!(
        (&nas["storage"][1], &nas["isolation"][1], &nas["strict"]),
        (&"vfs".into(), &"chroot".into(), &true.into())
    );
    let origins = world.with(
        &[("BERTH_STRICT", "false")],
        &["--config", &config, "config", "show", "--origin", "--on", "kernel=3.10,memory=2g,host=nas-1"],
    );
    let origins = origins.ok().out();
    for line in [
        "strict = false  # BERTH_STRICT".to_owned(),
        format!("isolation = [\"namespace\", \"chroot\"]  # {config}:8 [when.kernel.\"<4.0\"]"),
        format!("# does not hold: [when.host.\"build-*\"] {config}:9"),
        "log-level = \"info\"  # default".to_owned(),
        format!("root = \"{}\"  # BERTH_ROOT", world.root().display()),
    ] {
        assert!(origins.lines().any(|found| found == line), "{line} is missing in\n{origins}");
    }
    world.berth(&["--config", &config, "config", "show", "--on", "colour=red"]).refused(1, &["colour", "arch, kernel"]);
}

#[test]
fn drop_ins_and_the_environment_are_read_and_checked() {
    let world = World::bare(Mode::Embedded);
    let config = world.at("berth.toml");
    std::fs::write(&config, "isolation = 'namespace'\n").unwrap();
    std::fs::create_dir(world.path("berth.toml.d")).unwrap();
    std::fs::write(
        world.path("berth.toml.d/50-site.toml"),
        "[when.rootless.false]\nisolaton = 'chroot'\nlog.drver = 1\n",
    )
    .unwrap();
    let wrong = world.berth(&["--config", &config, "config", "check"]).ended(1).err();
    let lines: Vec<&str> = wrong.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("50-site.toml:2: when.rootless.false.isolaton: "), "{wrong}");
    assert!(lines[0].ends_with("did you mean isolation?") && lines[1].ends_with("did you mean log.driver?"), "{wrong}");
    world.berth(&["--config", &config, "ps"]).refused(1, &["50-site.toml:2", "50-site.toml:3"]);
    let listed = world.berth(&["--config", &config, "config", "check", "--format", "json"]).ended(1).json();
    assert_eq!((&listed[1]["line"], &listed[1]["key"]), (&3.into(), &"when.rootless.false.log.drver".into()));
    std::fs::write(world.path("berth.toml.d/50-site.toml"), "isolation = 'chroot'\n").unwrap();
    let picked = |variables: &[(&str, &str)]| {
        world.with(variables, &["--config", &config, "info", "--format", "{{.DefaultRuntime}}"]).ok().text()
    };
    assert_eq!(picked(&[]), "chroot");
    assert_eq!(picked(&[("BERTH_ISOLATION", "namespace")]), "namespace");
    world.with(&[("BERTH_STRICT", "maybe")], &["ps"]).refused(1, &["BERTH_STRICT", "true or false"]);
    let misspelt = world.with(&[("BERTH_ISOLATON", "chroot")], &["config", "check"]).ended(1).err();
    assert!(misspelt.contains("did you mean BERTH_ISOLATION?"), "{misspelt}");
    world.berth(&["config", "check", "/no/such/file"]).ended(2);
    std::fs::remove_dir_all(world.path("berth.toml.d")).unwrap();
}

#[test]
fn a_daemon_reads_its_configuration_again() {
    let world = World::bare(Mode::Embedded);
    let config = world.at("berth.toml");
    std::fs::write(&config, "isolation = 'namespace'\n").unwrap();
    world.set("BERTH_CONFIG", &config);
    world.start_daemon();
    let isolation = || world.berth(&["info", "--format", "{{.DefaultRuntime}}"]).ok().text();
    assert_eq!(isolation(), "namespace");
    let hang_up = || {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(world.daemon_pid()), nix::sys::signal::Signal::SIGHUP)
            .unwrap()
    };
    std::fs::write(&config, "isolation = 'chroot'\nstorage = 'vfs'\n").unwrap();
    hang_up();
    eventually("the new isolation", LIMIT, || isolation() == "chroot");
    assert_ne!(world.berth(&["info", "--format", "{{.Driver}}"]).ok().text(), "vfs", "that takes a restart");
    std::fs::write(&config, "isolation = 'namespace'\nnonsense = 1\n").unwrap();
    hang_up();
    std::fs::write(&config, "strict = true\nisolation = 'chroot'\n").unwrap();
    hang_up();
    eventually("strict", LIMIT, || world.berth(&["info", "--format", "json"]).ok().json()["Berth"]["Strict"] == true);
    let events =
        world.berth(&["events", "--since", "1h", "--until", "0s", "--format", "{{.Type}} {{.Action}}"]).ok().lines();
    assert!(events.iter().any(|event| event == "daemon reload"), "{events:?}");
}

#[test]
fn serve_has_an_option_for_each_setting() {
    let world = World::bare(Mode::Embedded);
    let (state, run) = (world.at("s"), world.at("r"));
    let mut command = world.command();
    command.env_remove("BERTH_ROOT").args(["serve", "--data-root", &state, "--exec-root", &run]);
    command.args(["--isolation", "chroot", "--strict", "--log-opt", "max-size=1m", "--log-level", "warn"]);
    let daemon = Background::start(command);
    let host = format!("unix://{run}/berth.sock");
    eventually("the daemon listens", LIMIT, || {
        std::os::unix::net::UnixStream::connect(format!("{run}/berth.sock")).is_ok()
    });
    let info = world.berth(&["-H", &host, "info", "--format", "json"]).ok().json();
    assert_eq!((&info["DockerRootDir"], &info["DefaultRuntime"]), (&state.as_str().into(), &"chroot".into()));
    assert_eq!(info["Berth"]["Strict"], true);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let said = daemon.wait(LIMIT);
    assert!(said.code == 0 && !said.err().contains("INFO"), "{said}");
    world.berth(&["serve", "--log-level", "loud"]).refused(1, &["--log-level", "debug, info"]);
}

#[test]
fn answers_of_trials_are_kept_until_they_are_asked_for_again() {
    let world = World::bare(Mode::Embedded);
    let (program, calls) = (world.at("runtime"), world.path("calls"));
    let script = |version: &str| {
        let text = format!("#!/bin/sh\necho >>{}\necho crun version {version}\necho spec: 1.0.0\n", calls.display());
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    };
    let count = || std::fs::read_to_string(&calls).map_or(0, |text| text.lines().count());
    script("1");
    std::fs::write(world.path("berth.toml"), format!("[runtimes.mine]\npath = '{program}'\n")).unwrap();
    let config = world.at("berth.toml");
    let doctor = |arguments: &[&str]| world.berth(&[&["--config", &config, "doctor"], arguments].concat());
    doctor(&[]);
    let first = count();
    assert!(first > 0, "it is asked");
    doctor(&[]);
    assert_eq!(count(), first, "it is remembered");
    let file = world.root().join("run/answers");
    assert!(std::fs::read_to_string(&file).unwrap().contains("runtime "));
    world.with(&[("BERTH_PRETEND_WITHOUT", "clone3")], &["--config", &config, "doctor"]);
    let pretended = count();
    assert!(pretended > first, "nothing is read while something is pretended");
    doctor(&["--refresh"]);
    let refreshed = count();
    assert!(refreshed > pretended, "it is asked again");
    std::fs::write(&file, "noise").unwrap();
    doctor(&[]);
    let rewritten = count();
    assert!(rewritten > refreshed && std::fs::read_to_string(&file).unwrap().contains("runtime "));
    script("2, another one");
    doctor(&[]);
    assert!(count() > rewritten, "another program is in its place");
}

#[test]
fn doctor_names_what_of_the_host_would_change_an_answer() {
    let world = World::bare(Mode::Embedded);
    let report = world.berth(&["doctor", "--format", "json"]).json();
    let all =
        ["storage", "isolation", "packetPaths"].map(|choice| report[choice]["candidates"].as_array().unwrap().clone());
    let absent: Vec<_> = all.concat().into_iter().filter(|one| one["available"] == false).collect();
    // Programs that are there are kept from working by something else.
    let is_missing = |program: &str| crate::support::find_program(program).is_none();
    let needed = |one: &serde_json::Value| match one["name"].as_str().unwrap() {
        "zfs" | "aufs" => true,
        "lxc" => is_missing("lxc-start"),
        "runc" => is_missing("runc"),
        _ => false,
    };
    for one in absent.iter().filter(|one| needed(one)) {
        let lacks = one["lacks"].as_array().cloned().unwrap_or_default();
        assert!(lacks.iter().all(|lack| !lack["remedy"].as_str().unwrap().is_empty()), "{one}");
        assert!(!lacks.is_empty(), "{one}");
    }
}
