//! The root: mounts, devices, links, masks, and images that lay traps.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use berth_backends::Error;
use serde_json::{Value, json};

use crate::Test;
use crate::kit::{self, Place};

pub(crate) const TESTS: &[Test] = &[
    ("the_root_has_what_docker_gives", the_root_has_what_docker_gives),
    ("masked_and_read_only_paths_are_so", masked_and_read_only_paths_are_so),
    ("a_read_only_root_is_read_only_and_its_mounts_are_not", a_read_only_root_is_read_only_and_its_mounts_are_not),
    ("bind_mounts_of_files_and_folders", bind_mounts_of_files_and_folders),
    ("a_tmpfs_may_start_with_the_roots_files", a_tmpfs_may_start_with_the_roots_files),
    ("owners_of_a_bind_mount_are_mapped", owners_of_a_bind_mount_are_mapped),
    ("links_at_mount_targets_stay_inside", links_at_mount_targets_stay_inside),
    ("a_link_at_proc_is_refused", a_link_at_proc_is_refused),
    ("a_mount_into_proc_by_a_link_is_refused", a_mount_into_proc_by_a_link_is_refused),
    ("nothing_is_mounted_on_the_host", nothing_is_mounted_on_the_host),
    (
        "shared_propagation_reaches_the_host_and_the_root_does_not",
        shared_propagation_reaches_the_host_and_the_root_does_not,
    ),
    ("an_overlay_is_a_root", an_overlay_is_a_root),
    ("the_host_is_out_of_reach", the_host_is_out_of_reach),
];

fn with_mount(mut value: Value, mount: Value) -> Value {
    value["mounts"].as_array_mut().unwrap().push(mount);
    value
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}

fn the_root_has_what_docker_gives() {
    let place = Place::new();
    let script =
        "ls -l /dev | grep -v total | while read m l o g s r; do echo $m $o $g $r; done; cat /proc/mounts; hostname";
    let outcome = kit::script(&place, kit::spec_value(&place, &[]), script);
    assert_eq!(outcome.errors, "");
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let line = outcome.output.lines().find(|line| line.ends_with(&format!(" {name}"))).unwrap_or_default();
        // Where nodes cannot be made, they are the host's, which nobody inside owns.
        let bound = berth_arch::host::User::detect().in_user_namespace && line.starts_with("crw-rw-rw- 65534 65534");
        assert!(bound || line.starts_with("crw-rw-rw- 0 0"), "{name}: {}", outcome.output);
    }
    for link in ["fd -> /proc/self/fd", "stdin -> /proc/self/fd/0", "ptmx -> pts/ptmx"] {
        assert!(outcome.output.contains(link), "{link}: {}", outcome.output);
    }
    for mount in
        ["proc /proc proc rw,nosuid", "devpts /dev/pts devpts", "shm /dev/shm tmpfs", "mqueue /dev/mqueue mqueue"]
    {
        assert!(outcome.output.contains(mount), "{mount}: {}", outcome.output);
    }
    assert!(outcome.output.contains("sysfs /sys sysfs ro,"), "{}", outcome.output);
    if kit::selected().1.uts {
        assert!(outcome.output.ends_with("berthed\n"), "{}", outcome.output);
    }
}

fn masked_and_read_only_paths_are_so() {
    let place = Place::new();
    let script = "cat /proc/kcore | wc -c; cat /proc/timer_list | wc -c; ls /sys/firmware | wc -l; \
                  echo x > /proc/sys/kernel/hostname || echo refused; test -w /proc/sysrq-trigger && echo x > /proc/sysrq-trigger || true; \
                  grep -c '/proc/sys proc ro' /proc/mounts";
    let outcome = kit::script(&place, kit::spec_value(&place, &[]), script);
    assert_eq!(outcome.output, "0\n0\n0\nrefused\n1\n", "{}", outcome.errors);
}

fn a_read_only_root_is_read_only_and_its_mounts_are_not() {
    let place = Place::new();
    let mut value = kit::spec_value(&place, &[]);
    value["root"]["readonly"] = json!(true);
    let outcome = kit::script(&place, value, "touch /x || echo refused; touch /dev/shm/x && echo fine");
    assert_eq!(outcome.output, "refused\nfine\n");
    assert!(!place.root().join("x").exists());
}

