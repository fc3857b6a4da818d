"""The host names under which operations are answered.

A page can point its own domain at 127.0.0.1 (DNS rebinding) and then read what a server on loopback answers it, as if it were
of the same origin. Its browser still sends the page's domain as `Host`.
"""

import ipaddress
import re
from collections.abc import Sequence

from handler.servers.asgi.errors import MalformedRequest, Misdirected

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(?::[0-9]{0,5})?")
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")


def host_name(authority: str) -> str | None:
    """Return the name or address in `NAME`, `NAME:PORT` or `[ADDRESS]:PORT`, as it is compared; None if there is none.

    User information (`user@host`), spaces, and anything else that is no name give None.
    """
    match = _HOST.fullmatch(authority)
    return match["name"].lower().strip("[]").removesuffix(".") if match else None


def is_loopback(name: str) -> bool:
    """Tell whether a host name or an address means this machine, whatever a name server says (RFC 6761, section 6.3)."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


class HostNames:
    """The check of `Host`."""

    def __init__(self, listens_on: str, allowed: Sequence[str]) -> None:
        """Keep what is allowed.

        Args:
            listens_on: the server's address. Beyond loopback, its names are not known: without `allowed`, all pass.
            allowed: names that pass beside those of loopback.
        """
        self._allowed = frozenset(allowed)
        self._checks = bool(allowed) or is_loopback(listens_on)

    def require_one(self, hosts: Sequence[str], http_version: str) -> None:
        """Refuse a request that does not say, or says twice, for which host it is (RFC 9112, section 3.2).

        Raises:
            MalformedRequest: there is not exactly one header `Host`; HTTP/1.0 may have none.
        """
        if len(hosts) > 1 or (not hosts and http_version != "1.0"):
            raise MalformedRequest(f"the request has {len(hosts)} headers 'Host', and should have one")

    def require_allowed(self, hosts: Sequence[str], target: str) -> None:
        """Refuse a request under a name that is not this server's. Without a name, it does not come from a browser.

        Args:
            hosts: the values of `Host`.
            target: the request's target, if it is a whole URL: its host counts as well.

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
                    f"the host {host[:80]!r} is not one under which this server is operated; call it as localhost, or start it "
                    "with --allow-host NAME"
                )
