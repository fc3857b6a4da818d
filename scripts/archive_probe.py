"""Load an extracted archive as TorchServe's worker does and segment an image; `scripts.verify_archive` runs it isolated."""

import importlib
import io
import json
import sys
from pathlib import Path

from PIL import Image
from ts.context import RequestProcessor
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import TsModelLoader

_SIZE = (120, 80)
#: Modules that the first explanation request imports.
_FOR_EXPLANATIONS = ("handler.network.engines.torch_engine", "model.checkpoint")
_METRICS = "model_metrics: {gauge: [{name: PredictionTime, unit: ms, dimensions: [ModelName, Level]}]}"


def main(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    model = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())["model"]
    declared = folder.parent / f"{folder.name}-metrics.yaml"
    declared.write_text(_METRICS)
    try:
        metrics = MetricsCacheYamlImpl(str(declared))
        metrics.initialize_cache()
    finally:
        declared.unlink()
    service = TsModelLoader().load(model["modelName"], str(folder), model["handler"], None, 1, metrics_cache=metrics)
    for name in (model["handler"].removesuffix(".py"), "handler", "model", *_FOR_EXPLANATIONS):
        importlib.import_module(name)
        origin = Path(sys.modules[name].__file__ or "").resolve()
        if folder.resolve() not in origin.parents:
            raise ImportError(f"{name} came from {origin}, not from the archive")

    photo = io.BytesIO()
    Image.linear_gradient("L").resize(_SIZE).convert("RGB").save(photo, "PNG")
    context = service.context
    context.request_ids = {0: "probe"}
    context.request_processor = [RequestProcessor({"X-Segment-Format": "png"})]
    (answer,) = service._entry_point([{"body": bytearray(photo.getvalue())}], context)
    if context.get_response_status(0)[0] not in (None, 200):
        raise ValueError(f"the handler answered {answer!r}")
    mask = Image.open(io.BytesIO(answer))
    if (mask.mode, mask.size) != ("P", _SIZE):
        raise ValueError(f"the mask is {mask.mode} {mask.size}, should be P {_SIZE}")
    names = json.loads(mask.info["classes"])
    if names != list(json.loads((folder / "index_to_name.json").read_text()).values()):
        raise ValueError(f"the mask's class names are not those of index_to_name.json: {names}")
    sys.stdout.write(json.dumps({"entry": model["handler"], "size": "×".join(map(str, _SIZE)), "classes": len(names)}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
