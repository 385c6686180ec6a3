//! Policies from files: Docker's profile format (github.com/moby/profiles, seccomp/seccomp.go) and OCI's, of which
//! the former is an extension.

use std::collections::HashSet;

use berth_arch::cpu::host_abi;
use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompBuilder, LinuxSeccompOperator,
    LinuxSyscall,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::policy::{ARCHES, argument, built, kernel, oci_arch, parse_version, rule};
use crate::{Error, Result};

/// Reads a policy for this host and for a container with `capabilities` (the bounding set). Errors name the key.
pub fn parse_profile(json: &str, capabilities: &HashSet<Capability>) -> Result<LinuxSeccomp> {
    let value: Value = serde_json::from_str(json).map_err(|error| invalid("JSON", &error))?;
    if !value.is_object() {
        return Err(invalid("top level", &"expected an object"));
    }
    let host = Host { capabilities, kernel: kernel() };
    let default: LinuxSeccompAction = needed(&value, "", "defaultAction")?;
    let mut builder = LinuxSeccompBuilder::default().default_action(default);
    if let Some(errno) = optional(&value, "", "defaultErrnoRet")? {
        builder = builder.default_errno_ret::<u32>(errno);
    }
    if let Some(flags) = optional(&value, "", "flags")? {
        builder = builder.flags::<Vec<_>>(flags);
    }
    if let Some(path) = optional(&value, "", "listenerPath")? {
        builder = builder.listener_path::<std::path::PathBuf>(path);
    }
    let mut syscalls = Vec::new();
    for (at, call) in list(&value, "", "syscalls")?.iter().enumerate() {
        syscalls.extend(syscall(call, &format!("syscalls[{at}]."), &host)?);
    }
    Ok(built(builder.architectures(architectures(&value)?).syscalls(syscalls).build()))
}

struct Host<'a> {
    capabilities: &'a HashSet<Capability>,
    kernel: (u32, u32),
}

fn invalid(key: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::InvalidArgument(format!("seccomp profile: {key}: {reason}"))
}

/// Null and absence are the same, as in Go.
fn optional<T: DeserializeOwned>(value: &Value, prefix: &str, key: &str) -> Result<Option<T>> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(inner) => T::deserialize(inner).map(Some).map_err(|error| invalid(&format!("{prefix}{key}"), &error)),
    }
}

fn needed<T: DeserializeOwned>(value: &Value, prefix: &str, key: &str) -> Result<T> {
    optional(value, prefix, key)?.ok_or_else(|| invalid(&format!("{prefix}{key}"), &"it is missing"))
}

fn list(value: &Value, prefix: &str, key: &str) -> Result<Vec<Value>> {
    Ok(optional(value, prefix, key)?.unwrap_or_default())
}

fn architectures(value: &Value) -> Result<Vec<Arch>> {
    let given: Vec<Arch> = optional(value, "", "architectures")?.unwrap_or_default();
    let map = list(value, "", "archMap")?;
    if map.is_empty() {
        return Ok(given);
    }
    if !given.is_empty() {
        return Err(invalid("archMap", &"use either it or architectures"));
    }
    for (at, entry) in map.iter().enumerate() {
        let prefix = format!("archMap[{at}].");
        let arch: Arch = needed(entry, &prefix, "architecture")?;
        let more: Vec<Arch> = optional(entry, &prefix, "subArchitectures")?.unwrap_or_default();
        if oci_arch(host_abi()) == Some(arch) {
            return Ok(std::iter::once(arch).chain(more).collect());
        }
    }
    Ok(Vec::new())
}

fn syscall(call: &Value, prefix: &str, host: &Host<'_>) -> Result<Option<LinuxSyscall>> {
    let mut names: Vec<String> = optional(call, prefix, "names")?.unwrap_or_default();
    if let Some(name) = optional::<String>(call, prefix, "name")?.filter(|name| !name.is_empty()) {
        if !names.is_empty() {
            return Err(invalid(&format!("{prefix}name"), &"use either it or names"));
        }
        names.push(name);
    }
    let action = needed(call, prefix, "action")?;
    let errno = optional(call, prefix, "errnoRet")?;
    let mut args = Vec::new();
    for (at, arg) in list(call, prefix, "args")?.iter().enumerate() {
        args.push(arg_of(arg, &format!("{prefix}args[{at}]."))?);
    }
    // Both are read first, so that a mistake in the one is found whatever the other says.
    let includes = Filter::read(call, prefix, "includes")?;
    let excludes = Filter::read(call, prefix, "excludes")?;
    if !includes.is_met(host) || excludes.is_hit(host) || names.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut rule = rule(&names, action, errno, None);
    if !args.is_empty() {
        rule.set_args(Some(args));
    }
    Ok(Some(rule))
}

fn arg_of(arg: &Value, prefix: &str) -> Result<LinuxSeccompArg> {
    let index: usize = optional(arg, prefix, "index")?.unwrap_or_default();
    if index > 5 {
        return Err(invalid(&format!("{prefix}index"), &format!("{index}; calls have 0 to 5")));
    }
    let operator: LinuxSeccompOperator = needed(arg, prefix, "op")?;
    let value = optional(arg, prefix, "value")?.unwrap_or_default();
    Ok(argument(index, operator, value, optional(arg, prefix, "valueTwo")?))
}

/// `includes` or `excludes`.
struct Filter {
    capabilities: Vec<Capability>,
    architectures: Vec<String>,
    kernel: Option<(u32, u32)>,
}

impl Filter {
    fn read(call: &Value, prefix: &str, key: &str) -> Result<Self> {
        let value = call.get(key).unwrap_or(&Value::Null);
        let prefix = format!("{prefix}{key}.");
        let kernel = match optional::<String>(value, &prefix, "minKernel")? {
            None => None,
            Some(text) => Some(parse_version(&text).ok_or_else(|| {
                invalid(&format!("{prefix}minKernel"), &format!("{text:?}; use a version like \"4.8\""))
            })?),
        };
        Ok(Self {
            capabilities: optional(value, &prefix, "caps")?.unwrap_or_default(),
            architectures: optional(value, &prefix, "arches")?.unwrap_or_default(),
            kernel,
        })
    }

    fn names_this_architecture(&self) -> bool {
        let native = host_abi().name;
        let docker = ARCHES.iter().find(|(_, name, _)| *name == native).map(|(.., docker)| *docker);
        self.architectures.iter().any(|name| Some(name.as_str()) == docker)
    }

    fn is_met(&self, host: &Host<'_>) -> bool {
        (self.architectures.is_empty() || self.names_this_architecture())
            && self.capabilities.iter().all(|capability| host.capabilities.contains(capability))
            && self.kernel.is_none_or(|least| host.kernel >= least)
    }

    fn is_hit(&self, host: &Host<'_>) -> bool {
        self.names_this_architecture()
            || self.capabilities.iter().any(|capability| host.capabilities.contains(capability))
            || self.kernel.is_some_and(|least| host.kernel >= least)
    }
}
