"""The host names under which operational paths are answered.

A page can point its own domain at 127.0.0.1 (DNS rebinding) and then read the responses of a server on loopback as if it had
the same origin. The browser still sends the page's domain as `Host`.
"""

import ipaddress
import re
from collections.abc import Sequence

from handler.servers.asgi.errors import MalformedRequest, Misdirected

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::[0-9]{0,5})?")
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


def host_name(authority: str) -> str | None:
    """Return the normalized name or address in `NAME`, `NAME:PORT` or `[ADDRESS]:PORT`, or None if `authority` is malformed.

    User information (`user@host`) and spaces count as malformed.
    """
    match = _HOST.fullmatch(authority)
    return match["name"].lower().strip("[]").removesuffix(".") if match else None


def is_loopback(name: str) -> bool:
    """Return whether a host name or address always means this machine, whatever DNS says (RFC 6761, section 6.3)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


class HostNames:
    """Checks the header `Host`."""

    def __init__(self, address: str, allowed: Sequence[str]) -> None:
        """Allow loopback names and `allowed`.

        Args:
            address: the server's address. Beyond loopback its names are unknown, so without `allowed` all pass.
            allowed: names that pass in addition to those of loopback.
        """
        self._allowed = frozenset(allowed)
        self._checks = bool(allowed) or is_loopback(address)

    def require_one(self, hosts: Sequence[str], http_version: str) -> None:
        """Refuse a request that does not name exactly one host (RFC 9112, section 3.2).

        Raises:
            MalformedRequest: there is not exactly one `Host` header; in HTTP/1.0 it may be missing.
        """
        if len(hosts) > 1 or (not hosts and http_version != "1.0"):
            raise MalformedRequest(f"the request has {len(hosts)} headers 'Host', and should have one")

    def require_allowed(self, hosts: Sequence[str], target: str) -> None:
        """Refuse a request under a name that is not this server's. A request without a name cannot come from a browser.

        Args:
            hosts: the values of `Host`.
            target: the request's target; if it is an absolute URL, its host is checked too.

        Raises:
            Misdirected: a name is not allowed.
        """
        if not self._checks:
            return
        match = _AUTHORITY.match(target)
        for host in [*hosts, *([match[1]] if match else [])]:
            name = host_name(host)
            if name is None or not (is_loopback(name) or name in self._allowed):
                raise Misdirected(
                    f"the host {host[:80]!r} is not allowed for operating this server; call it as localhost, or start it "
                    "with --allow-host NAME"
                )
