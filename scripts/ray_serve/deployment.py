"""The server's routes as a Ray Serve deployment, with replicas scaled by the number of waiting requests."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from handler.servers.asgi.errors import ModelNotReady
from handler.servers.asgi.hosted import HostedFront
from handler.servers.asgi.options import OptionError, ServerOptions, parse_options
from handler.servers.asgi.unpack import UnpackError, unpack
from scripts.errors import UsageError, UserError
from scripts.ray_cluster import require_ray

NAME = "deeplab"
#: Estimate for a replica and its worker with the default model under load; after one request they use half (docs/scale.md).
REPLICA_BYTES = 1_200_000_000
#: Server options that Ray Serve handles itself, or that a replica cannot support.
_UNSUPPORTED_OPTIONS = ("host", "port", "grpc_port", "certificate", "key")


class ServeSettings(BaseModel):
    """How an archive is served."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Path of the archive, the same on every node.
    archive: Path
    #: The model's name; None for the archive's.
    name: str | None = None
    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=1, ge=1)
    #: Processors, GPUs and bytes of memory for each replica.
    cpus: float = Field(default=1, gt=0)
    gpus: float = Field(default=0, ge=0)
    memory: int = Field(default=REPLICA_BYTES, gt=0)
    #: Concurrent requests per replica: those being run, and one or two whose images are decoded meanwhile.
    ongoing: int = Field(default=4, ge=1)
    #: Most requests waiting in each proxy; further ones get 503.
    queued: int = Field(default=100, ge=1)
    #: Seconds of excess load before another replica is started.
    busy_after: float = Field(default=10, gt=0)
    #: Seconds without load before a replica is stopped.
    idle_after: float = Field(default=300, gt=0)
    #: Further server options, as on its command line: `--tokens FILE --timeout 60`.
    server: str = ""


def application(settings: Mapping[str, Any] | ServeSettings) -> Any:
    """Return an application for Ray Serve.

    Args:
        settings: the settings of `ServeSettings`, as given by `serve run` or a configuration file.

    Raises:
        UserError: a setting is unknown or wrong, or Ray is not installed.
    """
    require_ray()
    from ray import serve

    serve_settings = read_settings(settings)
    options = server_options(serve_settings)
    deployment = serve.deployment(serve.ingress()(Replica)).options(
        name=serve_settings.name or serve_settings.archive.stem,
        ray_actor_options={"num_cpus": serve_settings.cpus, "num_gpus": serve_settings.gpus, "memory": serve_settings.memory},
        max_ongoing_requests=serve_settings.ongoing,
        max_queued_requests=serve_settings.queued,
        backpressure_config={"retry_after_s": 1},
        autoscaling_config={
            "min_replicas": serve_settings.min_replicas,
            "max_replicas": max(serve_settings.min_replicas, serve_settings.max_replicas),
            "target_ongoing_requests": max(1, serve_settings.ongoing / 2),
            "upscale_delay_s": serve_settings.busy_after,
            "downscale_delay_s": serve_settings.idle_after,
        },
        graceful_shutdown_timeout_s=options.drain,
    )
    return deployment.bind(serve_settings)


def read_settings(settings: Mapping[str, Any] | ServeSettings) -> ServeSettings:
    """
    Raises:
        UsageError: a setting is unknown or wrong.
    """
    try:
        return settings if isinstance(settings, ServeSettings) else ServeSettings(**settings)
    except ValueError as error:
        raise UsageError(f"settings of the application: {error}") from error


def server_options(settings: ServeSettings) -> ServerOptions:
    """Return the server options for a replica, without checking that the archive exists on this machine.

    Raises:
        UsageError: an option is unknown or wrong, or controls something that Ray Serve handles itself.
    """
    name = settings.name or settings.archive.stem
    try:
        options = parse_options(shlex.split(settings.server), "python -m scripts.ray_serve", settings.archive)
    except (OptionError, ValueError) as error:
        raise UsageError(f"options of the server {settings.server!r}: {error}") from error
    defaults = ServerOptions({})
    for field in _UNSUPPORTED_OPTIONS:
        if getattr(options, field) != getattr(defaults, field):
            option = field.replace("_", "-")
            raise UsageError(
                f"options of the server {settings.server!r}: --{option} is not a replica's; Ray Serve owns the sockets"
            )
    if list(options.models.values()) != [settings.archive]:
        raise UsageError(f"options of the server {settings.server!r}: one archive is served, {settings.archive}")
    return replace(options, models={name: settings.archive}, threads=options.threads or max(1, int(settings.cpus)))


class Replica:
    """One replica: the server's routes in this process, and the model in a worker process."""

    # Ray Serve awaits the constructor.
    async def __init__(self, settings: ServeSettings) -> None:  # type: ignore[misc]
        """Start the replica and return when the model is ready.

        Raises:
            UserError: this node does not have the archive, or the model cannot be loaded.
        """
        options = server_options(settings)
        try:
            folders = {name: unpack(path, options.cache) for name, path in options.models.items()}
            self._front = HostedFront(options, folders)
            await self._front.start()
        except (ModelNotReady, OptionError, UnpackError) as error:
            raise UserError(str(error)) from error

    def __serve_build_asgi_app__(self) -> HostedFront:
        return self._front

    def check_health(self) -> None:
        """Let Ray Serve replace this replica when its workers keep dying.

        Raises:
            ModelNotReady: the workers keep dying.
        """
        self._front.check_health()
