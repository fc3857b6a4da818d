"""TLS with certificate files that may be renewed while the server runs, and a time limit for handshakes."""

import asyncio
import re
import ssl
import stat
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from handler.servers.asgi.connections import LAST_REQUEST_TIMEOUT_S, LimitedConnection
from handler.servers.asgi.logs import log_event
from handler.servers.asgi.watched_files import UnusableFile, WatchedFiles

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----")
_PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----")
#: A closed connection is aborted this long after its last byte was sent, even if the client has not closed its side of TLS, and
#: after the second limit even if there are unsent bytes.
_CLOSE_TIMEOUT_S, _FLUSH_TIMEOUT_S = 0.5, 300.0


class ServerCertificate:
    """A certificate and its key, reloaded when a file changes; later handshakes use the new ones."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Read the files.

        Args:
            certificate: the server's certificate, followed by its chain, as PEM.
            key: the private key as PEM, or None if it is in the same file.

        Raises:
            UnusableFile: the files cannot be read, or do not match.
        """
        key = key or certificate
        self._contexts = WatchedFiles("--certificate", [certificate, key], lambda: load_context(certificate, key))
        if key.stat().st_mode & stat.S_IROTH:
            log_event("warning", message=f"{key}: every user of this machine can read this private key; chmod o-r {key}")
        #: The context that every handshake starts with.
        self.context = load_context(certificate, key)
        self.context.sni_callback = self._use_newest_context

    def _use_newest_context(self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        """Switch to the newest certificate. OpenSSL calls this after the client's first message, even without a host name."""
        del name, context
        handshake.context = self._contexts.value()


def load_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context with a certificate and its key, both as PEM.

    Raises:
        UnusableFile: the files are not a certificate and its key.
        OSError: a file cannot be read.
    """
    if not _CERTIFICATE.search(certificate.read_bytes()):
        raise UnusableFile(f"--certificate {certificate}: has no certificate as PEM (-----BEGIN CERTIFICATE-----)")
    if not _PRIVATE_KEY.search(key.read_bytes()):
        raise UnusableFile(f"--key {key}: has no private key as PEM (-----BEGIN PRIVATE KEY-----)")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=partial(_refuse_passphrase, key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UnusableFile(f"--key {key}: is not the key of the certificate in {certificate}") from error
        raise UnusableFile(f"--certificate {certificate}, --key {key}: cannot be used: {error.reason or error}") from error
    return context


def _refuse_passphrase(key: Path) -> NoReturn:
    raise UnusableFile(f"--key {key}: is encrypted; give it without a passphrase (openssl pkey -in {key} -out FILE)")


#: asyncio gives every TLS connection a read buffer of 256 KiB: 950 idle connections took 290 MB, and take 77 MB with this size.
_READ_BUFFER_BYTES = 1 << 15


class TlsHandshake(asyncio.Protocol):
    """A connection during its TLS handshake. It counts towards the connection limit, and has the time limit of headers.

    asyncio's own TLS reports a connection to its protocol only after the handshake, and would let any number wait for that.
    """

    connection_type: ClassVar[type[LimitedConnection]]
    context: ClassVar[ssl.SSLContext]

    def __init__(
        self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._loop = _loop or asyncio.get_running_loop()
        self._connections: set[Any] = server_state.connections
        self._make_connection: Callable[[], LimitedConnection] = partial(
            self.connection_type, config, server_state, app_state, self._loop
        )
        #: Bytes received between the end of the handshake and the start of the connection.
        self._early_data = bytearray()
        self._is_lost = self._is_draining = False
        self._task: asyncio.Task[None] | None = None
        self._raw: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self._raw = transport
        self._connections.add(self)
        if len(self._connections) > self.connection_type.max_connections:
            transport.abort()  # Sending a reason would need the handshake.
            return
        transport.pause_reading()
        self._task = self._loop.create_task(self._handshake())

    def data_received(self, data: bytes) -> None:
        self._early_data += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._is_lost = True
        self._connections.discard(self)

    def shutdown(self) -> None:
        """Give the handshake a moment at shutdown, since a request may follow."""
        self._is_draining = True
        self._loop.call_later(LAST_REQUEST_TIMEOUT_S, self._end)

    async def _handshake(self) -> None:
        try:
            transport = await self._loop.start_tls(
                self._raw,
                self,
                self.context,
                server_side=True,
                ssl_handshake_timeout=self.connection_type.header_timeout,
                ssl_shutdown_timeout=_FLUSH_TIMEOUT_S,
            )
        except OSError:  # No TLS, no common version, too slow, or gone.
            return
        finally:
            self._connections.discard(self)
        if transport is not None and not self._is_lost:
            self._begin(transport)

    def _begin(self, transport: asyncio.Transport) -> None:
        connection = self._make_connection()
        transport.set_protocol(connection)
        connection.connection_made(_TlsTransport(transport, self._raw, self._loop))
        if self._early_data:
            connection.data_received(bytes(self._early_data))
        if self._is_draining:
            connection.shutdown()

    def _end(self) -> None:
        if self in self._connections:
            self._raw.abort()


class _TlsTransport:
    """asyncio's TLS transport, which after `close` finishes sending but waits only briefly for the client to close its side."""

    def __init__(self, transport: asyncio.Transport, raw: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._raw = raw
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._transport.close()
        self._loop.call_later(_CLOSE_TIMEOUT_S, self._end_if_flushed)

    def _end_if_flushed(self) -> None:
        if self._raw.is_closing():
            return
        if self._transport.get_write_buffer_size() or self._raw.get_write_buffer_size():
            self._loop.call_later(_CLOSE_TIMEOUT_S, self._end_if_flushed)
        else:
            self._raw.abort()


def tls_connection_type(connection_type: type[LimitedConnection], certificate: ServerCertificate) -> type[TlsHandshake]:
    """Return a connection class that performs the handshake, then becomes a `connection_type`."""
    SSLProtocol.max_size = _READ_BUFFER_BYTES
    return type("TlsConnection", (TlsHandshake,), {"connection_type": connection_type, "context": certificate.context})
