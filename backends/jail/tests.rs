//! What becomes of a specification: parameters, mounts, limits, and what is refused. Nothing of FreeBSD is needed for it.

use berth_arch::mount::Mount;
use oci_spec::runtime::Spec;
use serde_json::{Value as Json, json};

use super::limits::{self, Limits, Rule};
use super::mounts::{DEVICES, RDONLY};
use super::network::Network;
use super::parameters::{Share, Value, jail_name};
use super::plan::Plan;
use super::program::Limit;
use crate::{Bundle, ContainerId, Error, Lent, Standalone};

/// A specification as of a container of FreeBSD's, with `changes` merged into it.
fn spec(changes: Json) -> Json {
    let mut spec = json!({
        "ociVersion": "1.2.0",
        "root": { "path": "/root" },
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["sh"], "env": ["PATH=/bin"], "cwd": "/" },
    });
    merge(&mut spec, changes);
    spec
}

/// As Docker's command line makes it: with Linux's namespaces and defaults.
fn linux(changes: Json) -> Json {
    let mut with = spec(json!({
        "hostname": "box",
        "linux": { "namespaces": [
            { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }, { "type": "network" },
        ]},
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts" },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["size=64m"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue" },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup" },
        ],
    }));
    merge(&mut with, changes);
    with
}

