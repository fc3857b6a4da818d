"""Pixels as input and arrays as output of KServe v2, through the whole service."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handler.application import Application, Call
from handler.archive import ModelArchive
from handler.geometry import RGBImage
from handler.labels import Labels
from handler.network.engines import Engine, Logits, Pixels
from handler.options import ModelIdentity
from handler.request.protocols import Reply
from handler.request.protocols.kserve_v2 import tensor_metadata
from handler.settings import HandlerSettings
from tests.engines import ColourEngine, build_pipeline
from tests.support import encode, metadata, noise

LENGTH = "Inference-Header-Content-Length"
DTYPES = {"UINT8": "<u1", "UINT16": "<u2", "FP32": "<f4"}
ARRAYS = ["confidence", "label_map", "probabilities"]
PHOTO = noise(20, 30)


class SoftEngine(ColourEngine):
    """An engine that is not certain of any class."""

    def logits(self, pixels: Pixels) -> Logits:
        return np.divide(super().logits(pixels), 64, dtype=np.float32)


def application(engine: Engine | None = None, **limits: Any) -> Application:
    archive = ModelArchive(Path(), Path("model.safetensors"), ModelIdentity("m", "1"), HandlerSettings(limits=limits))
    return Application(archive, build_pipeline(engine or SoftEngine(), **limits))


@pytest.fixture(scope="module")
def service() -> Application:
    return application()


def ask(service: Application, *inputs: Any, sections: bytes | None = None, action: Any = "predict", **fields: Any) -> Reply:
    document = json.dumps({"inputs": list(inputs), **fields}).encode()
    headers = {} if sections is None else {LENGTH: str(len(document))}
    (reply,) = service.answer([Call({"body": document + (sections or b"")}, headers, action)])
    return reply


def outputs_of(reply: Reply) -> dict[str, Any]:
    """Return each output as an array, or as a list of its elements' bytes."""
    assert reply.error is None, reply.body
    length = int(reply.headers.get(LENGTH, len(reply.body)))
    remaining, arrays = reply.body[length:], {}
    for output in json.loads(reply.body[:length])["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        section, remaining = remaining[: size or 0], remaining[size or 0 :]
        if output["datatype"] == "BYTES":
            arrays[output["name"]] = output["data"] if size is None else section[4:]
        else:
            dtype = DTYPES[output["datatype"]]
            values = np.array(output["data"], dtype) if size is None else np.frombuffer(section, dtype)
            arrays[output["name"]] = values.reshape(output["shape"])
    assert remaining == b""
    return arrays


def read_picture(file: bytes) -> npt.NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(file)))


def pixels(image: RGBImage, data: Any = None, **changes: Any) -> dict[str, Any]:
    values = image.ravel().tolist() if data is None else data
    return {"name": "image", "shape": list(image.shape), "datatype": "UINT8", "data": values, **changes}


def section_of(image: RGBImage, size: Any = None, **changes: Any) -> dict[str, Any]:
    parameters = {"binary_data_size": image.nbytes if size is None else size}
    return {"name": "image", "shape": list(image.shape), "datatype": "UINT8", "parameters": parameters, **changes}


