"""The server as an ASGI application for another HTTP server, which owns the sockets: uvicorn, hypercorn, Ray Serve.

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

_LOOK_EVERY_S = 0.05


class HostedFront:
    """The routes of the server, and its workers. What concerns connections is the host's: their number, TLS, idle timeouts."""

    def __init__(self, options: ServerOptions, folders: Mapping[str, Path]) -> None:
        """Start nothing yet.

        Args:
            options: how to serve. Those of sockets, TLS and gRPC are the host's matter.
            folders: the extracted archives by the names of their models.

        Raises:
            UnpackError: an archive was packaged before this server existed.
            OptionError: the file of tokens, or the endpoint of traces cannot be used.
        """
        settings = make_settings(options, folders)
        self._models, self._telemetry, self._front = settings.models, settings.telemetry, Front(settings)
        self._has_started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            # The front's own connections always have a state; other hosts need not.
            await self._front({**scope, "state": scope.get("state", {})}, receive, send)

    async def start(self) -> None:
        """Start the workers, and return when every model is ready. Does nothing if they have been started.

        Raises:
            ModelNotReady: the workers of a model keep dying.
        """
        if not self._has_started:
            self._has_started = True
            for model in self._models.values():
                model.start()
        while not self._front.is_ready:
            self.check_health()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def stop(self) -> None:
        """End the workers. What they hold is lost, so the host must let its requests finish before."""
        self._front.is_draining = True
        await asyncio.gather(*(model.stop() for model in self._models.values()))
        self._telemetry.close()

    def check_health(self) -> None:
        """
        Raises:
            ModelNotReady: the workers of a model keep dying.
        """
        for model in self._models.values():
            if model.queue.closed is not None:
                raise ModelNotReady(f"{model.queue.closed}; the last one: {model.last_end}")

    async def _live(self, receive: Receive, send: Send) -> None:
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