fn merge(into: &mut Json, from: Json) {
    match (into, from) {
        (Json::Object(into), Json::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Json::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

fn bundle(spec: Json) -> Bundle {
    let spec: Spec = serde_json::from_value(spec).unwrap();
    Bundle { mount_point: "/run/box".into(), rootfs: Vec::new(), lent: Lent::default(), spec, standalone: None }
}

fn plan_of(bundle: &Bundle) -> Result<(Plan, Vec<String>), Error> {
    let id: ContainerId = "web.1".parse().unwrap();
    let mut warnings = Vec::new();
    Plan::new(&id, bundle, &mut warnings).map(|plan| (plan, warnings))
}

#[track_caller]
fn plan(spec: Json) -> Plan {
    plan_of(&bundle(spec)).unwrap().0
}

/// The refusal, which has to name the option, the backend and a remedy.
#[track_caller]
fn refused(spec: Json, option: &str) -> String {
    let error = plan_of(&bundle(spec)).expect_err("it is refused");
    let said = error.to_string();
    assert!(matches!(error, Error::Unavailable(_)), "{error:?}");
    assert!(said.contains("the jail backend") && said.contains(option) && said.contains(';'), "{said}");
    said
}

#[track_caller]
fn invalid(spec: Json, what: &str) {
    let error = plan_of(&bundle(spec)).expect_err("it is invalid");
    assert!(matches!(&error, Error::InvalidArgument(said) if said.contains(what)), "{error:?}");
}

fn has(plan: &Plan, word: &str) -> bool {
    plan.parameters.get(word) == Some(&Value::Set)
}

#[test]
fn a_jail_has_its_name_its_root_and_stays_until_it_is_deleted() {
    let plan = plan(spec(json!({})));
    assert_eq!(plan.parameters.get("name"), Some(&Value::Text("berth-web%1".into())));
    assert_eq!(plan.parameters.get("path"), Some(&Value::Text("/run/box".into())));
    assert!(has(&plan, "persist"));
    assert_eq!(plan.parameters.get("children.max"), Some(&Value::Number(0)));
    assert_eq!(plan.parameters.get("enforce_statfs"), Some(&Value::Number(2)));
    assert!(has(&plan, "allow.noset_hostname"));
}

#[test]
fn different_containers_have_different_names_that_rules_can_hold() {
    let names = ["a.b", "a-b", "a_b", "ab", "12"].map(jail_name);
    for (index, name) in names.iter().enumerate() {
        assert!(!name.contains(['.', ':', '/', '=']), "{name}");
        assert!(!names[..index].contains(name) && name.parse::<u32>().is_err(), "{name}");
    }
}

#[test]
fn a_host_name_makes_the_jails_own() {
    let named = plan(spec(json!({ "hostname": "box", "domainname": "example.org" })));
    assert_eq!(named.parameters.get("host"), Some(&Value::Share(Share::New)));
    assert_eq!(named.parameters.get("host.hostname"), Some(&Value::Text("box".into())));
    assert_eq!(named.parameters.get("host.domainname"), Some(&Value::Text("example.org".into())));
    let unnamed = plan(spec(json!({})));
    assert_eq!(unnamed.parameters.get("host"), Some(&Value::Share(Share::Inherit)));
    assert_eq!(unnamed.parameters.get("host.hostname"), None);
}

#[test]
fn a_host_name_without_a_uts_namespace_is_invalid() {
    invalid(linux(json!({ "linux": { "namespaces": [{ "type": "pid" }] } })), "host name");
}

#[test]
fn without_a_word_about_networks_a_jail_has_the_hosts() {
    let plan = plan(spec(json!({})));
    assert_eq!(plan.network, Network::Inherit);
    assert_eq!(plan.parameters.get("ip4"), Some(&Value::Share(Share::Inherit)));
    assert_eq!(plan.parameters.get("ip6"), Some(&Value::Share(Share::Inherit)));
    assert_eq!(plan.parameters.get("vnet"), None);
}

#[test]
fn a_network_namespace_is_a_vnet() {
    let plan = plan(linux(json!({})));
    assert_eq!(plan.network, Network::Own { interfaces: vec![], pair: None });
    assert_eq!(plan.parameters.get("vnet"), Some(&Value::Share(Share::New)));
    assert_eq!(plan.parameters.get("ip4"), None);
}

#[test]
fn addresses_are_shared_by_name_and_the_other_family_is_off() {
    let plan = plan(spec(json!({ "annotations": { "org.freebsd.jail.ip4.addr": "10.0.0.2, 10.0.0.3" } })));
    let wanted = vec!["10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap()];
    assert_eq!(plan.parameters.get("ip4.addr"), Some(&Value::Addresses4(wanted)));
    assert_eq!(plan.parameters.get("ip6"), Some(&Value::Share(Share::Disable)));
    let six = json!({ "annotations": { "org.freebsd.jail.ip6.addr": "fd00::2" } });
    assert_eq!(self::plan(spec(six)).parameters.get("ip4"), Some(&Value::Share(Share::Disable)));
}

#[test]
fn a_pair_joins_a_bridge() {
    let annotations = json!({
        "org.freebsd.jail.vnet": "new", "org.freebsd.jail.vnet.bridge": "bridge0",
        "org.freebsd.jail.vnet.address": "10.0.0.2/24", "org.freebsd.jail.vnet.gateway": "10.0.0.1",
    });
    let Network::Own { pair: Some(pair), .. } = plan(spec(json!({ "annotations": annotations }))).network else {
        panic!("no pair")
    };
    assert_eq!((pair.bridge.as_str(), pair.address.as_deref()), ("bridge0", Some("10.0.0.2/24")));
    assert_eq!(pair.gateway.as_deref(), Some("10.0.0.1"));
}

#[test]
fn networks_that_mean_nothing_are_invalid() {
    for (name, value) in [
        ("vnet", "maybe"),
        ("ip4.addr", "10.0.0.256"),
        ("ip6.addr", "10.0.0.1"),
        ("vnet.interface", "em0"),
        ("vnet.address", "10.0.0.2/24"),
    ] {
        let annotations = json!({ format!("org.freebsd.jail.{name}"): value });
        invalid(spec(json!({ "annotations": annotations })), "org.freebsd.jail");
    }
    for (name, value) in [("vnet.interface", "-em0"), ("vnet.bridge", "a b"), ("ip4.addr", "10.0.0.1")] {
        let annotations = json!({ "org.freebsd.jail.vnet": "new", format!("org.freebsd.jail.{name}"): value });
        invalid(spec(json!({ "annotations": annotations })), "org.freebsd.jail");
    }
    let annotations = json!({
        "org.freebsd.jail.vnet": "new", "org.freebsd.jail.vnet.bridge": "bridge0", "org.freebsd.jail.vnet.address": "10.0.0.2",
    });
    invalid(spec(json!({ "annotations": annotations })), "vnet.address");
}

#[test]
fn shared_memory_is_the_jails_own_unless_the_hosts_is_asked_for() {
    for kind in ["sysvmsg", "sysvsem", "sysvshm"] {
        assert_eq!(plan(linux(json!({}))).parameters.get(kind), Some(&Value::Share(Share::New)));
        assert_eq!(plan(spec(json!({}))).parameters.get(kind), Some(&Value::Share(Share::New)));
        let host = json!({ "hostname": "", "linux": { "namespaces": [{ "type": "pid" }] } });
        assert_eq!(plan(linux(host)).parameters.get(kind), Some(&Value::Share(Share::Inherit)));
    }
}

#[test]
fn annotations_set_what_jails_have_besides() {
    let annotations = json!({
        "org.freebsd.jail.securelevel": "2", "org.freebsd.jail.children.max": "3",
        "org.freebsd.jail.enforce_statfs": "1", "org.freebsd.jail.devfs_ruleset": "5",
        "org.freebsd.jail.allow": "mount.nullfs, quotas",
    });
    let plan = plan(linux(json!({ "annotations": annotations })));
    assert_eq!(plan.parameters.get("securelevel"), Some(&Value::Number(2)));
    assert_eq!(plan.parameters.get("children.max"), Some(&Value::Number(3)));
    assert_eq!(plan.parameters.get("enforce_statfs"), Some(&Value::Number(1)));
    assert_eq!(plan.parameters.get("devfs_ruleset"), Some(&Value::Number(5)));
    assert!(has(&plan, "allow.mount.nullfs") && has(&plan, "allow.quotas"));
    let devfs = plan.mounts.inside.iter().find(|mount| mount.kind == "devfs").unwrap();
    assert_eq!(devfs.options, [("ruleset", "5".to_owned())]);
}

#[test]
fn annotations_out_of_range_are_invalid() {
    for (name, value) in
        [("securelevel", "4"), ("enforce_statfs", "0"), ("devfs_ruleset", "0"), ("children.max", "x"), ("allow", "a=b")]
    {
        let annotations = json!({ format!("org.freebsd.jail.{name}"): value });
        invalid(spec(json!({ "annotations": annotations })), name);
    }
}

#[test]
fn the_root_is_shown_by_nullfs_and_may_be_read_only() {
    let plain = plan(spec(json!({})));
    assert_eq!((plain.mounts.root[0].kind, plain.mounts.root[0].source.to_str()), ("nullfs", Some("/root")));
    assert!(!plain.mounts.root_is_read_only());
    let protected = plan(spec(json!({ "root": { "readonly": true } })));
    assert!(protected.mounts.read_only && protected.mounts.root_is_read_only());
}

/// As vfs and zfs return them.
#[test]
fn a_storage_drivers_mounts_become_freebsds() {
    let mount = |fstype: &str, source: &str, options: &[&str]| Mount {
        fstype: fstype.into(),
        source: source.into(),
        target: "/".into(),
        options: options.iter().map(|&word| word.to_owned()).collect(),
        base: Some("/state".into()),
    };
    let of = |rootfs| plan_of(&Bundle { rootfs, ..bundle(spec(json!({}))) }).map(|(plan, _)| plan.mounts);
    let vfs = of(vec![mount("bind", "vfs/a/d", &["ro"])]).unwrap();
    assert_eq!((vfs.root[0].kind, vfs.root[0].source.to_str()), ("nullfs", Some("/state/vfs/a/d")));
    assert!(vfs.root_is_read_only());
    let zfs = of(vec![mount("zfs", "tank/a", &[]), mount("bind", "tank/a", &["remount", "bind", "ro"])]).unwrap();
    assert_eq!(zfs.root.len(), 1);
    assert_eq!((zfs.root[0].kind, zfs.root[0].source.to_str(), zfs.root[0].flags), ("zfs", Some("tank/a"), RDONLY));
    let overlay = of(vec![mount("overlay", "overlay", &["lowerdir=a"])]).unwrap_err().to_string();
    assert!(
        overlay.contains("the jail backend") && overlay.contains("overlay") && overlay.contains("vfs"),
        "{overlay}"
    );
}

#[test]
fn linuxs_usual_mounts_have_their_counterparts() {
    let mounts = plan(linux(json!({}))).mounts.inside;
    let kinds: Vec<_> = mounts.iter().map(|mount| (mount.kind, mount.target.to_str().unwrap())).collect();
    assert_eq!(kinds, [("linprocfs", "proc"), ("devfs", "dev"), ("linsysfs", "sys")]);
    assert_eq!(mounts[1].options, [("ruleset", "25189".to_owned())]);
    assert_eq!(mounts[2].flags, RDONLY);
}

#[test]
fn freebsds_own_mounts_are_taken_as_they_are() {
    let mounts = json!([
        { "destination": "/dev", "type": "devfs", "source": "devfs", "options": ["ro"] },
        { "destination": "/dev/fd", "type": "fdescfs", "source": "fdescfs", "options": ["linrdlnk"] },
        { "destination": "/proc", "type": "procfs", "source": "proc" },
    ]);
    let mounts = plan(spec(json!({ "mounts": mounts }))).mounts.inside;
    assert_eq!(mounts.iter().map(|mount| mount.kind).collect::<Vec<_>>(), ["devfs", "fdescfs", "procfs"]);
    // A devfs that is read-only would keep programs from writing to devices' attributes, not to devices.
    assert_eq!(mounts[0].flags, 0);
    assert_eq!(mounts[1].options, [("linrdlnk", String::new())]);
}

#[test]
fn binds_are_nullfs_with_their_flags() {
    let bind = json!([{
        "destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "ro", "nosuid", "noexec", "rprivate", "nodev"],
    }]);
    let mount = &plan(spec(json!({ "mounts": bind }))).mounts.inside[0];
    assert_eq!((mount.kind, mount.source.to_str(), mount.target.to_str()), ("nullfs", Some("/srv"), Some("data")));
    assert_eq!(mount.flags, 0x1 | 0x4 | 0x8);
    let again = json!([{ "destination": "/d", "type": "bind", "source": "/srv", "options": ["bind", "ro,rw"] }]);
    assert_eq!(plan(spec(json!({ "mounts": again }))).mounts.inside[0].flags, 0);
}

#[test]
fn tmpfs_sizes_are_bytes() {
    let of = |options: Json| {
        let tmpfs = json!([{ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options }]);
        plan_of(&bundle(spec(json!({ "mounts": tmpfs })))).map(|(plan, _)| plan.mounts.inside[0].options.clone())
    };
    let found = of(json!(["size=64m", "mode=1777", "nr_inodes=1k", "uid=7"])).unwrap();
    let wanted = [("size", "67108864"), ("mode", "1777"), ("inodes", "1024"), ("uid", "7")];
    assert_eq!(found, wanted.map(|(name, value)| (name, value.to_owned())));
    assert!(of(json!(["size=50%"])).unwrap_err().to_string().contains("size=50%"));
    assert!(of(json!(["size=99999999999999999g"])).is_err());
    assert!(of(json!(["huge=always"])).unwrap_err().to_string().contains("the jail backend"));
}

#[test]
fn mounts_that_freebsd_cannot_make_are_refused() {
    let of = |mount: Json| spec(json!({ "mounts": [mount] }));
    refused(of(json!({ "destination": "/x", "type": "bpf", "source": "bpf" })), "bpf");
    refused(of(json!({ "destination": "/x", "type": "bind", "source": "/s", "options": ["rshared"] })), "shared");
    refused(of(json!({ "destination": "/x", "type": "bind", "source": "/s", "options": ["idmap"] })), "mapped users");
    let part = format!("{}a/b", crate::SUBPATH);
    refused(of(json!({ "destination": "/x", "type": "bind", "source": "/s", "options": [part] })), "volume-subpath");
    invalid(of(json!({ "destination": "/x", "type": "bind", "source": "s" })), "not absolute");
    invalid(of(json!({ "destination": "/a/../../x", "type": "tmpfs" })), "leads up");
    invalid(of(json!({ "destination": "/", "type": "tmpfs" })), "the root");
}

#[test]
fn masked_and_protected_paths_are_covered_where_they_are() {
    let paths = json!({ "maskedPaths": ["/proc/scsi"], "readonlyPaths": ["/proc/sys"] });
    let mounts = plan(linux(json!({ "linux": paths }))).mounts.inside;
    let [mask, cover] = &mounts[mounts.len() - 2..] else { panic!() };
    assert_eq!(
        (mask.kind, mask.target.to_str(), mask.flags, mask.if_present),
        ("tmpfs", Some("proc/scsi"), RDONLY, true)
    );
    assert_eq!(
        (cover.kind, cover.target.to_str(), cover.flags, cover.if_present),
        ("nullfs", Some("proc/sys"), RDONLY, true)
    );
}

#[test]
fn devices_are_shown_by_name() {
    let device =
        |path: &str| json!({ "linux": { "devices": [{ "path": path, "type": "c", "major": 10, "minor": 229 }] } });
    let mounts = plan(linux(device("/dev/fuse"))).mounts.inside;
    assert_eq!(mounts.iter().find(|mount| mount.kind == "devfs").unwrap().devices, ["fuse"]);
    let usual = plan(linux(device("/dev/null"))).mounts.inside;
    assert!(usual.iter().all(|mount| mount.devices.is_empty()) && DEVICES.contains(&"null"));
    for path in ["/srv/disk", "/dev/*", "/dev/../mem", "/dev/"] {
        refused(linux(device(path)), "--device");
    }
    let mut nowhere = device("/dev/fuse");
    merge(&mut nowhere, json!({ "mounts": [] }));
    refused(linux(nowhere), "/dev/fuse");
}

#[test]
fn half_an_access_to_a_device_is_refused() {
    let rule = |access: &str| {
        let rules =
            json!([{ "allow": false, "access": "rwm" }, { "allow": true, "major": 1, "minor": 3, "access": access }]);
        linux(json!({ "linux": { "resources": { "devices": rules } } }))
    };
    refused(rule("r"), "the access \"r\"");
    plan(rule("rw"));
    plan(rule("rwm"));
    let owned = json!({ "path": "/dev/fuse", "type": "c", "major": 1, "minor": 1, "fileMode": 0o600 });
    refused(linux(json!({ "linux": { "devices": [owned] } })), "mode of --device");
}

#[test]
fn limits_are_rules() {
    let resources = json!({
        "memory": { "limit": 1 << 20, "swap": 2 << 20 }, "cpu": { "quota": 150_000, "period": 100_000, "cpus": "0-2,5" },
        "pids": { "limit": 50 },
        "blockIO": { "throttleReadBpsDevice": [
            { "major": 8, "minor": 0, "rate": 4096 }, { "major": 8, "minor": 16, "rate": 1024 },
        ]},
    });
    let plan = plan(linux(json!({ "linux": { "resources": resources } })));
    let text: Vec<_> = plan.limits.rules.iter().map(|rule| limits::rule(&plan.name, rule)).collect();
    assert_eq!(
        text,
        [
            "jail:berth-web%1:memoryuse:deny=1048576",
            "jail:berth-web%1:swapuse:deny=2097152",
            "jail:berth-web%1:pcpu:deny=150",
            "jail:berth-web%1:maxproc:deny=50",
            "jail:berth-web%1:readbps:throttle=1024",
        ]
    );
    assert_eq!(plan.limits.cpus, Some(vec![0, 1, 2, 5]));
    assert_eq!(limits::subject(&plan.name), "jail:berth-web%1:");
}

#[test]
fn no_limit_is_no_rule() {
    let resources = json!({ "memory": { "limit": -1, "swap": -1 }, "pids": { "limit": 0 }, "cpu": { "quota": -1 } });
    let plan = plan(linux(json!({ "linux": { "resources": resources } })));
    assert_eq!(plan.limits, Limits::default());
}

#[test]
fn limits_without_a_counterpart_are_said() {
    let resources = json!({
        "memory": { "reservation": 1 << 20, "swappiness": 5, "disableOOMKiller": true },
        "cpu": { "shares": 512, "mems": "0", "realtimeRuntime": 1 }, "blockIO": { "weight": 100 },
        "unified": { "memory.high": "1" },
    });
    let (plan, warnings) = plan_of(&bundle(linux(json!({ "linux": { "resources": resources } })))).unwrap();
    assert_eq!((plan.limits.rules.len(), warnings.len()), (0, 8), "{warnings:?}");
    assert!(warnings.iter().all(|said| said.contains("the jail backend") && said.contains("discarded")));
}

#[test]
fn processors_that_are_none_are_invalid() {
    for cpus in ["x", "3-1", "0-4096", "1,,2"] {
        invalid(linux(json!({ "linux": { "resources": { "cpu": { "cpus": cpus } } } })), "processors");
    }
}

#[test]
fn what_is_used_is_read_as_racct_tells_it() {
    let rules = [Rule { resource: "memoryuse", action: "deny", amount: 99 }];
    let sample = limits::sample("cputime=3,memoryuse=4096,maxproc=2,pcpu=0,odd,x=y\0", &rules);
    assert_eq!((sample.cpu_total, sample.memory_usage, sample.pids_current), (3_000_000_000, 4096, 2));
    assert_eq!((sample.memory_limit, sample.pids_limit), (Some(99), None));
}

#[test]
fn linuxs_ways_to_restrict_are_refused_and_not_left_out() {
    let seccomp = json!({ "linux": { "seccomp": { "defaultAction": "SCMP_ACT_ERRNO" } } });
    assert!(refused(linux(seccomp), "seccomp").contains("seccomp=unconfined"));
    refused(linux(json!({ "process": { "apparmorProfile": "docker-default" } })), "AppArmor");
    refused(linux(json!({ "process": { "selinuxLabel": "a:b:c" } })), "SELinux");
    refused(linux(json!({ "process": { "oomScoreAdj": 500 } })), "--oom-score-adj");
    refused(linux(json!({ "linux": { "sysctl": { "net.ipv4.ip_forward": "1" } } })), "--sysctl net.ipv4.ip_forward");
    refused(linux(json!({ "linux": { "rootfsPropagation": "shared" } })), "shared mounts");
    refused(linux(json!({ "linux": { "intelRdt": { "closID": "x" } } })), "intelRdt");
    refused(linux(json!({ "linux": { "personality": { "domain": "LINUX32" } } })), "personality");
    plan(linux(json!({ "process": { "apparmorProfile": "unconfined", "oomScoreAdj": 0 } })));
}

#[test]
fn namespaces_that_a_jail_is_not_are_refused() {
    let with = |namespaces: Json| linux(json!({ "hostname": "", "linux": { "namespaces": namespaces } }));
    refused(with(json!([{ "type": "mount" }])), "--pid host");
    refused(with(json!([{ "type": "pid" }, { "type": "user" }])), "--userns");
    refused(with(json!([{ "type": "pid" }, { "type": "time" }])), "time namespaces");
    let joined = json!([{ "type": "pid" }, { "type": "network", "path": "/proc/1/ns/net" }]);
    refused(with(joined), "the network namespace of another container");
    let mapping = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }]);
    refused(linux(json!({ "linux": { "uidMappings": mapping } })), "--userns");
}

#[test]
fn hooks_and_containers_without_their_creator_are_refused() {
    refused(spec(json!({ "hooks": { "poststop": [{ "path": "/bin/true" }] } })), "hooks");
    let standalone = Standalone {
        folder: "/bundle".into(),
        gate: "/gate".into(),
        preserved: Lent::default(),
        keep_keyring: false,
        no_pivot: false,
    };
    let bundle = Bundle { standalone: Some(standalone), ..bundle(spec(json!({}))) };
    let said = plan_of(&bundle).unwrap_err().to_string();
    assert!(said.contains("the jail backend") && said.contains("outlive"), "{said}");
}

const DOCKERS: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

fn with_capabilities(capabilities: &[&str], process: Json) -> Json {
    let mut changes = json!({ "process": { "capabilities": { "bounding": capabilities } } });
    merge(&mut changes, json!({ "process": process }));
    linux(changes)
}

#[test]
fn dockers_usual_capabilities_are_a_jails_root() {
    let (plan, warnings) = plan_of(&bundle(with_capabilities(DOCKERS, json!({})))).unwrap();
    assert!(has(&plan, "allow.raw_sockets") && has(&plan, "allow.reserved_ports"));
    assert!(has(&plan, "allow.nochflags") && has(&plan, "allow.nomlock") && has(&plan, "allow.noread_msgbuf"));
    assert!(warnings.len() == 1 && warnings[0].contains("CAP_NET_ADMIN"), "{warnings:?}");
}

#[test]
fn a_capability_with_a_word_of_its_own_is_given_and_taken() {
    let more = [DOCKERS, &["CAP_IPC_LOCK", "CAP_LINUX_IMMUTABLE", "CAP_NET_ADMIN"]].concat();
    let (plan, warnings) = plan_of(&bundle(with_capabilities(&more, json!({})))).unwrap();
    assert!(has(&plan, "allow.mlock") && has(&plan, "allow.chflags") && warnings.is_empty());
    let fewer: Vec<_> = DOCKERS.iter().copied().filter(|name| *name != "CAP_NET_RAW").collect();
    assert!(has(&self::plan(with_capabilities(&fewer, json!({}))), "allow.noraw_sockets"));
}

#[test]
fn what_root_in_a_jail_never_has_is_not_promised() {
    for name in ["CAP_SYS_MODULE", "CAP_SYS_ADMIN", "CAP_SYS_RAWIO", "CAP_BPF"] {
        refused(with_capabilities(&[DOCKERS, &[name]].concat(), json!({})), name);
    }
    let mut shared = with_capabilities(&[DOCKERS, &["CAP_NET_ADMIN"]].concat(), json!({}));
    merge(&mut shared, json!({ "hostname": "", "linux": { "namespaces": [{ "type": "pid" }] } }));
    refused(shared, "CAP_NET_ADMIN");
}

#[test]
fn root_keeps_what_a_jail_cannot_take() {
    let said = refused(with_capabilities(&[], json!({})), "--cap-drop");
    assert!(said.contains("CAP_CHOWN") && said.contains("--user"), "{said}");
    let user = json!({ "user": { "uid": 1000, "gid": 1000 } });
    assert!(refused(with_capabilities(&[], user.clone()), "--cap-drop").contains("no-new-privileges"));
    let mut kept = json!({ "noNewPrivileges": true });
    merge(&mut kept, user);
    assert!(plan(with_capabilities(&[], kept)).program.no_new_privileges);
}

#[test]
fn users_groups_and_limits_are_the_programs() {
    let process = json!({
        "user": { "uid": 7, "gid": 8, "umask": 0o77, "additionalGids": [9, 8, 10] }, "cwd": "/srv",
        "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 10, "hard": 20 }, { "type": "RLIMIT_AS", "soft": 1, "hard": u64::MAX }],
    });
    let program = plan(spec(json!({ "process": process }))).program;
    assert_eq!((program.user, program.groups.as_slice(), program.umask), (7, &[8, 9, 10][..], 0o77));
    assert_eq!(program.directory, c"/srv".to_owned());
    let limits = [Limit { resource: 8, soft: 10, hard: 20 }, Limit { resource: 10, soft: 1, hard: u64::MAX }];
    assert_eq!(program.limits, limits);
    assert_eq!(program.candidates, [c"/bin/sh".to_owned()]);
    assert_eq!((program.name.as_str(), &program.arguments[..]), ("sh", &[c"sh".to_owned()][..]));
    assert_eq!(program.environment, [c"PATH=/bin".to_owned()]);
    let linuxs = json!({ "process": { "rlimits": [{ "type": "RLIMIT_NICE", "soft": 1, "hard": 1 }] } });
    refused(spec(linuxs), "--ulimit");
}

#[test]
fn a_specification_without_a_program_is_invalid() {
    invalid(spec(json!({ "process": { "args": [] } })), "no program");
    let mut nothing = spec(json!({}));
    nothing.as_object_mut().unwrap().remove("process");
    invalid(nothing, "no process");
    invalid(spec(json!({ "process": { "args": ["a\u{0}b"] } })), "NUL");
}
