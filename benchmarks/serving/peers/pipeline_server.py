"""Hugging Face's `pipeline` behind Starlette: requests queue for one loop that runs the pipeline.

The network is this bundle's, wrapped as a transformers model, since transformers has no network with the same layers.
"""

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import torch
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from benchmarks.serving.peers.network import Options, load, parse_options

from transformers import MobileNetV2ImageProcessor, PretrainedConfig, PreTrainedModel, pipeline
from transformers.modeling_outputs import SemanticSegmenterOutput


class WrappedNetwork(PreTrainedModel):  # type: ignore[misc]
    """A checkpoint's network with the output type of transformers' semantic segmentation models."""

    config_class = PretrainedConfig
    main_input_name = "pixel_values"

    def __init__(self, config: PretrainedConfig, network: torch.nn.Module) -> None:
        super().__init__(config)
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> SemanticSegmenterOutput:
        return SemanticSegmenterOutput(logits=self.network(pixel_values)["out"])


def make_pipeline(options: Options) -> Any:
    checkpoint = load(options)
    metadata, (height, width) = checkpoint.metadata, options.size
    names = dict(enumerate(metadata.classes))
    model = WrappedNetwork(
        PretrainedConfig(id2label=names, label2id={name: index for index, name in names.items()}), checkpoint.network
    )
    processor = MobileNetV2ImageProcessor(
        size={"height": height, "width": width},
        do_center_crop=False,
        image_mean=list(metadata.normalization.mean),
        image_std=list(metadata.normalization.std),
    )
    return pipeline("image-segmentation", model=model, image_processor=processor, device="cpu")


def make_app(options: Options) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.queue = asyncio.Queue()
        task = asyncio.create_task(serve(app.state.queue))
        yield
        task.cancel()

    async def serve(queue: "asyncio.Queue[tuple[bytes, asyncio.Future[Any]]]") -> None:
        segment = make_pipeline(options)
        while True:
            body, answer = await queue.get()
            segments = segment(Image.open(io.BytesIO(body)), subtask="semantic")
            answer.set_result([{**entry, "mask": encode(entry["mask"])} for entry in segments])

    async def predict(request: Request) -> JSONResponse:
        answer = asyncio.get_running_loop().create_future()
        await request.app.state.queue.put((await request.body(), answer))
        return JSONResponse(await answer)

    return Starlette(routes=[Route("/segment", predict, methods=["POST"])], lifespan=lifespan)


def encode(mask: Image.Image) -> str:
    """Return a mask as transformers' own servers do: a PNG in base64."""
    file = io.BytesIO()
    mask.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    options = parse_options()
    uvicorn.run(make_app(options), host="127.0.0.1", port=options.port, log_level="warning")
