//! Real mounts, each test in a mount namespace of its own thread.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;

use super::{Mount, MountInfo, Prepared};

/// Runs `test` in a scratch tmpfs of a new mount namespace; says so and returns where that is not allowed.
fn alone(name: &str, test: impl FnOnce(&Path) + Send) {
    let scratch = std::env::temp_dir().join(format!("berth-mount-{}-{name}", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    std::thread::scope(|scope| {
        let run = || match crate::sys::unshare_mounts() {
            Ok(()) => {
                make("tmpfs", "none", &scratch, &["mode=755"], None).unwrap();
                test(&scratch);
            }
            Err(error) => eprintln!("skipped: no mount namespace here: {error}"),
        };
        scope.spawn(run).join().unwrap();
    });
    fs::remove_dir(&scratch).unwrap();
}

fn make(fstype: &str, source: &str, target: &Path, options: &[&str], base: Option<&Path>) -> std::io::Result<()> {
    let mount = Mount {
        fstype: fstype.into(),
        source: source.into(),
        target: "/".into(),
        options: options.iter().map(|word| (*word).to_owned()).collect(),
        base: base.map(Path::to_owned),
    };
    Ok(Prepared::new(&mount)?.perform(&CString::new(target.as_os_str().as_bytes()).unwrap())?)
}

fn folder(parent: &Path, name: &str) -> PathBuf {
    let path = parent.join(name);
    fs::create_dir(&path).unwrap();
    path
}

/// Of this thread: /proc/self is the whole process's first.
fn own_table() -> Vec<MountInfo> {
    super::parse_mounts(&fs::read("/proc/thread-self/mountinfo").unwrap()).collect()
}

#[test]
fn flags_and_data_reach_a_new_file_system() {
    alone("flags", |scratch| {
        let target = folder(scratch, "t");
        make("tmpfs", "name", &target, &["ro", "nosuid,nodev", "size=64k", "noatime"], None).unwrap();
        let mount = own_table().into_iter().find(|mount| mount.mount_point == target).unwrap();
        assert!(mount.is_read_only() && mount.has_option("nosuid") && mount.has_option("noatime"));
        assert!(mount.has_super_option("size=64k") && mount.source == "name");
        make("tmpfs", "name", &target, &["remount", "rw"], None).unwrap();
        fs::write(target.join("file"), "x").unwrap();
    });
}

#[test]
fn a_bind_mount_takes_flags_and_propagation() {
    alone("bind", |scratch| {
        let (source, target) = (folder(scratch, "s"), folder(scratch, "t"));
        let below = folder(&source, "below");
        make("tmpfs", "none", &below, &[], None).unwrap();
        fs::write(below.join("file"), "").unwrap();
        let options = ["bind", "ro", "noexec", "shared"];
        make("bind", source.to_str().unwrap(), &target, &options, None).unwrap();
        let mount = own_table().into_iter().find(|mount| mount.mount_point == target).unwrap();
        assert!(mount.is_read_only() && mount.has_option("noexec"));
        assert!(mount.propagation.iter().any(|word| word.starts_with("shared:")));
        assert!(!target.join("below/file").exists(), "not recursive");
        assert!(fs::write(source.join("writable"), "").is_ok(), "the source stays as it is");

        let all = folder(scratch, "all");
        make("none", source.to_str().unwrap(), &all, &["rbind", "ro"], None).unwrap();
        assert!(fs::write(all.join("x"), "").is_err());
        assert!(fs::write(all.join("below/x"), "").is_ok(), "ro is of the top mount only");
        let locked = folder(scratch, "locked");
        match make("none", source.to_str().unwrap(), &locked, &["rbind", "rro"], None) {
            Ok(()) => assert!(fs::write(locked.join("below/y"), "").is_err()),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOSYS)),
        }
    });
}

#[test]
fn a_word_that_means_nothing_is_refused() {
    let error = make("bind", "/", Path::new("/nowhere"), &["szie=1"], None).unwrap_err();
    assert!(error.to_string().contains("szie=1"), "{error}");
}

/// The kernel would cut it off at a page (mount(2)).
#[test]
fn options_past_a_page_are_refused_where_no_other_way_is_known() {
    let long = format!("x={}", "y".repeat(4096));
    let error = make("tmpfs", "none", Path::new("/nowhere"), &[&long], None).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::E2BIG));
}

#[test]
fn propagation_alone_changes_a_mount_point() {
    alone("change", |scratch| {
        make("none", "none", scratch, &["rshared"], None).unwrap();
        let mount = own_table().into_iter().rfind(|mount| mount.mount_point == scratch).unwrap();
        assert!(mount.propagation.iter().any(|word| word.starts_with("shared:")));
        make("none", "none", scratch, &["rslave", "private"], None).unwrap();
    });
}

