"""Run the gRPC server next to the HTTP server: its port, limits and shutdown."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import yaml

from handler.servers.asgi.models import MAX_IMAGE_BYTES, request_bytes_for
from handler.servers.asgi.open_inference.service import InferenceService
from handler.servers.asgi.options import ServerOptions
from handler.servers.asgi.routes import Front, FrontSettings
from handler.servers.asgi.tls import load_context
from handler.servers.asgi.watched_files import WatchedFiles

#: Calls allowed in addition to those in the queues: probes, and calls whose message is still arriving.
_EXTRA_CALLS = 64
#: A client that vanished without closing its connection is noticed after a minute and a half.
_PING_INTERVAL_MS, _PONG_TIMEOUT_MS = 60_000, 30_000
_POLL_INTERVAL_S = 0.1


class GrpcServer:
    """A gRPC server on a separate port, in the event loop of the front process."""

    def __init__(self, server: Any, port: int) -> None:
        self._server = server
        self.port = port

    @classmethod
    async def start(cls, options: ServerOptions, settings: FrontSettings, front: Front) -> "GrpcServer":
        """Listen on `options.grpc_port`.

        Raises:
            OptionError: the certificate cannot be used.
            OSError: the port is not available.
        """
        server = grpc.aio.server(
            handlers=InferenceService(settings, front).handlers(),
            options=_channel_options(options, settings),
            maximum_concurrent_rpcs=options.queue * len(settings.models) + _EXTRA_CALLS,
        )
        host = f"[{options.host}]" if ":" in options.host else options.host
        try:
            port = _add_port(server, f"{host}:{options.grpc_port}", options)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {options.host} port {options.grpc_port}: {error}") from error
        await server.start()
        return cls(server, port)

    async def end(self, grace_period: float, is_forced: Callable[[], bool]) -> None:
        """Accept no more calls, and finish those in progress.

        Args:
            grace_period: seconds after which calls in progress are cancelled.
            is_forced: returns whether to stop waiting.
        """
        stopping = asyncio.ensure_future(self._server.stop(grace_period))
        while not stopping.done():
            if is_forced():
                await self._server.stop(None)
            await asyncio.wait([stopping], timeout=_POLL_INTERVAL_S)


def _add_port(server: Any, address: str, options: ServerOptions) -> int:
    """Listen on an address, with TLS if there is a certificate, which may be renewed at run time as for HTTP."""
    if options.certificate is None:
        return int(server.add_insecure_port(address))
    certificate, key = options.certificate, options.key or options.certificate

    def load_credentials() -> Any:
        load_context(certificate, key)  # Its error messages are better than gRPC's.
        return grpc.ssl_server_certificate_configuration([(key.read_bytes(), certificate.read_bytes())])

    files = WatchedFiles("--certificate", [certificate, key], load_credentials)
    credentials = grpc.dynamic_ssl_server_credentials(files.value(), files.value, require_client_authentication=False)
    return int(server.add_secure_port(address, credentials))


def _channel_options(options: ServerOptions, settings: FrontSettings) -> list[tuple[str, int]]:
    max_message_bytes = max(request_bytes_for(read_max_bytes(model.settings.folder)) for model in settings.models.values())
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),
        # Otherwise a second server could listen on the same port and take half of the connections.
        ("grpc.so_reuseport", 0),
        ("grpc.max_connection_idle_ms", round(options.keep_alive * 1000)),
        ("grpc.keepalive_time_ms", _PING_INTERVAL_MS),
        ("grpc.keepalive_timeout_ms", _PONG_TIMEOUT_MS),
    ]


def read_max_bytes(folder: Path) -> int:
    """Return the largest image in bytes that an extracted archive's settings allow, before any worker has reported it."""
    try:
        config = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_bytes())["model"]["configFile"]
        return int(yaml.safe_load((folder / config).read_bytes())["handler"]["limits"]["max_bytes"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):  # If the archive is at fault, a worker will report it.
        return MAX_IMAGE_BYTES
