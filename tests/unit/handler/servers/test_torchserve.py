"""The service with TorchServe's real context, without its front end."""

import base64
import gc
import gzip
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ts.context import Context, RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

from handler.drift import Reference, collect
from handler.observation import Observation
from handler.pipeline import Pipeline
from handler.profile import Profile
from handler.servers.torchserve import (
    ObservationMetrics,
    SegmentationService,
    format_in_url,
    is_explanation,
    read_context,
    text_headers,
)
from handler.settings import HandlerSettings
from model import CheckpointError
from model.strict import ConfigurationError
from tests.support import ROOT, encode, noise


def context_for(folder: Path, handler: dict[str, Any] | None = None) -> Context:
    metrics = MetricsCacheYamlImpl(str(ROOT / "metrics.yaml"))
    metrics.initialize_cache()
    manifest = {"model": {"serializedFile": "model.safetensors", "modelVersion": "2.5"}}
    return Context("pets", str(folder), manifest, 8, None, "0.12.0", True, metrics, {"handler": handler or {}})


def ask(service: SegmentationService, context: Context, *requests: tuple[dict[str, Any], dict[str, str]]) -> list[bytes]:
    context.request_ids = {index: f"id-{index}" for index in range(len(requests))}
    context.request_processor = [RequestProcessor(headers) for _, headers in requests]
    return service.handle([row for row, _ in requests], context)


@pytest.fixture(scope="module")
def context(converted: Path) -> Context:
    return context_for(converted)


@pytest.fixture(scope="module")
def service(context: Context) -> SegmentationService:
    service = SegmentationService()
    service.initialize(context)
    return service


def test_the_garbage_collector_skips_the_loaded_model(service: SegmentationService) -> None:
    assert service
    assert gc.get_freeze_count() > 100_000


def test_each_row_has_its_own_status_and_content_type(service: SegmentationService, context: Context) -> None:
    image = encode(noise(20, 30))

    ask(
        service,
        context,
        ({"body": bytearray(image)}, {}),
        ({"body": b"broken"}, {}),
        ({"data": image, "format": b"png"}, {}),
        ({"body": image}, {"X-Segment-Format": "svg"}),
        ({}, {}),
    )

    assert [context.get_response_status(i)[0] for i in range(5)] == [200, 400, 200, 400, 400]
    assert [context.get_response_content_type(i) for i in range(5)] == [
        "application/json", "application/json", "image/png", "application/json", "application/json",
    ]  # fmt: skip


def test_json_names_the_served_model_and_version(service: SegmentationService, context: Context) -> None:
    (body,) = ask(service, context, ({"body": encode(noise(20, 30))}, {}))

    assert {name: json.loads(body)[name] for name in ("model", "version")} == {"model": "pets", "version": "2.5"}


def test_an_error_has_code_type_and_message(service: SegmentationService, context: Context) -> None:
    (body,) = ask(service, context, ({"body": b"broken"}, {}))

    error = json.loads(body)
    assert (error.pop("code"), error.pop("type")) == (400, "InvalidImage")
    assert list(error) == ["error", "message"]
    assert error["error"] == error["message"]
    assert "6 bytes" in error["message"]


def test_a_reply_may_add_headers(service: SegmentationService, context: Context) -> None:
    image = encode(noise(20, 30))
    tensor = {"name": "a", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(image).decode()]}
    call = {"inputs": [tensor], "parameters": {"binary_data_output": True}}

    body, plain = ask(service, context, ({"body": call}, {}), ({"body": image}, {}))

    headers = context.get_response_headers(0)
    assert headers["content-type"] == "application/octet-stream"
    assert body[int(headers["Inference-Header-Content-Length"]) + 4 :] == plain
    assert set(context.get_response_headers(1)) == {"content-type"}


def test_a_body_may_be_compressed(service: SegmentationService, context: Context) -> None:
    image = encode(noise(20, 30))
    gzip_header = {"Content-Encoding": "gzip"}

    plain, answer, _, _ = ask(
        service,
        context,
        ({"body": image}, {}),
        ({"body": bytearray(gzip.compress(image))}, gzip_header),
        ({"body": image}, gzip_header),
        ({"body": image}, {"content-encoding": "br"}),
    )

    assert answer == plain
    assert [context.get_response_status(i)[0] for i in range(4)] == [200, 200, 400, 415]


