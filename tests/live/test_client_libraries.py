"""Public client libraries with their defaults, against a live server."""

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError
from PIL import Image

from handler.servers.asgi.open_inference.messages import message_class
from scripts.server import Server
from tests.live import client_programs
from tests.live.client import TIMEOUT_S, post
from tests.live.ray_server import RayServer
from tests.support import ROOT

#: `make test` installs the libraries that need an older protobuf into a separate environment.
ENVIRONMENT = Path(sys.prefix) / "clients"
needs_environment = pytest.mark.skipif(
    not (ENVIRONMENT / ".installed").exists(), reason="tritonclient and kserve are not installed; `make test` does"
)


@pytest.fixture(scope="module")
def plain(server: Server, thumbnail: bytes) -> str:
    """Return the JSON answer to the thumbnail."""
    return post(server, thumbnail).text


# Session scope, because pytest runs other modules between this module's tests of the two servers.
@pytest.fixture(scope="package")
def file(thumbnail: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "thumbnail.png"
    path.write_bytes(thumbnail)
    np.save(path.with_suffix(".npy"), picture(thumbnail))
    return path


@pytest.fixture(scope="package")
def triton_answers(torchserve: Server, asgi_server: Server, file: Path) -> dict[str, Any]:
    """Return the answers of both servers, by software, from one run of the program, which takes seconds to start."""
    addresses = [origin(server).removeprefix("http://") for server in (torchserve, asgi_server)]
    return dict(zip(("torchserve", "asgi"), run_program("triton.py", file, *addresses), strict=True))


@pytest.fixture(scope="module")
def triton(server: Server, file: Path, request: pytest.FixtureRequest) -> Any:
    if isinstance(server, RayServer):
        return run_program("triton.py", file, origin(server).removeprefix("http://"))[0]
    return request.getfixturevalue("triton_answers")[server.software]


@pytest.fixture(scope="package")
def kserve_answers(torchserve: Server, asgi_server: Server, file: Path) -> dict[str, Any]:
    """Return the answers of both servers, by software, from one run of the program."""
    addresses = [origin(torchserve), f"{origin(asgi_server)},{grpc_address(asgi_server)}"]
    return dict(zip(("torchserve", "asgi"), run_program("kserve_sdk.py", file, *addresses), strict=True))


@pytest.fixture(scope="module")
def kserve(server: Server, file: Path, request: pytest.FixtureRequest) -> Any:
    if isinstance(server, RayServer):
        return run_program("kserve_sdk.py", file, origin(server))[0]
    return request.getfixturevalue("kserve_answers")[server.software]


@pytest.fixture(scope="module")
def triton_grpc(asgi_server: Server, file: Path) -> Any:
    return run_program("triton_grpc.py", file, grpc_address(asgi_server))


@needs_environment
@pytest.mark.parametrize(
    "name",
    [
        *("defaults", "answer in JSON", "answer in binary", "base64", "base64 in binary", "classes", "gzip", "deflate"),
    ],
)
def test_tritonclient_answers_equal_those_of_plain_http(triton: Any, plain: str, name: str) -> None:
    assert triton[name] == {"id": None, "image": [text(plain)]}


@needs_environment
def test_tritonclient_reports_a_ready_server(triton: Any) -> None:
    assert triton["live, ready"] == [True, True]


@needs_environment
def test_tritonclient_sends_several_tensors_and_options(server: Server, thumbnail: bytes, triton: Any) -> None:
    alone = text(post(server, thumbnail, {"X-Segment-Masks": "none"}).text)
    png = base64.b64encode(post(server, thumbnail, path="/1.0/png").content).decode()

    assert triton["several"] == {"id": None, "image": [alone, alone], "more": [alone]}
    assert triton["png"] == {"id": None, "image": [png]}


@needs_environment
def test_tritonclients_reserved_parameters_are_not_options(triton: Any, plain: str) -> None:
    assert triton["sequence"] == {"id": "call-7", "image": [text(plain)]}
    assert triton["asynchronous"] == text(plain)


@needs_environment
def test_tritonclient_reports_the_servers_error(triton: Any) -> None:
    assert triton["broken"]["status"] == "400"
    assert triton["broken"]["message"].startswith("the 6 bytes sent are not an image")


@needs_environment
def test_tritonclient_reads_metadata(server: Server, triton: Any) -> None:
    if server.software == "torchserve":  # It has no such paths.
        assert triton["metadata"] == "404"
        return
    outputs = {"answer": "BYTES", "label_map": "UINT8", "probabilities": "FP32", "confidence": "FP32"}
    assert triton["metadata"] == ["deeplab-serve", True, outputs]


@needs_environment
def test_tritonclient_sends_pixels_and_gets_arrays(server: Server, thumbnail: bytes, triton: Any) -> None:
    assert triton["arrays"] == triton["arrays in JSON"]
    check_arrays(server, thumbnail, triton["arrays"], masks="none")


@needs_environment
def test_tritonclient_answers_over_grpc_equal_those_over_http(asgi_server: Server, thumbnail: bytes, triton_grpc: Any) -> None:
    plain = text(post(asgi_server, thumbnail).text)

    assert triton_grpc["defaults"] == triton_grpc["pixels"] == {"image": ["object", [1], plain]}
    check_arrays(asgi_server, thumbnail, triton_grpc["arrays"], format="png")


@needs_environment
def test_tritonclient_reads_metadata_over_grpc(triton_grpc: Any) -> None:
    assert triton_grpc["live, ready"] == [True] * 3
    assert triton_grpc["server"] == "deeplab-serve"
    assert triton_grpc["inputs"] == [["image", "BYTES", ["-1"]], ["image", "UINT8", ["-1", "-1", "3"]]]
    assert triton_grpc["outputs"][2] == ["probabilities", "FP32", ["21", "-1", "-1"]]


@needs_environment
def test_tritonclient_reports_the_servers_errors_over_grpc(triton_grpc: Any) -> None:
    for name, words in {"broken": "the 6 bytes sent are not an image", "no output": "there is no output 'scores'"}.items():
        assert triton_grpc[name]["status"] == "StatusCode.INVALID_ARGUMENT"
        assert triton_grpc[name]["message"].startswith(words)


@needs_environment
def test_protobuf_field_numbers_match_those_of_tritonclient(triton_grpc: Any) -> None:
    def fields(message: Any) -> dict[str, Any]:
        nested = {nested_type.name: fields(nested_type) for nested_type in message.nested_types}
        return {field.name: [field.number, field.type] for field in message.fields} | nested

    for name, numbers in triton_grpc["fields"].items():
        assert fields(message_class(f"inference.{name}").DESCRIPTOR) == numbers, name


@needs_environment
@pytest.mark.parametrize("name", ["defaults", "answer in binary", "base64"])
def test_kserve_sdk_answers_equal_those_of_plain_http(kserve: Any, plain: str, name: str) -> None:
    assert kserve[name] == plain


@needs_environment
def test_the_kserve_sdk_reports_a_ready_server(kserve: Any) -> None:
    assert kserve["live, ready"] == [True, True]


@needs_environment
def test_the_kserve_sdk_sends_options_and_v1_requests(server: Server, thumbnail: bytes, kserve: Any, plain: str) -> None:
    assert base64.b64decode(kserve["png"]) == post(server, thumbnail, path="/1.0/png").content
    assert kserve["v1"] == kserve["v1 of TensorFlow"] == {"predictions": [json.loads(plain)]}


@needs_environment
def test_the_kserve_sdk_reports_the_servers_error(kserve: Any) -> None:
    assert kserve["broken"].startswith("the 6 bytes sent are not an image")
    assert "400" in kserve["broken"]


@needs_environment
def test_kserve_sdk_answers_over_grpc_equal_those_over_http(server: Server, thumbnail: bytes, kserve: Any, plain: str) -> None:
    if server.software == "torchserve":
        pytest.skip("TorchServe's KServe service is in another package")
    png = post(server, thumbnail, path="/1.0/png").content
    answers = kserve["grpc"]

    assert answers["ready"] == [True] * 3
    assert answers["defaults"] == answers["base64"] == text(plain)
    assert base64.b64decode(answers["png"]) == png
    assert answers["shape"] == [60, 90]
    assert base64.b64decode(answers["label_map"]) == picture(png).tobytes()
    assert answers["broken"].startswith("INVALID_ARGUMENT the 6 bytes sent are not an image")


@needs_environment
@pytest.mark.parametrize("library", ["tritonclient", "kserve"])
def test_the_documented_line_of_a_library_works(torchserve: Server, photos: dict[str, Path], library: str) -> None:
    printed = run([str(ENVIRONMENT / "bin" / "python"), "-c", documented_line(torchserve, library)], photos["chelsea"].parent)

    assert '"label":"cat"' in printed


def test_the_documented_line_of_hugging_face_works(torchserve: Server, photos: dict[str, Path]) -> None:
    printed = run([sys.executable, "-c", documented_line(torchserve, "huggingface_hub")], photos["chelsea"].parent)

    assert "label='cat'" in printed


@pytest.mark.parametrize("parameters", [{}, {"subtask": "semantic"}, {"threshold": 0.0, "mask_threshold": 0.5}])
def test_the_hugging_face_client_reads_segments(server: Server, photos: dict[str, Path], parameters: Any) -> None:
    cat, background = hugging_face(server).image_segmentation(str(photos["chelsea"]), **parameters)

    assert (cat.label, background.label) == ("cat", "background")
    assert np.asarray(cat.mask).shape == (300, 451)  # The client has decoded the PNG.


def test_the_hugging_face_threshold_is_a_minimum_score(server: Server, photos: dict[str, Path]) -> None:
    scores = [segment.score or 0 for segment in hugging_face(server).image_segmentation(photos["chelsea"].read_bytes())]

    (best,) = hugging_face(server).image_segmentation(photos["chelsea"], threshold=sum(scores) / len(scores))

    assert best.score == max(scores)


@pytest.mark.parametrize(
    ("image", "parameters", "message"),
    [(b"broken", {}, "the 6 bytes sent are not an image"), (None, {"subtask": "panoptic"}, "option 'subtask': 'panoptic'")],
    ids=["image", "subtask"],
)
def test_the_hugging_face_client_reports_the_servers_error(
    server: Server, thumbnail: bytes, image: bytes | None, parameters: Any, message: str
) -> None:
    with pytest.raises(BadRequestError, match=message):
        hugging_face(server).image_segmentation(image or thumbnail, **parameters)


def hugging_face(server: Server) -> InferenceClient:
    return InferenceClient(f"{server.url}/1.0/huggingface")


def check_arrays(server: Server, photo: bytes, arrays: Any, **options: str) -> None:
    """Check the outputs that a client printed against plain HTTP's answers."""

    def answer(format_name: str) -> bytes:
        return post(server, photo, path=f"/1.0/{format_name}").content

    def array(name: str, dtype: str) -> npt.NDArray[Any]:
        actual_dtype, shape, content = arrays[name]
        assert actual_dtype == dtype
        return np.frombuffer(base64.b64decode(content), dtype).reshape(shape)

    headers = {f"X-Segment-{name}": value for name, value in options.items()}
    assert base64.b64decode(arrays["answer"][2]) == post(server, photo, headers).content
    np.testing.assert_array_equal(array("label_map", "uint8"), picture(answer("png")))
    np.testing.assert_array_equal(np.rint(array("confidence", "float32") * 255), picture(answer("confidence")))
    probabilities = array("probabilities", "float32")
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    with np.load(io.BytesIO(answer("npz"))) as file:
        np.testing.assert_array_equal(probabilities.astype(np.float16), file["probabilities"])


def picture(file: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(file)))


def grpc_address(server: Server) -> str:
    return f"127.0.0.1:{server.ports.grpc_inference}"


def run_program(name: str, photo: Path, *addresses: str) -> Any:
    """Run one of `client_programs` in the libraries' environment; return its output."""
    program = Path(client_programs.__path__[0]) / name
    return json.loads(run([str(ENVIRONMENT / "bin" / "python"), str(program), str(photo), *addresses], photo.parent))


def run(command: list[str], folder: Path) -> str:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def documented_line(server: Server, library: str) -> str:
    """Return the line of docs/requests.md for a library, adapted to this server and the photograph in the working folder."""
    (line,) = re.findall(rf"^\| {library} \| `(.+)` \|$", (ROOT / "docs" / "requests.md").read_text(), re.MULTILINE)
    assert isinstance(line, str)
    return line.replace("127.0.0.1:8080", origin(server).removeprefix("http://")).replace("build/samples/", "")


def origin(server: Server) -> str:
    return server.url.split("/predictions")[0]


def text(answer: str) -> str:
    return base64.b64encode(answer.encode()).decode()
