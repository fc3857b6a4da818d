"""Which host names are accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.servers.asgi.errors import Misdirected
from handler.servers.asgi.host_names import HostNames
from handler.servers.asgi.options import parse_options

BEFORE = st.text(st.characters(min_codepoint=1, max_codepoint=255)) | st.just("localhost@")
AFTER = st.just("") | st.from_regex(r"\.?(:[0-9]{0,5})?", fullmatch=True)


@given(before=BEFORE, after=AFTER)
def test_nothing_before_or_after_a_foreign_name_lets_it_pass(before: str, after: str) -> None:
    with pytest.raises(Misdirected):
        HostNames("127.0.0.1", ["maps.example.org"]).require_allowed([f"{before}evil.example{after}"], "")


@pytest.mark.parametrize("listens_on", ["0.0.0.0", "::", "192.168.1.5", "maps.example.org", ""])  # noqa: S104
def test_beyond_loopback_only_names_that_are_given_are_checked(listens_on: str) -> None:
    HostNames(listens_on, []).require_allowed(["any.example"], "")

    with pytest.raises(Misdirected):
        HostNames(listens_on, ["maps.example.org"]).require_allowed(["any.example"], "")


@pytest.mark.parametrize(
    ("given_as", "kept"),
    [
        ("HTTPS://App.Example.org:443", "https://app.example.org"),
        ("http://app.example.org:80", "http://app.example.org"),
        ("http://app.example.org:443", "http://app.example.org:443"),
        ("http://[::1]:8090", "http://[::1]:8090"),
        ("tauri://localhost", "tauri://localhost"),
        ("*", "*"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(given_as: str, kept: str) -> None:
    options = parse_options(["--model", "m=docs", "--allow-origin", given_as], "server")

    assert list(options.allow_origin) == [kept]


@pytest.mark.parametrize(("given_as", "kept"), [("Maps.Example.org.", "maps.example.org"), ("[::2]", "::2"), ("::2", "::2")])
def test_a_host_is_kept_as_it_is_compared(given_as: str, kept: str) -> None:
    options = parse_options(["--model", "m=docs", "--allow-host", given_as], "server")

    assert list(options.allow_host) == [kept]