def test_an_internal_error_names_the_request_and_logs_the_reason(
    service: SegmentationService, context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret reason")

    monkeypatch.setattr(Pipeline, "decode", fail)

    (body,) = ask(service, context, ({"body": encode(noise(2, 2))}, {}))

    answer = json.loads(body)
    assert (answer["code"], answer["type"]) == (500, "InternalError")
    assert "id-0" in answer["message"]
    assert "secret" not in answer["message"]
    assert "Traceback" not in answer["message"]
    assert "a secret reason" in caplog.text


def test_a_call_with_several_images_gets_one_answer_in_a_batch(service: SegmentationService, context: Context) -> None:
    first, second = encode(noise(20, 30)), encode(noise(9, 7))
    call = {"instances": [base64.b64encode(data).decode() for data in (first, second)]}

    first_answer, answer, second_answer = ask(
        service, context, ({"body": first}, {}), ({"body": call}, {}), ({"body": second}, {})
    )

    assert answer == b'{"predictions":[' + first_answer + b"," + second_answer + b"]}"
    assert [context.get_response_status(i)[0] for i in range(3)] == [200] * 3


@pytest.mark.parametrize(
    ("broken", "status", "kind"),
    [(b"broken", 400, "InvalidImage"), (encode(noise(2, 2), "PPM"), 415, "UnsupportedImageFormat")],
    ids=["broken", "PPM"],
)
def test_one_bad_image_refuses_only_its_call(
    service: SegmentationService, context: Context, broken: bytes, status: int, kind: str
) -> None:
    image = encode(noise(20, 30))
    call = {"instances": [base64.b64encode(data).decode() for data in (image, broken, image)]}

    error_body, answer = ask(service, context, ({"body": call}, {}), ({"body": image}, {}))

    error = json.loads(error_body)
    assert (error["code"], error["type"]) == (status, kind)
    assert error["error"] == error["message"]
    assert error["message"].startswith("image 1: ")
    assert [context.get_response_status(i)[0] for i in range(2)] == [status, 200]
    assert json.loads(answer)["image"] == {"width": 30, "height": 20}


def test_more_images_than_a_call_may_hold_are_413(service: SegmentationService, context: Context) -> None:
    (body,) = ask(service, context, ({"body": {"instances": ["eA=="] * 17}}, {}))

    assert context.get_response_status(0)[0] == 413
    assert json.loads(body)["error"] == "the call holds 17 images, the limit is 16"


def test_an_answer_above_the_limit_is_413_with_both_numbers(converted: Path) -> None:
    context = context_for(converted, {"limits": {"max_response_bytes": 2000}})
    service = SegmentationService()
    service.initialize(context)

    small, large = ask(
        service, context, ({"body": encode(noise(20, 30))}, {}), ({"body": encode(noise(300, 300)), "format": b"overlay"}, {})
    )

    assert [context.get_response_status(i)[0] for i in range(2)] == [200, 413]
    assert json.loads(small)["image"] == {"width": 30, "height": 20}
    answer = json.loads(large)
    assert answer["type"] == "ResponseTooLarge"
    assert re.fullmatch(r"the answer as 'overlay' has [\d,]+ bytes, the limit is 2,000", answer["message"])


def test_a_misspelt_setting_prevents_the_start(converted: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model-config\.yaml.*'engin'.*'engine'"):
        SegmentationService().initialize(context_for(converted, {"engin": "torch"}))


def test_an_unknown_engine_prevents_the_start(converted: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'tensorrt'.*auto.*openvino.*torch"):
        SegmentationService().initialize(context_for(converted, {"engine": "tensorrt"}))


def test_an_archive_without_its_checkpoint_prevents_the_start(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        SegmentationService().initialize(context_for(tmp_path))


def test_the_handlers_limits_are_below_the_servers() -> None:
    """Otherwise TorchServe would answer instead of us, or end the worker."""
    properties = dict(
        line.split("=", 1) for line in (ROOT / "config.properties").read_text().splitlines() if "=" in line and line[0] != "#"
    )
    config = yaml.safe_load((ROOT / "handler" / "model-config.yaml").read_text())
    limits = HandlerSettings.parse(config["handler"], source="model-config.yaml").limits

    assert limits.max_bytes < int(properties["max_request_size"])
    assert limits.max_response_bytes < int(properties["max_response_size"])


@pytest.mark.parametrize(
    ("headers", "explain"),
    [
        ({"explain": "True"}, True),
        ({"explain": "False"}, False),
        ({"explain": "False", "Explain": "True"}, False),
        ({"explain": "True", "EXPLAIN": "False"}, True),
        ({"Explain": "True"}, False),
        ({}, False),
    ],
)
def test_only_torchserves_own_header_requests_an_explanation(headers: dict[str, str], explain: bool) -> None:
    assert is_explanation(headers) == explain


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"url_path": "/png/"}, "png"),
        ({"url_path": "png"}, "png"),
        ({"URL_PATH": "png"}, None),
        ({"url_path": ""}, None),
        ({}, None),
    ],
)
def test_only_torchserves_own_header_sets_the_format(headers: dict[str, str], expected: str | None) -> None:
    assert format_in_url(headers) == expected


def test_headers_of_form_parts_are_ignored() -> None:
    assert text_headers({"data": {"content-type": "image/jpeg"}, "Accept": "image/png"}) == {"Accept": "image/png"}


@pytest.mark.parametrize("header", ["träd", "träd".encode().decode("latin-1")])
def test_headers_are_utf_8_although_torchserve_reads_latin_1(header: str) -> None:
    assert text_headers({"X-Segment-Classes": header}) == {"X-Segment-Classes": "träd"}


