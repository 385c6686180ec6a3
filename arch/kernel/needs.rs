//! What a kernel and a system have to have for what berth can use: options, modules, switches, packages.

/// By the name that `berth doctor` gives what needs it.
#[derive(Debug)]
pub struct Needs {
    pub name: &'static str,
    /// Of the kernel's configuration, with the module that the option makes if it is one.
    pub options: &'static [(&'static str, Option<&'static str>)],
    pub switches: &'static [Switch],
    /// By Debian's names, with the program by whose absence one is known.
    pub packages: &'static [(&'static str, Option<&'static str>)],
}

const NOTHING: Needs = Needs { name: "", options: &[], switches: &[], packages: &[] };

/// A sysctl that may forbid something.
#[derive(Debug)]
pub struct Switch {
    /// Below /proc/sys, with dots.
    pub name: &'static str,
    pub forbids: &'static str,
    pub allows: &'static str,
    /// Whether root is forbidden, too.
    pub binds_root: bool,
}

/// Those that distributions have put before user namespaces.
pub(super) const USERNS_SWITCHES: &[Switch] = &[
    Switch { name: "user.max_user_namespaces", forbids: "0", allows: "10000", binds_root: true },
    Switch { name: "kernel.unprivileged_userns_clone", forbids: "0", allows: "1", binds_root: false },
    Switch { name: "kernel.apparmor_restrict_unprivileged_userns", forbids: "1", allows: "0", binds_root: false },
];

impl Switch {
    /// `None`: this kernel does not have it.
    fn value(&self) -> Option<String> {
        let path = format!("/proc/sys/{}", self.name.replace('.', "/"));
        Some(crate::kernel_file::read_to_string(path).ok()?.trim().to_owned())
    }

    /// Whether it stands in the way of this very process.
    pub fn is_in_the_way(&self) -> bool {
        (self.binds_root || !rustix::process::geteuid().is_root()) && self.value().as_deref() == Some(self.forbids)
    }

    pub fn remedy(&self) -> String {
        format!("as root of the host: sysctl -w {}={}", self.name, self.allows)
    }
}

pub const NEEDS: &[Needs] = &[
    Needs {
        name: "namespaces",
        options: &[
            ("CONFIG_NAMESPACES", None),
            ("CONFIG_PID_NS", None),
            ("CONFIG_NET_NS", None),
            ("CONFIG_UTS_NS", None),
            ("CONFIG_IPC_NS", None),
        ],
        ..NOTHING
    },
    Needs {
        name: "namespace",
        options: &[
            ("CONFIG_NAMESPACES", None),
            ("CONFIG_PID_NS", None),
            ("CONFIG_UTS_NS", None),
            ("CONFIG_IPC_NS", None),
        ],
        switches: USERNS_SWITCHES,
        ..NOTHING
    },
    Needs { name: "userns", options: &[("CONFIG_USER_NS", None)], switches: USERNS_SWITCHES, ..NOTHING },
    Needs {
        name: "cgroup",
        options: &[
            ("CONFIG_CGROUPS", None),
            ("CONFIG_MEMCG", None),
            ("CONFIG_CPUSETS", None),
            ("CONFIG_CGROUP_PIDS", None),
            ("CONFIG_CGROUP_DEVICE", None),
            ("CONFIG_CGROUP_FREEZER", None),
        ],
        packages: &[("cgroupfs-mount", None)],
        ..NOTHING
    },
    Needs { name: "seccomp", options: &[("CONFIG_SECCOMP", None), ("CONFIG_SECCOMP_FILTER", None)], ..NOTHING },
    Needs { name: "idmap", options: &[("CONFIG_USER_NS", None)], ..NOTHING },
    Needs { name: "packet-socket", options: &[("CONFIG_PACKET", Some("af_packet"))], ..NOTHING },
    Needs { name: "overlay", options: &[("CONFIG_OVERLAY_FS", Some("overlay"))], ..NOTHING },
    Needs { name: "fuse", options: &[("CONFIG_FUSE_FS", Some("fuse"))], ..NOTHING },
    Needs { name: "btrfs", options: &[("CONFIG_BTRFS_FS", Some("btrfs"))], ..NOTHING },
    Needs {
        name: "zfs",
        options: &[("", Some("zfs"))],
        packages: &[("zfs-dkms", None), ("zfsutils-linux", Some("zfs"))],
        ..NOTHING
    },
    Needs { name: "aufs", options: &[("CONFIG_AUFS_FS", Some("aufs"))], packages: &[("aufs-dkms", None)], ..NOTHING },
    Needs {
        name: "lvm",
        options: &[("CONFIG_BLK_DEV_DM", Some("dm_mod")), ("CONFIG_DM_THIN_PROVISIONING", Some("dm_thin_pool"))],
        ..NOTHING
    },
    Needs {
        name: "nft",
        options: &[
            ("CONFIG_NF_TABLES", Some("nf_tables")),
            ("CONFIG_NFT_NAT", Some("nft_nat")),
            ("CONFIG_NFT_MASQ", Some("nft_masq")),
            ("CONFIG_NF_CONNTRACK", Some("nf_conntrack")),
        ],
        ..NOTHING
    },
    Needs {
        name: "iptables-nft",
        options: &[("CONFIG_NF_TABLES", Some("nf_tables")), ("CONFIG_NFT_COMPAT", Some("nft_compat"))],
        packages: &[("iptables", Some("iptables"))],
        ..NOTHING
    },
    Needs {
        name: "iptables-legacy",
        options: &[("CONFIG_IP_NF_IPTABLES", Some("ip_tables")), ("CONFIG_IP_NF_NAT", Some("iptable_nat"))],
        packages: &[("iptables", Some("iptables"))],
        ..NOTHING
    },
    Needs { name: "lxc", packages: &[("lxc", Some("lxc-start"))], ..NOTHING },
    Needs { name: "crun", packages: &[("crun", Some("crun"))], ..NOTHING },
    Needs { name: "runc", packages: &[("runc", Some("runc"))], ..NOTHING },
];

pub fn of(name: &str) -> Option<&'static Needs> {
    NEEDS.iter().find(|needs| needs.name == name)
}

/// What there is of the switches before user namespaces, as one word.
pub(super) fn userns_switches() -> String {
    let values = USERNS_SWITCHES.iter().map(|switch| switch.value().unwrap_or_default());
    values.collect::<Vec<_>>().join(",")
}
