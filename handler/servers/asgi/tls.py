"""TLS by certificate files, which may be renewed while the server runs, and handshakes that hold no place for ever."""

import asyncio
import re
import ssl
import stat
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from handler.servers.asgi.connections import LAST_REQUEST_WITHIN_S, LimitedConnection
from handler.servers.asgi.logs import log_event
from handler.servers.asgi.watched_files import UnusableFile, WatchedFiles

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----")
_PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----")
#: A closed connection ends so long after its last byte has been sent, though the client has not closed its side of TLS; and
#: after so long even if bytes are left.
_GOODBYE_WITHIN_S, _FLUSH_WITHIN_S = 0.5, 300.0


class ServerCertificate:
    """A certificate and its key, read again when a file changes: handshakes from then on have the new one."""

    def __init__(self, certificate: Path, key: Path | None) -> None:
        """Read the files.

        Args:
            certificate: the server's certificate and the chain below its authority, as PEM.
            key: its private key, as PEM; None: it is in the same file.

        Raises:
            UnusableFile: the files cannot be read, or do not fit together.
        """
        key = key or certificate
        self._contexts = WatchedFiles("--certificate", [certificate, key], lambda: load_context(certificate, key))
        if key.stat().st_mode & stat.S_IROTH:
            log_event("warning", message=f"{key}: every user of this machine can read this private key; chmod o-r {key}")
        #: For all handshakes.
        self.context = load_context(certificate, key)
        self.context.sni_callback = self._take_newest

    def _take_newest(self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        """OpenSSL calls this after the client's first message, also from clients that name no host."""
        del name, context
        handshake.context = self._contexts.value()


def load_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a context with a certificate and its key, both as PEM.

    Raises:
        UnusableFile: they cannot be used.
        OSError: they cannot be read.
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


#: asyncio gives every TLS connection a read buffer of 256 KiB: 950 that say nothing took 290 MB, with this 77.
_READ_BUFFER_BYTES = 1 << 15


class TlsHandshake(asyncio.Protocol):
    """A connection before it speaks HTTP. It counts as a connection, and has as long as headers have.

    asyncio's own TLS tells a protocol of a connection only after the handshake, and would let any number wait for that.
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
        #: What came between the end of the handshake and the beginning of the connection.
        self._early = bytearray()
        self._is_lost = self._is_draining = False
        self._task: asyncio.Task[None] | None = None
        self._raw: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self._raw = transport
        self._connections.add(self)
        if len(self._connections) > self.connection_type.most_connections:
            transport.abort()  # To say why would take the handshake.
            return
        transport.pause_reading()
        self._task = self._loop.create_task(self._shake_hands())

    def data_received(self, data: bytes) -> None:
        self._early += data

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._is_lost = True
        self._connections.discard(self)

    def shutdown(self) -> None:
        """As the server ends, give the handshake a moment: a request may follow."""
        self._is_draining = True
        self._loop.call_later(LAST_REQUEST_WITHIN_S, self._end)

    async def _shake_hands(self) -> None:
        try:
            transport = await self._loop.start_tls(
                self._raw,
                self,
                self.context,
                server_side=True,
                ssl_handshake_timeout=self.connection_type.header_timeout,
                ssl_shutdown_timeout=_FLUSH_WITHIN_S,
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
        if self._early:
            connection.data_received(bytes(self._early))
        if self._is_draining:
            connection.shutdown()

    def _end(self) -> None:
        if self in self._connections:
            self._raw.abort()


class _TlsTransport:
    """asyncio's TLS transport, which after `close` waits for the client's goodbye only briefly, yet lets a long answer end."""

    def __init__(self, transport: asyncio.Transport, raw: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._raw = raw
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        self._transport.close()
        self._loop.call_later(_GOODBYE_WITHIN_S, self._end_if_flushed)

    def _end_if_flushed(self) -> None:
        if self._raw.is_closing():
            return
        if self._transport.get_write_buffer_size() or self._raw.get_write_buffer_size():
            self._loop.call_later(_GOODBYE_WITHIN_S, self._end_if_flushed)
        else:
            self._raw.abort()


def tls_connection_type(connection_type: type[LimitedConnection], certificate: ServerCertificate) -> type[TlsHandshake]:
    """Return the class of connections that become a `connection_type` after a handshake."""
    SSLProtocol.max_size = _READ_BUFFER_BYTES
    return type("TlsConnection", (TlsHandshake,), {"connection_type": connection_type, "context": certificate.context})
