"""FastAPI and torchvision: one route that takes an uploaded file."""

from typing import Annotated

import uvicorn
from fastapi import FastAPI, File, Response

from benchmarks.serving.peers.network import Options, TutorialModel, parse_options


def make_app(options: Options) -> FastAPI:
    app, model = FastAPI(), TutorialModel(options)

    def segment(file: Annotated[bytes, File()]) -> Response:
        return Response(model.encode(model.segment(model.open(file))), media_type="image/png")

    app.add_api_route("/segment", segment, methods=["POST"])
    return app


if __name__ == "__main__":
    options = parse_options()
    uvicorn.run(make_app(options), host="127.0.0.1", port=options.port, log_level="warning")
