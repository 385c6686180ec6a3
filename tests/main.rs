//! The whole program, as its users meet it: the real `berth` binary, run as root over state folders of the tests' own.
//!
//! One binary with a module per area. `support` is the harness: a [`support::World`] is one state root with what runs on
//! it. Nothing of the engine is linked in; what the tests know is what the command line, the socket and the host show.
//! Tests marked by [`both!`] run twice: with the engine inside each command, and through a daemon of the test's own.

#[macro_use]
mod support;

/// Isolation backends: one scenario on each, and what is particular to one.
mod backends;
/// Containers as files, and back: criu.
mod checkpoint;
/// What Docker's own clients (the `docker` command, docker-py, docker-compose) make of the daemon.
mod clients;
/// What shells offer on the command line.
mod completion;
/// What is configured, by whom, and what the engine remembers of the host.
mod configuration;
/// `cross`, which builds for other systems in containers, with berth as its engine.
mod cross;
/// Many engines at once over one state, and a thousand runs that leave nothing.
mod crowd;
/// Storage drivers: the same images on each, sizes, and what is particular to one.
mod drivers;
/// Images for other machines: by QEMU, registered or not, and by the kernel.
mod emulation;
/// Ways out of a container, tried and held.
mod escapes;
/// Every facility that can be pretended away, and that the fallback does the same.
mod fallbacks;
/// Archives, containers and requests that mean harm.
mod hostile;
/// Images in and out, and that what a file is survives the way.
mod images;
/// What the program says about the host, and how it chooses.
mod info;
/// Releases: packed, installed, upgraded, removed.
mod install;
/// A container's life after its first start: stop, restart, logs, exec, events, lists.
mod lifecycle;
/// Networks: who reaches whom, ports, names.
mod networks;
/// What the command line sends, prints and refuses about networks and ports, beside what Docker's does.
mod networks_cli;
/// The OCI runtime command line: its verbs on bundles, and under Podman and Docker.
mod oci;
/// Names, references and flags that mean nothing, to the command line, the socket and Docker's client.
mod refusals;
/// Registries: the real one, other clients, and servers that mean harm.
mod registries;
/// The whole engine as an ordinary user, with numbers of his own and without.
mod rootless;
/// `berth run`: exit codes, streams, and every flag's effect seen from inside.
mod run;
/// The daemon under service managers.
mod service;
/// Storage drivers: which is taken where, and what is said of the others.
mod storage;
/// Layers that were damaged behind the back of the engine.
mod storage_check;
/// Layers that move to another storage driver.
mod storage_migrate;
/// Engines and monitors that are killed at any moment.
mod survive;
/// A real terminal, driven as a user would.
mod terminal;
/// Root's containers with users of their own: whose their files and processes are, inside and outside.
mod userns;
/// Volumes: named, anonymous, filled, shared, of plugins; and what is refused of them.
mod volumes;
