//! `features`: what a specification may ask of this runtime (runtime-spec, features.md). Each name is one that the
//! backend takes, whatever the host has of it.

use serde_json::json;

#[derive(clap::Args)]
pub(crate) struct Features {}

const HOOKS: &[&str] = &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

fn features() -> serde_json::Value {
    let known = berth_backends::known();
    let yes = json!({ "enabled": true });
    let no = json!({ "enabled": false });
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": crate::SPEC_VERSION,
        "hooks": HOOKS,
        "mountOptions": known.mount_options,
        "linux": {
            "namespaces": known.namespaces,
            "capabilities": known.capabilities,
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true },
            "seccomp": {
                "enabled": true,
                "actions": known.seccomp_actions,
                "operators": known.seccomp_operators,
                "archs": known.seccomp_architectures,
                "knownFlags": known.seccomp_flags,
                "supportedFlags": known.seccomp_flags,
            },
            "apparmor": yes,
            "selinux": yes,
            "intelRdt": no,
            "mountExtensions": { "idmap": no },
            "netDevices": no,
        },
        "annotations": { "io.berth.version": env!("CARGO_PKG_VERSION"), "io.berth.checkpoint.enabled": "true" },
    })
}

pub(crate) fn print() -> anyhow::Result<u8> {
    super::print(&(serde_json::to_string_pretty(&features())? + "\n"))
}
