import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy as np
from huggingface_hub import InferenceClient
from hypothesis import given
from PIL import Image

from handler.masks.segmentation import Segmentation
from handler.masks.segments import find_segments
from handler.options import AnswerOptions
from tests.support import encode, noise
from tests.unit.handler.answers.exports.support import OPTIONS, RING, answer, encoded, segmentation, segmentations


@contextmanager
def answering(body: bytes, received: list[bytes]) -> Iterator[str]:
    """The URL of a server that answers every request by `body`, and notes what it got."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *message: object) -> None:
            """Nothing: the tests' output is for tests."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/predictions/deeplabv3/1.0/huggingface"
        server.shutdown()
        thread.join()


def test_the_inference_client_takes_the_answer() -> None:
    result, photo = segmentation(RING), encode(noise(4, 4))
    received: list[bytes] = []

    with answering(encoded("huggingface", result), received) as url, InferenceClient(model=url) as client:
        found = client.image_segmentation(photo)

    assert received == [photo]
    assert [(each.label, each.score, each.mask.mode, each.mask.size) for each in found] == [
        ("class 1", 0.5, "L", (4, 4)),
        ("class 2", 0.5, "L", (4, 4)),
        ("background", 0.5, "L", (4, 4)),
    ]
    for each in found:
        expected = result.label_map == result.labels.names.index(each.label)
        np.testing.assert_array_equal(np.asarray(each.mask), expected * 255)


@given(segmentations(), OPTIONS)
def test_masks_are_exact_disjoint_and_cover_the_image(result: Segmentation, options: AnswerOptions) -> None:
    segments = find_segments(result, options)

    found = answer("huggingface", result, options)

    assert [each["label"] for each in found] == [segment.label for segment in segments.items]
    masks = [np.asarray(Image.open(io.BytesIO(base64.b64decode(each["mask"])))) for each in found]
    for mask, segment in zip(masks, segments.items, strict=True):
        np.testing.assert_array_equal(mask, segments.mask(segment) * 255)
    np.testing.assert_array_equal(np.sum(masks, axis=0), 255)