def photo(data: bytes, **changes: Any) -> dict[str, Any]:
    return {"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(data).decode()], **changes}


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1),
    st.sampled_from([{}, {"format": "png"}, {"format": "overlay"}, {"bands": [3, 2, 1], "range": "auto"}, {"bands": 2}]),
)  # fmt: skip
def test_pixels_in_any_encoding_are_answered_like_their_png(
    service: Application, height: int, width: int, seed: int, options: Mapping[str, Any]
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    batch_shape = [1, *image.shape]

    replies = [
        ask(service, photo(encode(image)), parameters=options),
        ask(service, pixels(image), parameters=options),
        ask(service, pixels(image, image.tolist(), shape=batch_shape[1:]), parameters=options),
        ask(service, pixels(image, image[None].tolist(), shape=batch_shape), parameters=options),
        ask(service, section_of(image, shape=batch_shape), sections=image.tobytes(), parameters=options),
    ]

    assert [reply.error for reply in replies] == [None] * 5
    assert len({reply.body for reply in replies}) == 1


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from([{}, {"classes": ["cat"]}, {"flip": True, "scales": [0.5, 1]}]))
def test_arrays_equal_the_other_formats_in_json_and_in_binary(
    service: Application, height: int, width: int, options: Mapping[str, Any]
) -> None:
    image = encode(noise(height, width))

    def answer_as(name: str) -> bytes:
        (reply,) = service.answer([Call({"data": image, "options": {**options, "format": name}})])
        return reply.body

    def arrays(*, binary: bool) -> dict[str, npt.NDArray[Any]]:
        requested_outputs = [{"name": name, "parameters": {"binary_data": binary}} for name in ARRAYS]
        return outputs_of(ask(service, photo(image), outputs=requested_outputs, parameters=options))

    as_json, as_binary = arrays(binary=False), arrays(binary=True)
    assert list(as_json) == ARRAYS
    for name, array in as_json.items():
        assert array.dtype == as_binary[name].dtype
        np.testing.assert_array_equal(array, as_binary[name])
    np.testing.assert_array_equal(as_json["label_map"], read_picture(answer_as("png")))
    np.testing.assert_array_equal(np.rint(as_json["confidence"] * 255), read_picture(answer_as("confidence")))
    np.testing.assert_allclose(as_json["probabilities"].sum(axis=0), 1, atol=1e-5)
    with np.load(io.BytesIO(answer_as("npz"))) as npz:
        np.testing.assert_array_equal(as_json["probabilities"].astype(np.float16), npz["probabilities"])


def test_one_run_of_the_network_gives_every_output() -> None:
    engine = SoftEngine()
    service = application(engine)
    names = ["label_map", "answer", "image", "probabilities", "confidence"]

    outputs = outputs_of(ask(service, photo(encode(PHOTO)), outputs=names, parameters={"format": "png"}))

    assert engine.batches == [1]
    assert list(outputs) == names
    assert outputs["answer"] == outputs["image"]
    assert (outputs["label_map"].shape, outputs["confidence"].shape) == ((20, 30), (20, 30))


def test_without_requested_arrays_the_answer_is_unchanged(service: Application) -> None:
    calls: list[dict[str, Any]] = [{}, {"outputs": []}, {"outputs": ["image"]}]
    replies = [ask(service, photo(encode(PHOTO)), **fields) for fields in calls]

    assert len({reply.body for reply in replies}) == 1
    assert list(outputs_of(replies[0])) == ["image"]


def test_the_answer_to_several_images_is_one_tensor(service: Application) -> None:
    inputs = [photo(encode(PHOTO)), pixels(PHOTO[:9], name="more")]

    outputs = json.loads(ask(service, *inputs, outputs=["more", "answer"], parameters={"masks": "none"}).body)["outputs"]

    assert [(output["name"], output["shape"]) for output in outputs] == [("more", [1]), ("answer", [2])]
    assert outputs[0]["data"] == outputs[1]["data"][1:]
    assert [json.loads(text)["image"]["height"] for text in outputs[1]["data"]] == [20, 9]


def test_parameters_of_the_answer_override_all_other_options(service: Application) -> None:
    requested_output = {"name": "answer", "parameters": {"format": "png", "classification": 3}}

    reply = ask(service, photo(encode(PHOTO), parameters={"format": "npz"}), outputs=[requested_output, "label_map"])

    assert json.loads(reply.body)["outputs"][0]["parameters"] == {"content_type": "image/png"}


