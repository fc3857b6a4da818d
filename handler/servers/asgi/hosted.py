"""The server as an ASGI application for another HTTP server that owns the sockets, such as uvicorn, hypercorn or Ray Serve.

The models' worker processes start and end with the application's lifespan.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

from handler.servers.asgi.errors import ModelNotReady
from handler.servers.asgi.options import ServerOptions
from handler.servers.asgi.routes import Front
from handler.servers.asgi.server import make_settings

_POLL_INTERVAL_S = 0.05


class HostedFront:
    """The server's routes and workers. The hosting server handles connections: their number, TLS and idle timeouts."""

    def __init__(self, options: ServerOptions, folders: Mapping[str, Path]) -> None:
        """Prepare the routes without starting any worker.

        Args:
            options: how to serve. Options for sockets, TLS and gRPC are ignored.
            folders: the extracted archives by model name.

        Raises:
            UnpackError: an archive was packaged before this server existed.
            OptionError: the token file or the tracing endpoint cannot be used.
        """
        settings = make_settings(options, folders)
        self._models, self._telemetry, self._front = settings.models, settings.telemetry, Front(settings)
        self._has_started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        else:
            # This server's own connections always set a state; other servers may not.
            await self._front({**scope, "state": scope.get("state", {})}, receive, send)

    async def start(self) -> None:
        """Start the workers, unless they are started already, and return when every model is ready.

        Raises:
            ModelNotReady: the workers of a model keep dying.
        """
        if not self._has_started:
            self._has_started = True
            for model in self._models.values():
                model.start()
        while not self._front.is_ready:
            self.check_health()
            await asyncio.sleep(_POLL_INTERVAL_S)

    async def stop(self) -> None:
        """End the workers. The requests they hold are lost, so the hosting server must finish its requests first."""
        self._front.is_draining = True
        await asyncio.gather(*(model.stop() for model in self._models.values()))
        self._telemetry.close()

    def check_health(self) -> None:
        """Raise if a model has failed.

        Raises:
            ModelNotReady: the workers of a model keep dying.
        """
        for model in self._models.values():
            if model.queue.closed is not None:
                raise ModelNotReady(f"{model.queue.closed}; the last one: {model.last_end}")

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        message: Message
        while (message := await receive())["type"] != "lifespan.shutdown":
            if message["type"] != "lifespan.startup":
                continue
            try:
                await self.start()
            except ModelNotReady as error:
                await self.stop()
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})
