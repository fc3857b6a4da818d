import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
from huggingface_hub import InferenceClient
from hypothesis import given
from PIL import Image

from handler.masks.segmentation import Segmentation
from handler.masks.segments import find_segments
from handler.options import AnswerOptions
from tests.local_server import running
from tests.support import encode, noise
from tests.unit.handler.answers.exports.support import OPTIONS, RING, answer, encode_as, segmentation, segmentations


@contextmanager
def serve(body: bytes, received: list[bytes]) -> Iterator[str]:
    """Run a server that answers every request with `body` and records request bodies; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *message: object) -> None:
            """Keep the log out of the tests' output."""

    with running(HTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}/predictions/deeplabv3/1.0/huggingface"


def test_the_inference_client_accepts_the_answer() -> None:
    result, photo = segmentation(RING), encode(noise(4, 4))
    received: list[bytes] = []

    with serve(encode_as("huggingface", result), received) as url, InferenceClient(model=url) as client:
        outputs = client.image_segmentation(photo)

    assert received == [photo]
    assert [(output.label, output.score, output.mask.mode, output.mask.size) for output in outputs] == [
        ("class 1", 0.5, "L", (4, 4)),
        ("class 2", 0.5, "L", (4, 4)),
        ("background", 0.5, "L", (4, 4)),
    ]
    for output in outputs:
        expected = result.label_map == result.labels.names.index(output.label)
        np.testing.assert_array_equal(np.asarray(output.mask), expected * 255)


@given(segmentations(), OPTIONS)
def test_masks_are_exact_disjoint_and_cover_the_image(result: Segmentation, options: AnswerOptions) -> None:
    segments = find_segments(result, options)

    outputs = answer("huggingface", result, options)

    assert [output["label"] for output in outputs] == [segment.label for segment in segments.items]
    masks = [np.asarray(Image.open(io.BytesIO(base64.b64decode(output["mask"])))) for output in outputs]
    for mask, segment in zip(masks, segments.items, strict=True):
        np.testing.assert_array_equal(mask, segments.mask(segment) * 255)
    np.testing.assert_array_equal(np.sum(masks, axis=0), 255)