@pytest.mark.parametrize(
    ("inputs", "fields", "message"),
    [
        (1, {"outputs": ["scores"]}, "no output 'scores'; there are 'answer', 'label_map', 'probabilities', 'confidence'"),
        (1, {"outputs": [{"name": ["label_map"]}]}, "no output a list"),
        (1, {"outputs": [5]}, "no output 5"),
        (1, {"outputs": ["label_map", {"name": "label_map"}]}, "output 'label_map' is named more than once"),
        (2, {"outputs": ["label_map"]}, "output 'label_map' is for one image, the call holds 2; send a call for each"),
        (
            1,
            {"outputs": [{"name": "confidence", "parameters": {"format": "png"}}]},
            "output 'confidence': options, as 'format'",
        ),
        (1, {"outputs": [{"name": "answer", "parameters": {"formt": 1}}]}, "unknown option 'formt', did you mean 'format'"),
        (1, {"outputs": ["label_map"], "action": "explain"}, "an explanation has no output 'label_map', only 'answer'"),
    ],
)
def test_impossible_outputs_are_400(inputs: int, fields: dict[str, Any], message: str) -> None:
    reply = ask(application(ColourEngine()), *[photo(encode(PHOTO))] * inputs, **fields)

    assert reply.error is not None
    assert reply.error.status == 400
    assert message in str(reply.error)


@pytest.mark.parametrize(
    ("tensor", "expected", "message"),
    [
        (pixels(PHOTO, [1] * 1799), "InvalidRequest", "shape [20, 30, 3] needs 1,800 values, there are 1,799"),
        (pixels(PHOTO, []), "InvalidRequest", "needs 1,800 values, there are 0"),
        (pixels(PHOTO, "AAAA"), "InvalidRequest", "'data' is text, it should be a list"),
        (pixels(PHOTO, None) | {"data": None}, "InvalidRequest", "'data' is null"),
        (pixels(PHOTO, [*[1] * 1799, 256]), "InvalidRequest", "'data' holds 256, values of 'UINT8' should be whole numbers"),
        (pixels(PHOTO, [*[1] * 1799, -1]), "InvalidRequest", "'data' holds -1"),
        (pixels(PHOTO, [*[1] * 1799, True]), "InvalidRequest", "'data' holds true"),
        (pixels(PHOTO, [*[1] * 1799, 1.0]), "InvalidRequest", "'data' holds 1.0"),
        (pixels(PHOTO, [*[1] * 1799, [1]]), "InvalidRequest", "'data' holds a list"),
        (pixels(PHOTO, PHOTO[:, :9].tolist()), "InvalidRequest", "'data' is not nested as its shape [20, 30, 3] says"),
        (pixels(PHOTO, [[1] * 1800]), "InvalidRequest", "not nested"),
        (pixels(PHOTO, shape=[20, 30]), "InvalidRequest", "shape [20, 30] of 'UINT8' should be [H, W, 3] or [1, H, W, 3]"),
        (pixels(PHOTO, shape=[20, 30, 4]), "InvalidRequest", "shape [20, 30, 4]"),
        (pixels(PHOTO, shape=[2, 10, 30, 3]), "InvalidRequest", "shape [2, 10, 30, 3]"),
        (pixels(PHOTO, shape=[-20, -30, 3]), "InvalidRequest", "shape [-20, -30, 3]"),
        (pixels(PHOTO, shape=[0, 30, 3]), "InvalidRequest", "shape [0, 30, 3]"),
        (pixels(PHOTO, shape=[True, 1800, 3]), "InvalidRequest", "shape [true, 1800, 3]"),
        (pixels(PHOTO, shape=[True, 20, 30, 3]), "InvalidRequest", "shape [true, 20, 30, 3]"),
        (pixels(PHOTO, shape=[20.0, 30, 3]), "InvalidRequest", "shape [20.0, 30, 3]"),
        (pixels(PHOTO, shape=[20, 30, 3.0]), "InvalidRequest", "shape [20, 30, 3.0]"),
        (pixels(PHOTO, shape="x"), "InvalidRequest", "shape 'x'"),
        (pixels(PHOTO, shape=[10**4000, 10**4000, 3]), "ImageTooLarge", "the limit for a side is 65,500"),
        (pixels(PHOTO, shape=[60_000, 60_000, 3]), "ImageTooLarge", "3,600,000,000 pixels, the limit is 64,000,000"),
        (pixels(PHOTO, shape=[6000, 6000, 3]), "ImageTooLarge", "108,000,000 bytes, the limit is 32,000,000; send a file"),
        (pixels(PHOTO, datatype="FP32"), "InvalidRequest", "'FP32' is not supported, send files as 'BYTES' or pixels as"),
        (pixels(PHOTO, datatype="INT8"), "InvalidRequest", "datatype 'INT8'"),
    ],
)  # fmt: skip
def test_invalid_pixels_are_refused(service: Application, tensor: Any, expected: str, message: str) -> None:
    reply = ask(service, tensor)

    assert type(reply.error).__name__ == expected
    assert message in str(reply.error)


