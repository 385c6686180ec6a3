//! Files, put on one another.

use std::path::{Path, PathBuf};

use super::document::parse;
use super::*;

/// What is wrong with a text.
fn wrong(text: &str) -> Vec<String> {
    let found = parse(text, Path::new("/etc/berth.toml"));
    found.mistakes.iter().map(Mistake::to_string).collect()
}

fn load(file: &Path, host: &str) -> Result<EngineConfig> {
    let mut facts = Facts::here();
    facts.pretend(host).unwrap();
    let overrides = Overrides { file: Some(file.to_owned()), ..Overrides::default() };
    EngineConfig::gather(&overrides, &OnceCell::from(facts))
}

#[test]
fn every_mistake_names_file_line_and_key() {
    for (text, expected) in [
        (
            "strict = true\n\n[log]\ndrivr = 'none'",
            "/etc/berth.toml:4: log.drivr: there is no such key; did you mean log.driver?",
        ),
        ("isolaton = 'lxc'", "/etc/berth.toml:1: isolaton: there is no such key; did you mean isolation?"),
        (
            "storage-driver = 'vfs'",
            "/etc/berth.toml:1: storage-driver: there is no such key; what Docker's storage-driver is for is storage here",
        ),
        (
            "storage = 3",
            "/etc/berth.toml:1: storage: \"auto\", a name, or a list of names is wanted, and an integer is here",
        ),
        ("\nstorage = 'ovrlay'", "/etc/berth.toml:2: storage: storage driver \"ovrlay\": the known ones are overlay"),
        ("strict = 'yes'", "/etc/berth.toml:1: strict: true or false is wanted, and a string is here"),
        ("root = 'x'", "/etc/berth.toml:1: root: \"x\": an absolute path is wanted"),
        ("log = 'none'", "/etc/berth.toml:1: log: a table is wanted"),
        ("log.driver = 'syslog'", "/etc/berth.toml:1: log.driver: \"syslog\": one of json-file, none is wanted"),
        ("log.options.max-size = 'x'", "/etc/berth.toml:1: log.options.max-size: invalid value for max-size: x"),
        ("log-level = 'loud'", "log-level: \"loud\": one of debug, info, warn, error is wanted"),
        ("listen = ['/run/x']", "listen: \"/run/x\": unix:///PATH, tcp://HOST:PORT or fd:// is wanted"),
        ("storage-options.size = 'much'", "storage-options.size: storage option size=much"),
        ("network.packet-path = 'nftables'", "network.packet-path: \"nftables\": the known ones are auto, nft"),
        ("plugin-folders = ['x']", "plugin-folders: \"x\": a list of absolute paths is wanted"),
        ("runtimes.mine.program = '/x'", "runtimes.mine: program: there is no such key, only path and args"),
        ("runtimes.mine = {}", "runtimes.mine: path is missing"),
        ("runtimes.lxc.path = '/x'", "runtimes.lxc: invalid runtime name \"lxc\": it is reserved"),
        ("[when.arch.arm]\nisolation = 3", "/etc/berth.toml:2: when.arch.arm.isolation: \"auto\", a name"),
        (
            "[when.kernel.\"<4.0\"]\n[when.kernle.\"<4.0\"]\n",
            "/etc/berth.toml:2: when.kernle.\"<4.0\": kernle: there is no such condition; did you mean kernel?",
        ),
        ("when = 3", "when: a condition is wanted, as [when.arch.arm]"),
        ("when.arch = 3", "when.arch: a condition is wanted"),
        ("when.arch.arm = 3", "when.arch.arm: a table of settings is wanted"),
        ("strict = true\nstrict = false", "/etc/berth.toml:2: duplicate key"),
        ("strict = ", "/etc/berth.toml:1: "),
        ("[when.arch.\"arm/7\"]", "there is no such variant; arm has v5, v6, v7, v8"),
        ("[when.arch.\"amd64/v3\"]", "amd64 is not told apart any further"),
    ] {
        let said = wrong(text);
        assert!(said.len() == 1 && said[0].contains(expected), "{text:?}: {said:?}\nwanted: {expected}");
    }
    let all = wrong("a = 1\nstrict = true\nb = 2\n[when.arch.arm]\nc = 3\n");
    assert!(all.len() == 3 && all[2].starts_with("/etc/berth.toml:5: when.arch.arm.c"), "{all:?}");
}

