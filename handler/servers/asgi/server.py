"""Run the front process: sockets, signals, workers, and a shutdown that loses no request."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from handler.allocator import configure_malloc
from handler.servers.asgi.access import Access
from handler.servers.asgi.body import BodyBudget
from handler.servers.asgi.connections import connection_type
from handler.servers.asgi.cross_origin import CrossOrigin
from handler.servers.asgi.guard import RequestGuard
from handler.servers.asgi.host_names import HostNames, is_loopback
from handler.servers.asgi.last_connections import accept_last_connections
from handler.servers.asgi.logs import log_event, log_into
from handler.servers.asgi.options import ServerOptions
from handler.servers.asgi.request_queue import RequestQueue
from handler.servers.asgi.rollout import Rollout
from handler.servers.asgi.routes import Front, FrontSettings
from handler.servers.asgi.telemetry import Telemetry, make_telemetry
from handler.servers.asgi.tls import ServerCertificate, tls_connection_type
from handler.servers.asgi.unpack import UnpackError
from handler.servers.asgi.workers import ModelWorkers, WorkerSettings, has_worker

if TYPE_CHECKING:
    from handler.servers.asgi.open_inference.server import GrpcServer

_BACKLOG = 1024
#: The niceness of models that only shadow others: the lowest priority there is.
_LOWEST_NICENESS = 19


def serve(options: ServerOptions, folders: Mapping[str, Path]) -> int:
    """Serve until SIGTERM or SIGINT, finish the accepted requests, and return the exit code.

    Args:
        options: how to serve.
        folders: the extracted archives by model name.

    Raises:
        UnpackError: an archive was packaged before this server existed.
        OptionError: the token file, the certificate or the tracing endpoint cannot be used.
        OSError: the port is not available, or the log file cannot be written.
    """
    settings = make_settings(options, folders)
    connections = make_connection_type(options, settings.telemetry)
    with listen(options) as listener:
        if options.log_file is not None:
            log_into(options.log_file, options.log_megabytes * 1_000_000)
        return asyncio.run(_run(options, settings, listener, connections))


def make_settings(options: ServerOptions, folders: Mapping[str, Path]) -> FrontSettings:
    """Return what the routes need, without starting any worker.

    Raises:
        UnpackError: an archive was packaged before this server existed.
        OptionError: the token file or the tracing endpoint cannot be used.
    """
    for folder in folders.values():
        if not has_worker(folder):
            raise UnpackError(f"{folder}: from an archive without this server; package it again")
    configure_malloc()  # Frees the bodies of answered requests.
    models = make_models(options, folders)
    telemetry, body_budget = make_telemetry(models), BodyBudget(options.held_megabytes * 1_000_000)
    rollout = Rollout(models, options.canary, options.shadow, options.held_megabytes * 250_000, telemetry.metrics)
    return FrontSettings(models, options.body_timeout, body_budget, make_guard(options), telemetry, rollout)


def make_models(options: ServerOptions, folders: Mapping[str, Path]) -> dict[str, ModelWorkers]:
    """Return the models with their queues and workers, without starting any worker."""
    only_shadows = {split.target for split in options.shadow} - {split.target for split in options.canary}
    return {
        name: ModelWorkers(
            WorkerSettings(
                name,
                folder,
                options.startup_timeout,
                options.hung_after,
                options.silent_after,
                _LOWEST_NICENESS if name in only_shadows else 0,
                options.threads,
            ),
            RequestQueue(options.queue, options.timeout),
            options.workers,
        )
        for name, folder in folders.items()
    }


def make_guard(options: ServerOptions) -> RequestGuard:
    """Return the access checks for requests.

    Raises:
        OptionError: the token file cannot be used.
    """
    if options.tokens is None and not is_loopback(options.host):
        log_event(
            "warning",
            message=f"listening on {options.host} without --tokens: anyone reaching this port can use and inspect the server",
        )
    hosts = HostNames(options.host, options.allow_host)
    return RequestGuard(Access(options.tokens), hosts, CrossOrigin(options.allow_origin))


def make_connection_type(options: ServerOptions, telemetry: Telemetry) -> type[asyncio.Protocol]:
    """Return the connection class, with TLS if there is a certificate.

    Raises:
        OptionError: the certificate cannot be used.
    """
    plain = connection_type(options.connections, options.header_timeout, telemetry.refuse_connection)
    if options.certificate is None:
        return plain
    return tls_connection_type(plain, ServerCertificate(options.certificate, options.key))


async def _run(
    options: ServerOptions, settings: FrontSettings, listener: socket.socket, connections: type[asyncio.Protocol]
) -> int:
    front, models = Front(settings), settings.models
    grpc = await _start_grpc(options, settings, front)
    for model in models.values():
        model.start()
    host, port = listener.getsockname()[:2]
    scheme = "https" if options.certificate else "http"
    address = f"[{host}]" if ":" in host else host
    details = {} if grpc is None else {"grpc": f"{address}:{grpc.port}"}
    log_event("listening", address=f"{scheme}://{address}:{port}", **details, models=list(models))
    server = _Server(_configuration(options, front, connections), front, grpc)
    open_connections = server.server_state.connections
    settings.telemetry.export_front(connections=lambda: len(open_connections), held_bytes=lambda: settings.body_budget.bytes)
    try:
        await server.serve(sockets=[listener])
    finally:
        await asyncio.gather(*(model.stop() for model in models.values()))
        settings.telemetry.close()
    log_event("ended", unanswered=len(server.server_state.tasks))
    return 0


async def _start_grpc(options: ServerOptions, settings: FrontSettings, front: Front) -> "GrpcServer | None":
    """Start the gRPC server if it is configured; its packages are imported only then.

    Raises:
        OptionError: the certificate cannot be used.
        OSError: the port is not available.
    """
    if options.grpc_port is None:
        return None
    from handler.servers.asgi.open_inference.server import GrpcServer

    listen(replace(options, port=options.grpc_port)).close()  # Its error message for a port in use is better than gRPC's.
    return await GrpcServer.start(options, settings, front)


def _configuration(options: ServerOptions, front: Front, connections: type[asyncio.Protocol]) -> uvicorn.Config:
    return uvicorn.Config(
        front,
        http=connections,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, round(options.keep_alive)),
        timeout_graceful_shutdown=max(1, round(options.drain)),
    )


def listen(options: ServerOptions) -> socket.socket:
    """Open the socket that clients connect to.

    Raises:
        OSError: the port is not available.
    """
    try:
        family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
        listener = socket.create_server((options.host, options.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {options.host} port {options.port}: {error.strerror}") from error
    # Connections inherit this option. asyncio sets it only on sockets whose protocol is explicit, unlike those from
    # `create_server`; without it the body of an answer waits up to 40 ms for the client to acknowledge the headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class _Server(uvicorn.Server):
    """Uvicorn's server, but not ready as soon as a signal ends it, and with exit code 0."""

    def __init__(self, config: uvicorn.Config, front: Front, grpc: "GrpcServer | None") -> None:
        super().__init__(config)
        self._front = front
        self._grpc = grpc

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop, signals = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self._end, number)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or []:
            await accept_last_connections(listener)
        shutdowns = [super().shutdown(sockets)]
        if self._grpc is not None:
            shutdowns.append(self._grpc.end(self.config.timeout_graceful_shutdown or 0, lambda: self.force_exit))
        await asyncio.gather(*shutdowns)

    def _end(self, number: signal.Signals) -> None:
        unfinished = len(self.server_state.tasks)
        log_event("draining", signal=number.name, unfinished=unfinished, force=self._front.is_draining)
        # A second signal ends the server at once.
        self.force_exit = self._front.is_draining
        self._front.is_draining = self.should_exit = True