def test_the_metrics_have_the_names_of_the_asgi_server(
    service: SegmentationService, context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "ts.metrics"):
        ask(service, context, ({"body": encode(noise(20, 30)), "format": b"png"}, {}), ({"body": b"broken"}, {}))

    metrics = {
        # The last digits of a confidence differ between processors.
        re.sub(r"((?:confidence|review)\.Count:0\.\d)\d*", r"\1", message.partition("|#hostname")[0])
        for message in caplog.messages
        if message.startswith("[METRICS]")
    }
    counts = {message for message in metrics if "seconds" not in message}
    assert counts == {
        "[METRICS]deeplab_answers_total.Count:1|#model:pets,action:predict,format:png|#type:COUNTER",
        "[METRICS]deeplab_images_total.Count:1|#model:pets,action:predict|#type:COUNTER",
        "[METRICS]deeplab_errors_total.Count:1|#model:pets,type:InvalidImage|#type:COUNTER",
        "[METRICS]deeplab_batch_size.Count:2|#model:pets|#type:HISTOGRAM",
        "[METRICS]deeplab_class_share.Count:1.0|#model:pets,class:dog|#type:HISTOGRAM",
        "[METRICS]deeplab_confidence.Count:0.3|#model:pets|#type:HISTOGRAM",
        "[METRICS]deeplab_review.Count:0.6|#model:pets|#type:HISTOGRAM",
        "[METRICS]deeplab_image_brightness.Count:0.4929|#model:pets|#type:HISTOGRAM",
        "[METRICS]deeplab_image_megapixels.Count:0.0006|#model:pets|#type:HISTOGRAM",
    }
    stages = {message.partition("stage:")[2].partition("|")[0] for message in metrics - counts}
    assert stages == {"decode", "prepare", "network", "label", "encode"}


def test_drift_and_agreement_are_logged_and_class_names_escaped(context: Context, caplog: pytest.LogCaptureFixture) -> None:
    reference = Reference("photos", collect([Observation(1.0, 0.5, 0.9, 0.1, {0: 1.0})] * 200, 3))
    profile = Profile(("wall", "door, open|#x:1", "dog"), "openvino", "float32", (0.9999, 0.999), reference)
    metrics = ObservationMetrics(context, profile)

    with caplog.at_level(logging.INFO, "ts.metrics"):
        metrics.add([Observation(1.0, 0.5, 0.9, 0.1, {1: 1.0})] * 50)

    log_lines = {message.partition("|#hostname")[0].removeprefix("[METRICS]deeplab_") for message in caplog.messages}
    assert "class_share.Count:1.0|#model:pets,class:door__open__x_1|#type:HISTOGRAM" in log_lines
    engine = "|#model:pets,engine:openvino,precision:float32|#type:GAUGE"
    assert {f"engine_agreement.Count:0.9999{engine}", f"engine_agreement_required.Count:0.999{engine}"} <= log_lines
    assert "drift_distance.Count:0.0|#model:pets,quantity:brightness|#type:GAUGE" in log_lines
    (classes,) = (line for line in log_lines if "quantity:classes" in line)
    assert float(classes.partition("|")[0].rpartition(":")[2]) > 0.8


def test_the_handlers_metrics_are_declared_for_torchserve(context: Context) -> None:
    declared_metrics = {
        (metric["name"], tuple(metric["dimensions"]))
        for metrics in yaml.safe_load((ROOT / "metrics.yaml").read_text())["model_metrics"].values()
        for metric in metrics
    }

    measured_metrics = {
        (name, tuple(metric.dimension_names))
        for metrics in context.metrics.cache.values()
        for name, metric in metrics.items()
        if name.startswith("deeplab_")
    }
    assert measured_metrics
    assert measured_metrics <= declared_metrics


def test_an_engine_that_cannot_recover_ends_the_worker_after_its_replies(converted: Path) -> None:
    context = context_for(converted)
    end_calls: list[bool] = []
    service = SegmentationService(end_worker=lambda: end_calls.append(True))
    service.initialize(context)
    row: tuple[dict[str, Any], dict[str, str]] = ({"body": encode(noise(20, 30))}, {})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "decode", _fail)
        patch.setattr(Pipeline, "warm_up", _fail)
        bodies = ask(service, context, row, row, row)

    assert [json.loads(body)["code"] for body in bodies] == [500] * 3
    assert end_calls == [True]


def _fail(*_: object) -> None:
    raise RuntimeError("CUDA error: device-side assert triggered")


def test_a_batch_size_given_at_registration_overrides_the_archives(converted: Path) -> None:
    context = context_for(converted)
    context.model_yaml_config["batchSize"] = 2

    assert read_context(context).batch_size == 8  # As `context_for` registers it.
    context.system_properties["batch_size"] = None
    assert read_context(context).batch_size == 2
