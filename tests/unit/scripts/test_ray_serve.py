import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from scripts.bulk.executors.ray import RayOptions, count_jobs
from scripts.errors import UsageError, UserError
from scripts.ray_cluster import connected
from scripts.ray_serve.__main__ import parser, read_arguments
from scripts.ray_serve.deployment import ServeSettings, read_settings, server_options
from tests.support import ROOT


def test_the_manifest_of_kuberay_has_settings_of_the_application() -> None:
    service = yaml.safe_load((ROOT / "deploy" / "ray" / "rayservice.yaml").read_text())
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]

    settings = read_settings(application["args"])

    assert application["import_path"] == "scripts.ray_serve:application"
    assert (settings.max_replicas, server_options(settings).threads) == (8, 2)


def test_a_command_line_gives_the_settings_of_the_application() -> None:
    words = ["--archive", "/models/a.mar", "--address", "auto", "--replicas", "2:5", "--cpus", "4", "--server", "--timeout 60"]

    settings = read_arguments(parser().parse_args(words))

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
def test_options_that_are_not_of_replicas_are_refused(options: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        server_options(ServeSettings(archive=Path("a.mar"), server=options))


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="max_replica"):
        read_settings({"archive": "a.mar", "max_replica": 3})


@pytest.mark.parametrize("text", ["0:1", "3:2", "x", "1:x"])
def test_replicas_that_are_no_range_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="must be MIN:MAX"):
        parser().parse_args(["--archive", "a.mar", "--replicas", text])


def test_actors_are_counted_by_what_every_node_has_left_for_them() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8, "memory": 3e9}},
        {"Alive": True, "Resources": {"CPU": 2, "memory": 64e9}},
        {"Alive": False, "Resources": {"CPU": 64, "memory": 64e9}},
        {"Alive": True, "Resources": {"memory": 8e9}},
    ]

    assert count_jobs(nodes, RayOptions()) == 5
    assert count_jobs(nodes, RayOptions(gpus=1)) == 1


def test_a_ray_that_does_not_start_in_time_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nMore.")

    ray = ModuleType("ray")
    vars(ray).update(init=init, is_initialized=lambda: False, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("scripts.ray_cluster.require_ray", lambda: None)

    says = r"^Ray on this machine cannot be used: The current node timed out during startup\.$"
    with pytest.raises(UserError, match=says), connected(None):
        pytest.fail("it is connected")
