"""Which host names are accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.servers.asgi.errors import Misdirected
from handler.servers.asgi.host_names import HostNames
from handler.servers.asgi.options import parse_options

PREFIXES = st.text(st.characters(min_codepoint=1, max_codepoint=255)) | st.just("localhost@")
SUFFIXES = st.just("") | st.from_regex(r"\.?(:[0-9]{0,5})?", fullmatch=True)


@given(prefix=PREFIXES, suffix=SUFFIXES)
def test_no_prefix_or_suffix_lets_a_foreign_name_pass(prefix: str, suffix: str) -> None:
    with pytest.raises(Misdirected):
        HostNames("127.0.0.1", ["maps.example.org"]).require_allowed([f"{prefix}evil.example{suffix}"], "")


@pytest.mark.parametrize("listen_host", ["0.0.0.0", "::", "192.168.1.5", "maps.example.org", ""])  # noqa: S104
def test_beyond_loopback_names_are_checked_only_if_some_are_given(listen_host: str) -> None:
    HostNames(listen_host, []).require_allowed(["any.example"], "")

    with pytest.raises(Misdirected):
        HostNames(listen_host, ["maps.example.org"]).require_allowed(["any.example"], "")


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("HTTPS://App.Example.org:443", "https://app.example.org"),
        ("http://app.example.org:80", "http://app.example.org"),
        ("http://app.example.org:443", "http://app.example.org:443"),
        ("http://[::1]:8090", "http://[::1]:8090"),
        ("tauri://localhost", "tauri://localhost"),
        ("*", "*"),
    ],
)
def test_an_origin_is_normalized_as_browsers_send_it(argument: str, expected: str) -> None:
    options = parse_options(["--model", "m=docs", "--allow-origin", argument], "server")

    assert list(options.allow_origin) == [expected]


@pytest.mark.parametrize(
    ("argument", "expected"), [("Maps.Example.org.", "maps.example.org"), ("[::2]", "::2"), ("::2", "::2")]
)
def test_a_host_is_normalized_for_comparison(argument: str, expected: str) -> None:
    options = parse_options(["--model", "m=docs", "--allow-host", argument], "server")

    assert list(options.allow_host) == [expected]