#[test]
fn base_profiles_in_order_drop_ins_by_name_each_over_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berth.toml");
    std::fs::write(
        &file,
        "isolation = 'namespace'\nlog.options.max-size = '10m'\n\
         [when.memory.\"<=512MB\"]\nlog.options.max-size = '1m'\nstorage-options.size = '1g'\n\
         [when.arch.arm]\nisolation = ['chroot']\nlog.options.max-size = '2m'\n\
         [when.arch.arm.when.kernel.\"<4\"]\nstrict = true\n",
    )
    .unwrap();
    let drop_ins = folder.path().join("berth.toml.d");
    std::fs::create_dir(&drop_ins).unwrap();
    for (name, text) in [
        ("20-b.toml", "log.options.max-file = 5\n"),
        ("10-a.toml", "log.options.max-file = 3\n[when.cgroup.none]\nisolation = 'chroot,namespace'"),
        (".hidden.toml", "nonsense"),
        ("notes", "nonsense"),
    ] {
        std::fs::write(drop_ins.join(name), text).unwrap();
    }
    assert_eq!(load(&file, "cgroup=none").unwrap().isolation.as_deref(), Some("chroot,namespace"));
    let server = load(&file, "arch=amd64,memory=16g,kernel=6.1,cgroup=v2").unwrap();
    assert_eq!(server.isolation.as_deref(), Some("namespace"));
    assert_eq!(
        server.log_options,
        BTreeMap::from([("max-file", "5"), ("max-size", "10m")].map(|(a, b)| (a.into(), b.into())))
    );
    assert!(!server.strict && server.storage_options.is_empty());
    let pi = load(&file, "arch=arm/v6,memory=400MB,kernel=6.1,cgroup=v2").unwrap();
    assert_eq!((pi.isolation.as_deref(), pi.log_options["max-size"].as_str()), (Some("chroot"), "2m"));
    assert!(!pi.strict && pi.storage_options["size"] == "1g");
    assert!(load(&file, "arch=arm/v5,memory=4g,kernel=3.10").unwrap().strict, "both conditions hold");
}

#[test]
fn what_is_shown_says_the_same_when_it_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berth.toml");
    let text = "isolation = ['mine', 'namespace']\nlog.options.tag = \"a \\\"b\\\" \\u00e9 \\u007f\"\n\
                [runtimes.mine]\npath = '/opt/m'\nargs = ['--x']\n[runtimes.\"a b\"]\npath = 'crun'\n";
    std::fs::write(&file, text).unwrap();
    let overrides = Overrides { file: Some(file.clone()), ..Overrides::default() };
    let first = show(&overrides, None).unwrap();
    assert!(first.text(true).contains(&format!("# {}:1\n", file.display())), "{}", first.text(true));
    std::fs::write(&file, first.text(true)).unwrap();
    assert_eq!(show(&overrides, None).unwrap().text(false), first.text(false));
    assert_eq!(first.json(false)["runtimes"]["a b"]["path"], "crun");
    assert_eq!(first.json(false)["isolation"], serde_json::json!(["mine", "namespace"]));
}

#[test]
fn a_profiles_own_runtimes_may_be_named_and_unknown_backends_are_mistakes_of_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berth.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        check(&Overrides::default(), Some(&file)).unwrap().0.iter().map(Mistake::to_string).collect::<Vec<_>>()
    };
    assert!(check("[when.arch.arm]\nisolation = 'mine'\nruntimes.mine.path = '/opt/m'\n").is_empty());
    let said = check("\n[when.arch.arm]\nisolation = 'magic'\n");
    assert!(said[0].contains("berth.toml:3: when.arch.arm.isolation: invalid isolation backend \"magic\""), "{said:?}");
}

#[test]
fn options_that_do_not_agree_are_a_mistake_and_none_has_no_options() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berth.toml");
    std::fs::write(&file, "log.options.max-file = 3\n").unwrap();
    let said = load(&file, "").unwrap_err().to_string();
    assert!(said.contains("berth.toml:1: log.options: max-file cannot be set"), "{said}");
    std::fs::write(&file, "log.options.max-file = 3\nlog.driver = 'none'\n").unwrap();
    assert!(load(&file, "").unwrap().log_options.is_empty());
    // By itself, each profile with what is around it; a drop-in is nothing by itself.
    let drop_in = folder.path().join("berth.toml.d/10-more.toml");
    std::fs::create_dir(drop_in.parent().unwrap()).unwrap();
    let text = "log.options.compress = false\n[when.arch.arm]\nlog.options.max-size = '1m'\n\
                [when.arch.arm.when.rootless.true]\nlog.options.max-file = 2\n[when.cgroup.v1]\nlog.options.max-file = 2\n";
    for (file, expected) in [(&file, 1), (&drop_in, 0)] {
        std::fs::write(file, text).unwrap();
        let (found, _) = check(&Overrides::default(), Some(file)).unwrap();
        assert_eq!(found.len(), expected, "{found:?}");
        assert!(found.iter().all(|mistake| mistake.line == 7), "{found:?}");
    }
}

#[test]
fn a_running_engine_takes_what_it_can_and_names_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("berth.toml");
    std::fs::write(&file, "root = '/a'\nstorage-options.size = '1g'\n").unwrap();
    let old = load(&file, "").unwrap();
    std::fs::write(
        &file,
        "root = '/b'\nstrict = true\nstorage-options.size = '2g'\nstorage-options.\"lvm.pool\" = 'a/b'\n",
    )
    .unwrap();
    let (new, kept) = old.renewed(&load(&file, "").unwrap()).unwrap();
    assert_eq!(kept, ["root", "storage-options.lvm.pool"]);
    assert_eq!(new.paths.state, PathBuf::from("/a"));
    assert!(new.strict && new.storage_options == BTreeMap::from([("size".to_owned(), "2g".to_owned())]));
    assert!(new.renewed(&new).unwrap().1.is_empty());
}
