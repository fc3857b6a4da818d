import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from scripts.bulk.executors.ray import RayOptions, count_jobs
from scripts.errors import UsageError, UserError
from scripts.ray_cluster import connected
from scripts.ray_serve.__main__ import build_parser, read_arguments
from scripts.ray_serve.deployment import ServeSettings, read_settings, server_options
from scripts.ray_serve.proxy_errors import CALLBACK, VARIABLE, middlewares
from tests.support import ROOT


def test_the_kuberay_manifest_has_valid_settings() -> None:
    service = yaml.safe_load((ROOT / "deploy" / "ray" / "rayservice.yaml").read_text())
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]

    settings = read_settings(application["args"])

    assert application["import_path"] == "scripts.ray_serve:application"
    assert (settings.max_replicas, server_options(settings).threads) == (8, 2)


def test_a_command_line_gives_the_settings_of_the_application() -> None:
    arguments = ["--archive", "/models/a.mar", "--address", "auto", "--replicas", "2:5", "--cpus", "4", "--server"]

    settings = read_arguments(build_parser().parse_args([*arguments, "--timeout 60"]))

    assert settings == ServeSettings(
        archive=Path("/models/a.mar"), name="a", min_replicas=2, max_replicas=5, cpus=4, server="--timeout 60"
    )
    assert server_options(settings).timeout == 60


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--port 80", "--port is not a replica's"),
        ("--certificate a.pem", "--certificate is not a replica's"),
        ("--tmeout 3", "unrecognized arguments: --tmeout 3"),
        ("--model b=/", "one archive is served"),
    ],
)
def test_options_that_do_not_apply_to_replicas_are_refused(options: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        server_options(ServeSettings(archive=Path("a.mar"), server=options))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="max_replica"):
        read_settings({"archive": "a.mar", "max_replica": 3})


@pytest.mark.parametrize("text", ["0:1", "3:2", "x", "1:x"])
def test_invalid_ranges_of_replicas_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must be MIN:MAX"):
        build_parser().parse_args(["--archive", "a.mar", "--replicas", text])