/// Relative names through `base`, and more of them than a page holds.
#[test]
fn overlay_takes_layers_past_a_page_of_options() {
    alone("overlay", |scratch| {
        let layer = |number: usize| format!("{}-{number}", "layer".repeat(8));
        for count in [3, 130] {
            let stack = folder(scratch, &format!("stack{count}"));
            for number in 0..count {
                fs::write(folder(&stack, &layer(number)).join(format!("file{number}")), "").unwrap();
            }
            let target = folder(&stack, "merged");
            folder(&stack, "upper");
            folder(&stack, "work");
            let lower = (0..count).map(layer).collect::<Vec<_>>().join(":");
            let options = [&*format!("lowerdir={lower}"), "upperdir=upper", "workdir=work", "nosuid"];
            match make("overlay", "overlay", &target, &options, Some(&stack)) {
                Ok(()) => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::E2BIG)) => {
                    return eprintln!("skipped: {error}");
                }
                Err(error) => panic!("{count} layers: {error}"),
            }
            assert!(target.join("file0").exists() && target.join(format!("file{}", count - 1)).exists());
            fs::write(target.join("new"), "").unwrap();
            assert!(stack.join("upper/new").exists());
            let mount = own_table().into_iter().find(|mount| mount.mount_point == target).unwrap();
            assert!(mount.has_option("nosuid") && mount.source == "overlay");
        }
    });
}

#[test]
fn a_detached_mount_is_gone_at_once() {
    alone("detach", |scratch| {
        let target = folder(scratch, "t");
        make("tmpfs", "none", &target, &[], None).unwrap();
        let _busy = fs::File::create(target.join("file")).unwrap();
        super::umount_detach(&target).unwrap();
        assert!(!target.join("file").exists());
    });
}

/// A mount that came with nosuid from the outer namespace cannot be made `ro` without staying nosuid.
#[test]
fn flags_locked_by_a_user_namespace_are_kept() {
    static BIND: OnceLock<(Prepared, CString)> = OnceLock::new();
    if !crate::kernel::userns::probe().is_available() {
        return eprintln!("skipped: no user namespaces");
    }
    alone("locked", |scratch| {
        let (source, target) = (folder(scratch, "s"), folder(scratch, "t"));
        make("tmpfs", "none", &source, &["nosuid", "noexec"], None).unwrap();
        let mount = Mount {
            fstype: "bind".into(),
            source,
            target: "/".into(),
            options: vec!["rbind".into(), "ro".into()],
            base: None,
        };
        let target = CString::new(target.as_os_str().as_bytes()).unwrap();
        let bind = BIND.get_or_init(|| (Prepared::new(&mount).unwrap(), target));
        assert!(bind.0.source().to_bytes().ends_with(b"/s"));
        let answer = crate::child::in_child(libc::CLONE_NEWUSER | libc::CLONE_NEWNS, || {
            let (bind, target) = BIND.get().ok_or(Errno::CANCELED)?;
            bind.perform(target)?;
            let flags = rustix::fs::statvfs(target.as_c_str())?.f_flag;
            let wanted = StatVfsMountFlags::RDONLY | StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOEXEC;
            if flags.contains(wanted) { Ok(()) } else { Err(Errno::PROTO) }
        });
        assert_eq!(answer, Ok(()));
    });
}

/// An image's layers belong to root on the disk, and to a container's root in the mount: what is changed there too.
#[test]
fn owners_are_mapped_of_binds_of_file_systems_and_of_an_overlays_layers() {
    const MAP: &[&str] = &["X-mount.idmap=u:0:100000:10 g:0:200000:10"];
    if !crate::kernel::idmap::probe().is_available() || !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: no idmapped mounts here");
    }
    alone("owners", |scratch| {
        let owner = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
        let base = folder(scratch, "layers");
        for name in ["lower", "upper", "work", "other"] {
            folder(&base, name);
        }
        fs::write(base.join("lower/file"), "x").unwrap();
        let target = folder(scratch, "t");
        match make("bind", "lower", &target, MAP, Some(&base)) {
            Err(error) => return eprintln!("skipped: this file system maps no owners: {error}"),
            Ok(()) => assert_eq!(owner(&target.join("file")), (100_000, 200_000)),
        }
        assert_eq!(owner(&base.join("lower/file")), (0, 0));
        super::umount_detach(&target).unwrap();

        let options = ["lowerdir=lower,upperdir=upper,workdir=work", MAP[0]];
        match make("overlay", "overlay", &target, &options, Some(&base)) {
            Err(error) => eprintln!("skipped: no overlay of mapped layers: {error}"),
            Ok(()) => {
                let root = crate::FsOwner::new(100_000, 200_000).unwrap();
                fs::write(target.join("new"), "").unwrap();
                fs::write(target.join("file"), "y").unwrap();
                drop(root);
                for name in ["new", "file"] {
                    assert_eq!(owner(&target.join(name)), (100_000, 200_000), "{name}");
                    assert_eq!(owner(&base.join("upper").join(name)), (0, 0), "{name}");
                }
                // Nobody who is not mapped makes anything here.
                assert!(fs::write(target.join("other"), "").is_err());
                fs::remove_file(target.join("file")).unwrap();
                assert!(!target.join("file").exists());
            }
        }
        let target = folder(scratch, "memory");
        match make("tmpfs", "none", &target, MAP, None) {
            Err(error) => eprintln!("skipped: tmpfs maps no owners (6.3): {error}"),
            Ok(()) => assert_eq!(owner(&target), (100_000, 200_000)),
        }
        for refused in [&["X-mount.idmap=u:0:1:1"][..], &["X-mount.idmap=u:1:1:1 g:1:1:1"], &["rec", MAP[0]]] {
            let error = make("bind", "lower", &target, refused, Some(&base)).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{refused:?}: {error}");
        }
    });
}
