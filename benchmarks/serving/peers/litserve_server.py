"""LitServe: decode, predict and encode in one API class."""

from typing import Any

import litserve
from fastapi import Request, Response

from benchmarks.serving.peers.network import Options, TutorialModel, parse_options


class SegmentationAPI(litserve.LitAPI):  # type: ignore[misc]
    """Takes the field `file` of a form and answers with a PNG."""

    def __init__(self, options: Options) -> None:
        super().__init__(api_path="/segment")
        self.options = options

    def setup(self, device: str) -> None:
        del device
        self.model = TutorialModel(self.options)

    def decode_request(self, request: Request) -> Any:
        # Despite the annotation LitServe passes the form, which it reads for handlers that take the request.
        return self.model.open(request["file"].file.read())

    def predict(self, image: Any) -> Any:
        return self.model.segment(image)

    def encode_response(self, labels: Any) -> Response:
        return Response(self.model.encode(labels), media_type="image/png")


if __name__ == "__main__":
    options = parse_options()
    server = litserve.LitServer(SegmentationAPI(options), accelerator="cpu")
    server.run(host="127.0.0.1", port=options.port, generate_client_file=False, log_level="warning")