def test_actors_are_counted_by_the_resources_of_each_node() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8, "memory": 3e9}},
        {"Alive": True, "Resources": {"CPU": 2, "memory": 64e9}},
        {"Alive": False, "Resources": {"CPU": 64, "memory": 64e9}},
        {"Alive": True, "Resources": {"memory": 8e9}},
    ]

    assert count_jobs(nodes, RayOptions()) == 5
    assert count_jobs(nodes, RayOptions(gpus=1)) == 1


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Replace Ray with a package that does nothing."""
    ray, services = ModuleType("ray"), ModuleType("ray._private.services")
    vars(ray).update(init=lambda **_: None, is_initialized=lambda: False, shutdown=lambda: None, services=services)
    vars(services).update(ConsolePopen=subprocess.Popen, get_node=lambda *_: {"alive": True})
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray._private.services", services)
    monkeypatch.setattr("scripts.ray_cluster.require_ray", lambda: None)
    return ray


def test_a_ray_that_does_not_start_in_time_is_reported(ray: ModuleType) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nMore.")

    vars(ray).update(init=init)

    message = r"^Ray on this machine cannot be used: The current node timed out during startup\.$"
    with pytest.raises(UserError, match=message), connected(None):
        pytest.fail("it is connected")


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_without_a_listener_is_reported_at_once(ray: ModuleType, scheme: str) -> None:
    vars(ray).update(init=lambda **_: pytest.fail("Ray would try for minutes"))
    with socket.create_server(("127.0.0.1", 0)) as unused_socket:
        address = f"{scheme}127.0.0.1:{unused_socket.getsockname()[1]}"

    with pytest.raises(UserError, match=rf"^Ray at {address} cannot be reached: Connection refused$"), connected(address):
        pytest.fail("it is connected")


def test_a_local_ray_is_awaited_and_runs_in_another_process_group(ray: ModuleType) -> None:
    calls, groups = [], []

    def get_node(*arguments: object) -> dict[str, bool]:
        calls.append(arguments)
        if len(calls) < 3:
            raise RuntimeError("unknown node")
        return {"alive": True}

    def init(**_: object) -> None:
        assert ray.services.get_node("address", "id") == {"alive": True}
        with ray.services.ConsolePopen(["sleep", "60"]) as process:
            groups.append((process.pid, os.getpgid(process.pid)))
            process.kill()

    vars(ray).update(init=init)
    ray.services.get_node = get_node

    with connected(None):
        assert ray.services.get_node is get_node
    assert calls == [("address", "id")] * 3
    assert groups[0][0] == groups[0][1] != os.getpgrp()


Messages = list[dict[str, Any]]


def answer_through_the_proxy(*messages: dict[str, Any], path: str = "/predictions/a") -> Messages:
    """Return the messages that reach the client when the proxy's application sends `messages`."""
    reply: Messages = []

    async def proxy(_: object, __: object, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        for message in messages:
            await send(message)

    async def receive() -> dict[str, Any]:
        raise AssertionError

    async def send(message: Any) -> None:
        reply.append(message)

    async def answer() -> None:
        (wrapper,) = middlewares()
        await wrapper.cls(proxy, *wrapper.args, **wrapper.kwargs)({"type": "http", "path": path}, receive, send)

    asyncio.run(answer())
    return reply


def text_reply(status: int, content_type: bytes = b"text/plain; charset=utf-8", *headers: tuple[bytes, bytes]) -> Messages:
    return [
        {"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type), *headers]},
        {"type": "http.response.body", "body": b"words of Ray"},
    ]


@pytest.mark.parametrize(
    ("messages", "expected", "retry_after"),
    [
        (text_reply(503, b"text/plain", (b"retry-after", b"3")), (503, "QueueFull"), b"3"),
        (text_reply(503), (503, "ModelNotReady"), b"1"),
        (text_reply(408), (504, "DeadlineExceeded"), None),
        (text_reply(404), (404, "PathNotFound"), None),
        (text_reply(500), (500, "InternalError"), None),
        ([], (503, "Unavailable"), b"1"),
    ],
    ids=["queue full", "no replica", "timeout", "no application", "fault", "replica lost"],
)
def test_errors_of_the_proxy_get_the_services_body(
    messages: Messages, expected: tuple[int, str], retry_after: bytes | None
) -> None:
    start, body = answer_through_the_proxy(*messages)

    answer, headers = json.loads(body["body"]), dict(start["headers"])
    assert (start["status"], answer["type"], answer["code"]) == (*expected, expected[0])
    assert answer["error"] == answer["message"]
    assert (headers[b"content-type"], headers.get(b"retry-after")) == (b"application/json", retry_after)
    assert int(headers[b"content-length"]) == len(body["body"])


@pytest.mark.parametrize(
    ("messages", "path"),
    [(text_reply(200), "/v1/models/a"), (text_reply(503, b"application/json"), "/ping"), (text_reply(503), "/-/healthz")],
    ids=["answer", "a replica's error", "Ray Serve's own path"],
)
def test_other_messages_pass_unchanged(messages: Messages, path: str) -> None:
    assert answer_through_the_proxy(*messages, path=path) == messages


def test_an_answer_has_one_request_id() -> None:
    duplicated = text_reply(200, b"image/png", (b"x-request-id", b"mine"), (b"x-request-id", b"mine"))

    start, _ = answer_through_the_proxy(*duplicated)

    assert [value for name, value in start["headers"] if name == b"x-request-id"] == [b"mine"]


def test_the_image_configures_the_middleware_for_proxy_errors() -> None:
    assert f"{VARIABLE}={CALLBACK}\n" in (ROOT / "deploy" / "ray" / "Dockerfile").read_text()
