//! The table of endpoints.

use hyper::{Method, StatusCode};

use crate::call::Call;
use crate::reply::Reply;
use crate::status::Failure;
use crate::{
    archive, attach, berth, checkpoints, containers, events, exec, images, logs, networks, registries, stats, system,
    volumes,
};

/// Answers one request. Names may hold slashes, escaped as `%2F` or not, as in Docker (`{name:.*}` of its routes): a name
/// is whatever stands between the words of its endpoint.
pub(crate) async fn answer(call: Call) -> Result<Reply, Failure> {
    let path = call.path.clone();
    let segments: Vec<&str> = path.iter().map(String::as_str).collect();
    let method = call.method.clone();
    match (method.as_str(), segments.as_slice()) {
        ("GET" | "HEAD", ["_ping"]) => system::ping(&call),
        ("GET", ["version"]) => system::version(call).await,
        ("GET", ["info"]) => system::info(call).await,
        ("GET", ["events"]) => events::events(call).await,
        ("GET", ["system", "df"]) => system::disk_usage(call).await,
        ("POST", ["auth"]) => registries::log_in(call).await,
        ("GET", ["berth", "doctor"]) => berth::doctor(call).await,
        ("GET", ["berth", "emulation"]) => berth::emulators(call).await,
        ("POST", ["berth", "emulation"]) => berth::install_emulation(call).await,
        ("DELETE", ["berth", "emulation"]) => berth::remove_emulation(call).await,
        ("GET", ["berth", "check"]) => berth::check(call, false).await,
        ("GET", ["berth", "storage", "check"]) => berth::check_storage(call, false).await,
        ("POST", ["berth", "storage", "check"]) => berth::check_storage(call, true).await,
        ("POST", ["berth", "storage", "migrate"]) => berth::migrate_storage(call).await,
        ("POST", ["berth", "check"]) => berth::check(call, true).await,

        ("GET", ["containers", "json"]) => containers::list(call).await,
        ("POST", ["containers", "create"]) => containers::create(call).await,
        ("POST", ["containers", "prune"]) => containers::prune(call).await,
        ("GET", ["containers", name @ .., "json"]) => containers::inspect(call, &named(name)?).await,
        ("GET", ["containers", name @ .., "top"]) => containers::top(call, &named(name)?).await,
        ("GET", ["containers", name @ .., "logs"]) => logs::logs(call, &named(name)?).await,
        ("GET", ["containers", name @ .., "changes"]) => containers::changes(call, &named(name)?).await,
        ("GET", ["containers", name @ .., "export"]) => archive::export(call, &named(name)?).await,
        ("GET", ["containers", name @ .., "stats"]) => stats::stats(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "resize"]) => containers::resize(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "start"]) => containers::start(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "stop"]) => containers::stop(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "restart"]) => containers::restart(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "kill"]) => containers::kill(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "update"]) => containers::update(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "rename"]) => containers::rename(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "pause"]) => containers::pause(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "unpause"]) => containers::unpause(call, &named(name)?).await,
        ("GET", ["containers", name @ .., "checkpoints"]) => checkpoints::list(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "checkpoints"]) => checkpoints::create(call, &named(name)?).await,
        ("DELETE", ["containers", name @ .., "checkpoints", checkpoint]) => {
            checkpoints::remove(call, &named(name)?, checkpoint).await
        }
        // After that of checkpoints, which it would match too.
        ("DELETE", ["containers", name @ ..]) => containers::remove(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "wait"]) => containers::wait(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "attach"]) => attach::attach(call, &named(name)?).await,
        ("GET", ["containers", .., "attach", "ws"]) => Err(Failure::unsupported(
            "attaching through a web socket is not supported; use POST /containers/{id}/attach",
        )),
        ("GET", ["containers", name @ .., "archive"]) => archive::get(call, &named(name)?).await,
        ("HEAD", ["containers", name @ .., "archive"]) => archive::head(call, &named(name)?).await,
        ("PUT", ["containers", name @ .., "archive"]) => archive::put(call, &named(name)?).await,
        ("POST", ["containers", name @ .., "exec"]) => exec::create(call, &named(name)?).await,
        ("POST", ["exec", id @ .., "start"]) => exec::start(call, &named(id)?).await,
        ("POST", ["exec", id @ .., "resize"]) => exec::resize(call, &named(id)?).await,
        ("GET", ["exec", id @ .., "json"]) => exec::inspect(call, &named(id)?).await,

        ("GET", ["images", "json"]) => images::list(call).await,
        ("POST", ["images", "create"]) => images::create(call).await,
        ("POST", ["images", "load"]) => images::load(call).await,
        ("POST", ["images", "prune"]) => images::prune(call).await,
        ("GET", ["images", "get"]) => images::save_many(call).await,
        ("GET", ["images", "search"]) => Err(Failure::unsupported(
            "searching registries is not supported: name the image, or look at the registry's own pages",
        )),
        ("GET", ["images", name @ .., "json"]) => images::inspect(call, &named(name)?).await,
        ("GET", ["images", name @ .., "history"]) => images::history(call, &named(name)?).await,
        ("GET", ["images", name @ .., "get"]) => images::save_one(call, &named(name)?).await,
        ("POST", ["images", name @ .., "tag"]) => images::tag(call, &named(name)?).await,
        ("POST", ["images", name @ .., "push"]) => registries::push(call, &named(name)?).await,
        ("DELETE", ["images", name @ ..]) => images::remove(call, &named(name)?).await,
        ("GET", ["distribution", name @ .., "json"]) => registries::look_up(call, &named(name)?).await,
        ("POST", ["commit"]) => images::commit(call).await,
        // There is no cache to prune; `docker system prune` asks for it.
        ("POST", ["build", "prune"]) => {
            Ok(crate::reply::ok(&serde_json::json!({ "CachesDeleted": [], "SpaceReclaimed": 0 })))
        }
        ("POST", ["build"] | ["build", "cancel"] | ["session"]) => {
            Err(Failure::unsupported("building images is not supported yet; import or load one instead"))
        }

        ("GET", ["networks"]) => networks::list(call).await,
        ("POST", ["networks", "create"]) => networks::create(call).await,
        ("POST", ["networks", "prune"]) => networks::prune(call).await,
        ("GET", ["networks", name @ ..]) => networks::inspect(call, &named(name)?).await,
        ("DELETE", ["networks", name @ ..]) => networks::remove(call, &named(name)?).await,
        ("POST", ["networks", name @ .., "connect"]) => networks::connect(call, &named(name)?).await,
        ("POST", ["networks", name @ .., "disconnect"]) => networks::disconnect(call, &named(name)?).await,
        ("GET", ["volumes"]) => volumes::list(call).await,
        ("POST", ["volumes", "create"]) => volumes::create(call).await,
        ("POST", ["volumes", "prune"]) => volumes::prune(call).await,
        ("GET", ["volumes", name @ ..]) => volumes::inspect(call, &named(name)?).await,
        ("DELETE", ["volumes", name @ ..]) => volumes::remove(call, &named(name)?).await,
        ("PUT", ["volumes", ..]) => Err(volumes::no_cluster()),

        ("GET", ["plugins"]) => Ok(crate::reply::ok::<[(); 0]>(&[])),
        (_, ["plugins", ..]) => Err(Failure::unsupported("plugins are not supported")),
        (_, ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..]) => Err(no_swarm()),
        _ => Err(Failure::no_such_page()),
    }
}

/// The name that these segments are; there is no such page without any.
fn named(segments: &[&str]) -> Result<String, Failure> {
    if segments.is_empty() { Err(Failure::no_such_page()) } else { Ok(segments.join("/")) }
}

/// What Docker answers on a node that is in no swarm.
fn no_swarm() -> Failure {
    let message = "This node is not a swarm manager, and berth has no swarm mode";
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
}

/// Whether the request asks for the headers alone.
pub(crate) fn is_head(call: &Call) -> bool {
    call.method == Method::HEAD
}
