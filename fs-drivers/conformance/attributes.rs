//! What a file is besides its content: kinds, owners, modes, times, attributes, lists of access, capabilities.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::bed::shell;
use super::each;
use super::files::{assert_comes_through, run, scripts};

#[test]
fn a_file_that_is_appended_to_keeps_all_else() {
    each(|bed| {
        let base = "echo 1 >f; chown 12:34 f; chmod 2751 f; setfattr -n user.k -v v f; setcap cap_net_raw+ep f";
        bed.layer("x", &[], |root| run(root, base));
        bed.layer("y", &["x"], |root| {
            fs::OpenOptions::new().append(true).open(root.join("f")).unwrap().write_all(b"2\n").unwrap();
            let meta = fs::metadata(root.join("f")).unwrap();
            // The kernel takes setgid and capabilities off a file that is written to.
            assert_eq!((meta.mode() & 0o777, meta.uid(), meta.gid(), meta.len()), (0o751, 12, 34, 4));
            shell(root, "[ \"$(getfattr --only-values -n user.k f)\" = v ]");
        });
        assert_eq!(bed.changes("y", &["x"]), ["C /f"]);
        assert_comes_through(bed, "y", &["x"]);
    });
}

#[test]
fn attributes_alone_are_changed_above_and_the_content_is_the_same() {
    each(|bed| {
        let changes = scripts(bed, "seq 100000 >f; mkdir d", "chmod 600 f; chown 5:6 d");
        assert_eq!(changes, ["C /d", "C /f"]);
        let length = |name: &str, parents: &[&str]| bed.read(name, parents, |root| fs::read(root.join("f")).unwrap());
        assert_eq!(length("a", &[]), length("b", &["a"]));
    });
}

#[test]
fn every_kind_takes_the_place_of_every_other() {
    let kinds = ["echo x >N", "mkdir N; touch N/in", "ln -s to N", "mkfifo N", "mknod N c 1 3", "mknod N b 7 9"];
    each(|bed| {
        let each_pair = || (0..kinds.len()).flat_map(|old| (0..kinds.len()).map(move |new| (old, new)));
        let line = |kind: usize, name: &str| kinds[kind].replace('N', name);
        let base: Vec<_> = each_pair().map(|(old, new)| line(old, &format!("n{old}{new}"))).collect();
        let turned: Vec<_> = each_pair()
            .filter(|(old, new)| old != new)
            .map(|(old, new)| format!("rm -r n{old}{new}; {}", line(new, &format!("n{old}{new}"))))
            .collect();
        let changes = scripts(bed, &base.join("; "), &turned.join("; "));
        assert_eq!(changes.iter().filter(|line| line.matches('/').count() == 1).count(), 30, "{changes:?}");
    });
}

#[test]
fn lists_of_access_and_their_defaults_come_through() {
    each(|bed| {
        let base = "mkdir d; echo 1 >f; setfacl -m u:12:rw,g:34:r f; setfacl -d -m u:12:rwx d";
        let work =
            "touch d/in; getfacl -cn d/in | grep -q user:12; setfacl -x u:12 f; setfacl -m u:99:r f; setfacl -b d";
        assert_eq!(scripts(bed, base, work), ["C /d", "A /d/in", "C /f"]);
        bed.read("b-again", &["a"], |root| {
            shell(root, "getfacl -cn f | grep -q user:99:r--; getfacl -cn f | grep -q group:34")
        });
    });
}

#[test]
fn capabilities_are_set_changed_and_taken_off() {
    each(|bed| {
        let base = "touch gets has loses; setcap cap_net_raw+ep has; setcap cap_chown+p loses";
        let work = "setcap cap_kill+ei gets; setcap cap_net_admin+ep has; setcap -r loses";
        assert_eq!(scripts(bed, base, work), ["C /gets", "C /has", "C /loses"]);
        let test = "getcap gets | grep -q cap_kill; getcap has | grep -q cap_net_admin; [ -z \"$(getcap loses)\" ]";
        bed.read("b-again", &["a"], |root| shell(root, test));
    });
}

