//! Archives made by other programs: read right, and written again byte for byte.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use berth_arch::root_dir::RootDir;

use super::bed::{assert_same, scratch, shell, snapshot};
use super::{Bed, each, layers::everything};
use crate::diff::{Owners, UnpackOptions, assemble, pack_tree};

/// Unpacks `archive` into a new layer and writes it again from there.
fn again(bed: &Bed, name: &str, archive: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    let options = UnpackOptions { record: Some(&mut record), ..Default::default() };
    bed.unpack_with(name, &[], archive, options).unwrap();
    bed.read(name, &[], |root| {
        let mut out = Vec::new();
        assemble(|| Ok(record.as_slice()), &RootDir::open(root).unwrap(), &mut out).unwrap();
        out
    })
}

fn archive_of(tree: &Path, command: &str) -> Option<Vec<u8>> {
    let outside = scratch();
    let file = outside.path().join("a.tar");
    shell(tree, &command.replace("OUT", file.to_str().unwrap())).then(|| fs::read(file).unwrap())
}

#[test]
fn what_gnu_tar_writes_comes_out_as_it_went_in_and_is_written_again() {
    each(|bed| {
        let tree = scratch();
        everything(tree.path());
        // What these formats cannot hold.
        shell(
            tree.path(),
            "rm -f long-link; chown 0:0 prog; chmod 6755 prog; touch -h -d @5 dir/link; touch -d @5 fifo",
        );
        let formats = ["gnu", "pax", "pax --sparse", "gnu --sparse", "pax --sparse --sparse-version=0.0"];
        let more = ["pax --sparse --sparse-version=0.1", "pax --xattrs --xattrs-include=*", "ustar"];
        for (n, format) in formats.iter().chain(&more).enumerate() {
            let paths =
                if *format == "ustar" { "plain hard dir fifo null block sparse prog tmp none absolute" } else { "." };
            let command = format!("tar -cf OUT --format={format} {paths} 2>/dev/null");
            let Some(archive) = archive_of(tree.path(), &command) else { return };
            let name = format!("l{n}");
            assert!(again(bed, &name, &archive) == archive, "{format}: written again differently");
            if *format == "pax --xattrs --xattrs-include=*" {
                assert_same(&snapshot(tree.path()), &bed.read(&name, &[], snapshot));
            }
            bed.read(&name, &[], |root| {
                let blocks = fs::metadata(root.join("sparse")).unwrap();
                assert_eq!(blocks.len(), 50 << 20, "{format}");
                // A block of the file system may be as large as ZFS's 128 KiB.
                assert!(!format.contains("sparse") || blocks.blocks() * 512 < 1 << 20, "{format}: {}", blocks.blocks());
                assert_eq!(fs::metadata(root.join("plain")).unwrap().nlink(), 3, "{format}");
            });
        }
    });
}

#[test]
fn what_python_writes_is_written_again() {
    each(|bed| {
        let tree = scratch();
        everything(tree.path());
        for (n, format) in ["USTAR", "GNU", "PAX"].iter().enumerate() {
            let names = if *format == "USTAR" { "['dir','tmp','fifo','null','sparse']" } else { "['.']" };
            let program = format!(
                "import tarfile\nt=tarfile.open('OUT','w',format=tarfile.{format}_FORMAT)\nfor n in {names}: t.add(n)\nt.close()"
            );
            let fix = "chown 0:0 prog; touch -h -d @5 dir/link; touch -d @5 fifo";
            let Some(archive) = archive_of(tree.path(), &format!("{fix}\npython3 - <<'E'\n{program}\nE")) else {
                return;
            };
            assert!(again(bed, &format!("l{n}"), &archive) == archive, "{format}: written again differently");
        }
    });
}

#[test]
fn gnu_tar_reads_back_what_is_packed() {
    let tree = scratch();
    everything(tree.path());
    let outside = scratch();
    pack_tree(tree.path(), Owners::AsTheyAre, fs::File::create(outside.path().join("a.tar")).unwrap()).unwrap();
    let target = outside.path().join("t");
    fs::create_dir(&target).unwrap();
    if shell(
        &target,
        "tar -xpf ../a.tar --xattrs --xattrs-include=* --numeric-owner 2>../errors; ! grep -v 'time stamp' ../errors",
    ) {
        assert_same(&snapshot(tree.path()), &snapshot(&target));
        assert!(fs::metadata(target.join("sparse")).unwrap().blocks() * 512 < 1 << 20);
    }
    let script = "import tarfile\nt=tarfile.open('a.tar')\nassert t.getmember('sparse').size==50<<20\nassert len(t.getnames())>20";
    shell(outside.path(), &format!("python3 -c \"{script}\""));
}

#[test]
fn replaced_entries_and_odd_ends_are_written_again() {
    each(|bed| {
        let tree = scratch();
        let command = "mkdir d; echo one >f; echo deep >d/x; tar -cf OUT f d; echo two! >f; echo other >d/x; tar -rf OUT f d; \
                       rm -r d; echo file >d; tar -rf OUT d; head -c 100 /dev/urandom >>OUT";
        let Some(archive) = archive_of(tree.path(), command) else { return };
        assert!(again(bed, "a", &archive) == archive);
        bed.read("a", &[], |root| {
            assert_eq!(fs::read(root.join("f")).unwrap(), b"two!\n");
            assert_eq!(fs::read(root.join("d")).unwrap(), b"file\n");
        });
        let Some(plain) = archive_of(tree.path(), "tar -cf OUT f") else { return };
        for end in [plain.len() - 512, 1024, 512 + 5] {
            assert!(again(bed, &format!("e{end}"), &plain[..end]) == plain[..end]);
        }
    });
}

#[test]
fn a_file_that_changed_is_not_passed_off_as_the_old_one() {
    each(|bed| {
        let tree = scratch();
        let Some(archive) = archive_of(tree.path(), "echo one >f; tar -cf OUT f") else { return };
        let mut record = Vec::new();
        let options = UnpackOptions { record: Some(&mut record), ..Default::default() };
        bed.unpack_with("a", &[], &archive, options).unwrap();
        bed.contents("a", &[], |layer| {
            for (content, record) in
                [("two\n", &record[..]), ("longer\n", &record[..]), ("one\n", &record[..record.len() - 3])]
            {
                fs::write(layer.join("f"), content).unwrap();
                let root = RootDir::open(layer).unwrap();
                assert!(assemble(|| Ok(record), &root, &mut Vec::new()).is_err(), "{content}");
            }
        });
    });
}

#[test]
fn what_a_later_entry_takes_away_or_leads_elsewhere_is_written_again_too() {
    // GNU tar appends each in its turn; the names are the same and what they are is not.
    let turns = [
        ("a directory for a file", "echo 1 >a; tar -cf OUT a; rm a; mkdir a; echo 2 >a/b; tar -rf OUT a"),
        (
            "a directory for the link that led to a file",
            "mkdir d l; echo 1 >l/file; echo 2 >d/other; tar -cf OUT d; ln -s d k; mkdir s; mv k s/l; \
             tar -rf OUT -C s l; tar -rf OUT l/file; tar -rf OUT --no-recursion l",
        ),
    ];
    each(|bed| {
        for (n, (what, turn)) in turns.iter().enumerate() {
            let tree = scratch();
            let Some(archive) = archive_of(tree.path(), turn) else { return };
            assert!(again(bed, &format!("t{n}"), &archive) == archive, "{what}: written again differently");
        }
    });
}