fn bind_mounts_of_files_and_folders() {
    let place = Place::new();
    let folder = place.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "text").unwrap();
    let value = with_mount(kit::spec_value(&place, &[]), bind(&folder, "/new/rw", &["rbind", "rprivate"]));
    let value = with_mount(value, bind(&folder, "/new/ro", &["rbind", "ro", "rprivate"]));
    let value = with_mount(value, bind(&folder.join("file"), "/etc/file", &["bind", "ro"]));
    let script = "cat /etc/file; echo more > /new/rw/more; cat /new/ro/more; \
                  touch /new/ro/x || echo refused; echo x > /etc/file || echo refused";
    let outcome = kit::script(&place, value, script);
    assert_eq!(outcome.output, "textmore\nrefused\nrefused\n");
    assert_eq!(fs::read_to_string(folder.join("more")).unwrap(), "more\n");
}

fn a_tmpfs_may_start_with_the_roots_files() {
    let place = Place::new();
    fs::create_dir(place.root().join("etc/inner")).unwrap();
    fs::write(place.root().join("etc/inner/file"), "text").unwrap();
    symlink("inner/file", place.root().join("etc/link")).unwrap();
    let tmpfs =
        json!({ "destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1m"] });
    let value = with_mount(kit::spec_value(&place, &[]), tmpfs);
    let outcome = kit::script(&place, value, "cat /etc/link; touch /etc/new; ls /etc");
    assert_eq!(outcome.output, "textinner\nlink\nnew\n", "{}", outcome.errors);
    assert!(!place.root().join("etc/new").exists());
}

/// Guards against the class of CVE-2019-16884 and CVE-2021-30465: mounts that follow an image's links out.
fn owners_of_a_bind_mount_are_mapped() {
    use std::os::unix::fs::MetadataExt;
    kit::needs_namespaces_of_our_own();
    let place = Place::new();
    let folder = place.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("old"), "text").unwrap();
    kit::chown(&folder, 1000);
    let entry = |inside: u32, outside: u32| json!({ "containerID": inside, "hostID": outside, "size": 1 });
    let mut mount = bind(&folder, "/folder", &["bind", "ro"]);
    mount["uidMappings"] = json!([entry(0, 0), entry(1000, 2000)]);
    mount["gidMappings"] = mount["uidMappings"].clone();
    let mut writable = mount.clone();
    (writable["destination"], writable["options"]) = (json!("/writable"), json!(["rbind", "ridmap"]));
    let mut value = with_mount(with_mount(kit::spec_value(&place, &[]), mount.clone()), writable);
    value["process"]["user"] = json!({ "uid": 2000, "gid": 2000 });
    value["process"]["args"] = json!([
        "sh",
        "-c",
        "stat -c %u:%g /folder/old; touch /writable/new && echo made; touch /folder/x || echo refused"
    ]);
    let outcome = match kit::run(&place, value) {
        // EPERM: the file system is the host's, over which an ordinary user's root has no rights.
        Err(Error::Setup { source, .. })
            if matches!(source.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
                || (source.raw_os_error() == Some(libc::EPERM)
                    && berth_arch::host::User::detect().in_user_namespace) =>
        {
            println!("this kernel or its file system maps no owners, or not for this user");
            std::process::exit(kit::SKIPPED.into());
        }
        outcome => outcome.unwrap(),
    };
    assert_eq!(outcome.output, "2000:2000\nmade\nrefused\n", "{}", outcome.errors);
    assert_eq!(fs::metadata(folder.join("new")).unwrap().uid(), 1000);

    let said =
        |mount: Value| kit::run(&place, with_mount(kit::spec_value(&place, &["true"]), mount)).unwrap_err().to_string();
    assert!(said(bind(&folder, "/folder", &["bind", "idmap"])).contains("uidMappings"));
    mount["type"] = json!("tmpfs");
    mount["options"] = json!([]);
    assert!(said(mount).contains("no bind mount"));
}

fn links_at_mount_targets_stay_inside() {
    let place = Place::new();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let source = place.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "text").unwrap();
    symlink(&outside, place.root().join("absolute")).unwrap();
    symlink("../../../../../../../../../../..", place.root().join("up")).unwrap();
    let dev = place.root().join("dev");
    fs::remove_dir(&dev).unwrap();
    symlink(&outside, &dev).unwrap();
    if kit::backend().runtime().is_some() {
        // External runtimes make links of their own in /dev, which some make on the host then: it is refused.
        let error = kit::run(&place, kit::spec_value(&place, &["true"])).unwrap_err().to_string();
        assert!(error.contains(" on /dev: "), "{error}");
        fs::remove_file(&dev).unwrap();
        fs::create_dir(&dev).unwrap();
    }
    let value = with_mount(kit::spec_value(&place, &[]), bind(&source, "/absolute/a", &["bind"]));
    let value = with_mount(value, bind(&source, "/up/b", &["bind"]));
    let value = with_mount(value, bind(&source.join("file"), "/absolute/deep/file", &["bind"]));
    let outcome =
        kit::script(&place, value, "cat /absolute/a/file /b/file /absolute/deep/file /dev/fd/0; ls /dev/null");
    assert_eq!(outcome.output, "texttexttext/dev/null\n", "{}", outcome.errors);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!Path::new("/b").exists());
}