#[test]
fn attributes_of_users_and_of_root_come_and_go() {
    each(|bed| {
        let base = "touch f; mkdir d; setfattr -n user.a -v 1 f; setfattr -n trusted.b -v 2 d";
        let work = "setfattr -x user.a f; setfattr -n user.long -v $(head -c 2000 /dev/zero | tr '\\0' x) f; setfattr -n trusted.b -v 3 d";
        assert_eq!(scripts(bed, base, work), ["C /d", "C /f"]);
    });
}

#[test]
fn times_are_kept_to_the_nanosecond() {
    each(|bed| {
        let base =
            "mkdir d; touch f d/g; ln -s f l; touch -d @1.000000001 f; touch -h -d @2.999999999 l; touch -d @3.5 d";
        let work = "touch -d @1.000000002 f; touch -h -d @2.999999998 l; touch -d @3.500000001 d";
        assert_eq!(scripts(bed, base, work), ["C /d", "C /f", "C /l"]);
        bed.read("b-again", &["a"], |root| {
            let time = |name: &str| fs::symlink_metadata(root.join(name)).map(|meta| (meta.mtime(), meta.mtime_nsec()));
            assert_eq!((time("f").unwrap(), time("l").unwrap()), ((1, 2), (2, 999_999_998)));
            assert_eq!(time("d").unwrap(), (3, 500_000_001));
        });
    });
}

#[test]
fn a_device_s_number_and_a_link_s_text_are_changes() {
    each(|bed| {
        let base = "mknod c c 1 3; ln -s one l; touch -d @5 c; touch -h -d @5 l";
        let work = "rm c l; mknod c c 1 5; ln -s two l; touch -d @5 c; touch -h -d @5 l";
        assert_eq!(scripts(bed, base, work), ["C /c", "C /l"]);
    });
}

#[test]
fn sockets_are_no_part_of_an_archive_and_a_change_all_the_same() {
    each(|bed| {
        bed.layer("a", &[], |_| {});
        bed.layer("b", &["a"], |root| {
            let name = rustix::fs::FileType::Socket;
            rustix::fs::mknodat(rustix::fs::CWD, root.join("s"), name, rustix::fs::Mode::RUSR, 0).unwrap();
        });
        assert_eq!(bed.changes("b", &["a"]), ["A /s"]);
        assert_eq!(bed.pack("b", &["a"]), vec![0; 1024]);
    });
}

#[test]
fn setgid_directories_pass_their_group_on_and_sticky_ones_stay() {
    each(|bed| {
        bed.layer("a", &[], |root| run(root, "mkdir g t; chown 0:77 g; chmod 2775 g; chmod 1777 t"));
        bed.layer("b", &["a"], |root| {
            fs::create_dir(root.join("g/in")).unwrap();
            let meta = fs::metadata(root.join("g/in")).unwrap();
            assert_eq!((meta.gid(), meta.mode() & 0o2000), (77, 0o2000));
            assert_eq!(fs::metadata(root.join("t")).unwrap().permissions().mode() & 0o7777, 0o1777);
        });
        assert_comes_through(bed, "b", &["a"]);
    });
}

#[test]
fn links_that_lead_nowhere_out_or_round_are_links() {
    each(|bed| {
        bed.layer("a", &[], |root| {
            for (name, text) in [("out", "../../../etc/passwd"), ("nowhere", "none"), ("round", "round"), ("root", "/")]
            {
                symlink(text, root.join(name)).unwrap();
            }
        });
        assert_comes_through(bed, "a", &[]);
        bed.layer("b", &["a"], |root| run(root, "rm out round"));
        assert_eq!(bed.changes("b", &["a"]), ["D /out", "D /round"]);
    });
}
