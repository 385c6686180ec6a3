//! Interpreters that the kernel has been told of for programs of other architectures (binfmt_misc).

const FOLDER: &str = "/proc/sys/fs/binfmt_misc";

/// Whether programs of `architecture` (GOARCH) are given to an emulator that works in a container too: one that the kernel
/// opened when it was registered (flag F).
pub fn emulates(architecture: &str) -> bool {
    let Some(machine) = machine(architecture) else { return false };
    let entries = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok()).any(|text| is_for(&text, machine))
}

/// Bytes 4 (class), 5 (order) and 18 to 19 (EM_* of linux/elf-em.h, in that order) of an ELF header, in hexadecimal.
fn machine(architecture: &str) -> Option<(&'static str, &'static str)> {
    Some(match architecture {
        "386" => ("0101", "0300"),
        "amd64" => ("0201", "3e00"),
        "arm" => ("0101", "2800"),
        "arm64" => ("0201", "b700"),
        "loong64" => ("0201", "0201"),
        "mips64le" => ("0201", "0800"),
        "ppc64le" => ("0201", "1500"),
        "riscv64" => ("0201", "f300"),
        "s390x" => ("0202", "0016"),
        _ => return None,
    })
}

fn is_for(text: &str, (class, machine): (&str, &str)) -> bool {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).unwrap_or_default();
    let magic = value("magic ");
    text.starts_with("enabled")
        && value("flags:").contains('F')
        && value("offset ") == "0"
        && magic.get(8..12) == Some(class)
        && magic.get(36..40) == Some(machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_for_the_machine_of_its_magic() {
        let entry = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\nmagic \
                     7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        assert!(is_for(entry, machine("arm64").unwrap()));
        assert!(!is_for(entry, machine("amd64").unwrap()) && !is_for(entry, machine("arm").unwrap()));
        assert!(!is_for(&entry.replace("OCF", "OC"), machine("arm64").unwrap()));
        assert!(!is_for(&entry.replace("enabled", "disabled"), machine("arm64").unwrap()));
        assert!(machine("pdp11").is_none());
    }
}