@pytest.mark.parametrize(
    ("size", "section_bytes", "message"),
    [
        (1799, 1799, "shape [20, 30, 3] needs 1,800 values, there are 1,799"),
        (1801, 1801, "there are 1,801"),
        (1800, 1799, "'binary_data_size' is 1800; it should be a number of bytes, at most the 1,799 left"),
        (1800, 1801, "the body ends with 1 bytes that no 'binary_data_size' of an input counts"),
        (True, 1800, "'binary_data_size' is true"),
        (-1, 1800, "'binary_data_size' is -1"),
    ],
)
def test_sections_that_do_not_fit_the_shape_are_400(service: Application, size: Any, section_bytes: int, message: str) -> None:
    reply = ask(service, section_of(PHOTO, size), sections=bytes(section_bytes))

    assert type(reply.error).__name__ == "InvalidRequest"
    assert message in str(reply.error)


def test_data_both_in_json_and_binary_is_400(service: Application) -> None:
    reply = ask(service, section_of(PHOTO, data=[1]), sections=PHOTO.tobytes())

    assert "both 'data' and 'binary_data_size'" in str(reply.error)


def test_several_pixel_tensors_share_the_limits() -> None:
    service = application(max_pixels=1000)

    assert ask(service, pixels(PHOTO)).error is None
    assert type(ask(service, pixels(PHOTO), pixels(PHOTO, name="more")).error).__name__ == "ImageTooLarge"


@pytest.mark.parametrize(
    ("rows", "binary", "message"),
    [
        (20, True, None),
        (60, True, None),
        (80, True, "confidence would have at least 9,600 bytes, the limit is 7,500"),
        (60, False, "has more bytes as JSON than the limit, 7,500; request it with 'binary_data', which takes 7,200"),
    ],
)
def test_binary_arrays_count_by_bytes_and_json_arrays_by_text_length(rows: int, binary: bool, message: str | None) -> None:
    requested_output = {"name": "confidence", "parameters": {"binary_data": binary}}

    reply = ask(application(max_response_bytes=7_500), pixels(noise(rows, 30)), outputs=[requested_output])

    assert (reply.error is None) == (message is None)
    assert (message or "") in str(reply.error)


def test_metadata_declares_the_types_and_shapes_of_answers(service: Application) -> None:
    tensors = tensor_metadata(Labels.from_metadata(metadata()))
    names = [output["name"] for output in tensors["outputs"]]
    labels_257 = Labels(tuple(map(str, range(257))), ((0, 0, 0),) * 257)

    outputs = json.loads(ask(service, pixels(PHOTO), outputs=names).body)["outputs"]

    assert names == ["answer", "label_map", "probabilities", "confidence"]
    for output, declared in zip(outputs, tensors["outputs"], strict=True):
        assert output["datatype"] == declared["datatype"]
        assert fits(output["shape"], declared["shape"])
    assert [(tensor["datatype"], tensor["shape"]) for tensor in tensors["inputs"]] == [("BYTES", [-1]), ("UINT8", [-1, -1, 3])]
    assert [tensor["datatype"] for tensor in tensor_metadata(labels_257)["outputs"][1:3]] == ["UINT16", "FP32"]


def fits(shape: Sequence[int], declared: Sequence[int]) -> bool:
    return len(shape) == len(declared) and all(size in (side, -1) for side, size in zip(shape, declared, strict=True))
