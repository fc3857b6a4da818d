"""Manifests: Kustomize's overlays and the Helm chart, checked against Kubernetes' schemas and against each other."""

import shutil
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from handler.servers.asgi.options import ServerOptions
from tests.support import ROOT

Objects = dict[str, dict[str, Any]]
KUBERNETES, HELM = ROOT / "deploy" / "kubernetes", ROOT / "deploy" / "helm"
OVERLAYS = ("cpu", "gpu", "torchserve")
#: Operators' kinds, which test_custom_resources.py checks.
CUSTOM = {"ServiceMonitor", "ScaledObject"}

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl, which renders the overlays, is missing")


def by_kind(text: str) -> Objects:
    return {document["kind"]: document for document in yaml.safe_load_all(text) if document}


@cache
def render_overlay(overlay: str) -> str:
    command = ["kubectl", "kustomize", str(KUBERNETES / "overlays" / overlay)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@cache
def predictor() -> dict[str, Any]:
    service: dict[str, Any] = yaml.safe_load((KUBERNETES / "kserve" / "inferenceservice.yaml").read_text())
    return service


@cache
def render_chart(overlay: str) -> str:
    helm = pytest.importorskip("helm_python", reason="the package helm-python-sdk (extra deploy) is missing")
    values = {} if overlay == "cpu" else yaml.safe_load((HELM / f"values-{overlay}.yaml").read_text())
    rendered = helm.Chart.load(HELM).render(values, name="deeplab-serve", namespace="deeplab-serve")
    return "\n---\n".join(text for path, text in rendered.items() if path.endswith(".yaml"))


def pod(overlay: str) -> dict[str, Any]:
    spec: dict[str, Any] = by_kind(render_overlay(overlay))["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_chart_renders_the_same_objects_as_the_overlay(overlay: str) -> None:
    assert by_kind(render_chart(overlay)) == by_kind(render_overlay(overlay))


def test_the_chart_passes_helms_strict_lint() -> None:
    helm = pytest.importorskip("helm_python", reason="the package helm-python-sdk (extra deploy) is missing")

    report = helm.chart.lint(HELM, strict=True, namespace="deeplab-serve")

    assert report["errors"] == []
    assert [message for message in report["messages"] if message["severity"] > 1] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_matches_kubernetes_schema(overlay: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="the package kubernetes-validate (extra deploy) is missing")

    for kind, document in by_kind(render_overlay(overlay)).items():
        if kind not in CUSTOM:
            validator.validate(document, "1.37", strict=True)


def test_an_unknown_field_is_rejected() -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="the package kubernetes-validate (extra deploy) is missing")
    document = by_kind(render_overlay("cpu"))["Deployment"]
    document["spec"]["template"]["spec"]["containers"][0]["readinessprobe"] = {}

    with pytest.raises(validator.ValidationError, match="readinessprobe"):
        validator.validate(document, "1.37", strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_meet_the_restricted_profile(overlay: str) -> None:
    check_restricted(pod(overlay))


def test_kserves_pods_meet_the_restricted_profile() -> None:
    spec = predictor()["spec"]["predictor"]

    check_restricted(spec)
    assert spec["canaryTrafficPercent"] < 100
    assert spec["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"


def check_restricted(spec: dict[str, Any]) -> None:
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    context = container["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    assert all("emptyDir" in volume for volume in spec["volumes"])


@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_a_pod_lives_longer_than_its_longest_request(overlay: str) -> None:
    spec, defaults = pod(overlay), ServerOptions({})
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert defaults.drain > defaults.timeout
    assert spec["terminationGracePeriodSeconds"] > pause + defaults.drain


def test_torchserves_pod_waits_for_its_longest_request_because_it_cannot_drain() -> None:
    settings = dict(line.split("=", 1) for line in (ROOT / "config.properties").read_text().splitlines() if "=" in line)
    spec = pod("torchserve")
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert spec["terminationGracePeriodSeconds"] > pause > int(settings["default_response_timeout"])


def test_each_probe_of_our_server_has_a_path_that_it_answers() -> None:
    (container,) = pod("cpu")["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    routes = (ROOT / "handler" / "servers" / "asgi" / "routes.py").read_text()

    assert paths["livenessProbe"] == "/v2/health/live"
    assert paths["readinessProbe"] == paths["startupProbe"] == "/v2/health/ready"
    assert "/v2/health/" in routes


def test_keda_queries_metrics_that_the_server_exports() -> None:
    (trigger,) = by_kind(render_overlay("gpu"))["ScaledObject"]["spec"]["triggers"]
    names = (ROOT / "docs" / "telemetry.md").read_text()

    for name in ("deeplab_queue_length", "deeplab_running_requests"):
        assert name in trigger["metadata"]["query"]
        assert name in names


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_egress_allows_only_dns_and_traces(overlay: str) -> None:
    policy = by_kind(render_overlay(overlay))["NetworkPolicy"]["spec"]

    allowed = {
        (port["protocol"], port["port"], peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])
        for rule in policy["egress"]
        for port in rule["ports"]
        for peer in rule["to"]
    }
    assert "Egress" in policy["policyTypes"]
    assert allowed == {("UDP", 53, "kube-system"), ("TCP", 53, "kube-system"), ("TCP", 4318, "monitoring")}