/// Guards against CVE-2019-19921: a volume where /proc should be keeps security labels from being written.
fn a_link_at_proc_is_refused() {
    let place = Place::new();
    fs::remove_dir(place.root().join("proc")).unwrap();
    symlink("etc", place.root().join("proc")).unwrap();
    let error = kit::run(&place, kit::spec_value(&place, &["true"])).unwrap_err().to_string();
    assert!(error.starts_with("mount proc on /proc: "), "{error}");
    kit::assert_no_children_but(&[]);
}

fn a_mount_into_proc_by_a_link_is_refused() {
    let place = Place::new();
    symlink("/proc/sys", place.root().join("trap")).unwrap();
    let value = with_mount(kit::spec_value(&place, &["true"]), bind(place.path(), "/trap", &["bind"]));
    let error = kit::run(&place, value).unwrap_err().to_string();
    assert!(error.contains("on /trap: "), "{error}");
}

fn nothing_is_mounted_on_the_host() {
    kit::needs("mounts of its own", |claims| claims.mount);
    let place = Place::new();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let (mut sandbox, _ends) = kit::create(&place, kit::spec_value(&place, &["sleep", "60"])).unwrap();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    sandbox.start().unwrap();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    sandbox.delete().unwrap();
    kit::assert_no_children_but(&[]);
}

fn shared_propagation_reaches_the_host_and_the_root_does_not() {
    kit::needs("mounts of its own", |claims| claims.mount);
    let place = Place::new();
    let folder = place.path().join("folder");
    fs::create_dir(&folder).unwrap();
    // A mount namespace of the test's own, whose mounts are all shared, stands for the host.
    kit::own_shared_mounts(&folder);
    fs::create_dir(folder.join("inner")).unwrap();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut value = with_mount(kit::spec_value(&place, &[]), bind(&folder, "/folder", &["rbind", "rshared"]));
    value["linux"]["rootfsPropagation"] = json!("shared");
    value["process"]["capabilities"] = kit::capabilities(&["CAP_SYS_ADMIN"]);
    if kit::backend().name() == "lxc" {
        let error = kit::run(&place, value).unwrap_err().to_string();
        assert!(error.starts_with("the lxc backend cannot do shared propagation of mounts: "), "{error}");
        return berth_arch::mount::umount_detach(&folder).unwrap();
    }
    let outcome = kit::script(&place, value, "mount -t tmpfs none /folder/inner && echo x > /folder/inner/x");
    assert_eq!((outcome.errors.as_str(), outcome.status.code), ("", 0));
    let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(after.lines().count(), before.lines().count() + 1, "{after}");
    assert!(folder.join("inner/x").exists());
    for mount in [folder.join("inner"), folder] {
        berth_arch::mount::umount_detach(&mount).unwrap();
    }
}

fn an_overlay_is_a_root() {
    let place = Place::new();
    for name in ["upper", "work"] {
        fs::create_dir(place.path().join(name)).unwrap();
    }
    let (io, ends) = kit::pipes();
    let mut bundle = kit::bundle(&place, kit::spec_value(&place, &["sh", "-c", "echo x > /file; cat /file"]));
    bundle.rootfs = vec![berth_arch::mount::Mount {
        fstype: "overlay".into(),
        source: "overlay".into(),
        target: "/".into(),
        options: vec!["lowerdir=root".into(), "upperdir=upper".into(), "workdir=work".into()],
        base: Some(place.path().to_owned()),
    }];
    let mut sandbox = kit::create_in(&bundle, io).unwrap();
    sandbox.start().unwrap();
    assert_eq!(ends.read(), ("x\n".into(), String::new()));
    sandbox.delete().unwrap();
    assert!(place.path().join("upper/file").exists() && !place.root().join("file").exists());
}

fn the_host_is_out_of_reach() {
    let place = Place::new();
    // The old way out of a chroot: stay above the new one, then climb. What the first process of all has as its root is the
    // container's, or not to be seen.
    let script = "mkdir /in; cd /; for i in 1 2 3 4 5 6 7 8 9; do cd ..; done; ls -d bin home; \
                  cat /proc/mounts | grep -c berth-conformance; ls -d /proc/1/root/home || echo nothing; \
                  ls -d /proc/1/root/boot";
    let outcome = kit::script(&place, kit::spec_value(&place, &[]), script);
    let seen = if kit::selected().1.pid { "/proc/1/root/home" } else { "nothing" };
    assert_eq!(outcome.output, format!("bin\nhome\n0\n{seen}\n"), "{}", outcome.errors);
}
