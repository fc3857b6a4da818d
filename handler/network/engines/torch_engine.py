"""PyTorch in float32: the definition of correct for every other engine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from handler.network.engines.base import Engine, EngineOptions, Logits, Pixels, Region, has_gpu
from model.checkpoint import Checkpoint
from model.preprocessing import Normalize
from model.strict import ConfigurationError


class TorchEngine(Engine):
    """Runs the checkpoint's network eagerly."""

    name = "torch"
    precision = "float32"
    has_gradients = True

    def __init__(self, checkpoint: Checkpoint, options: EngineOptions) -> None:
        """Move the network to its device.

        Raises:
            ConfigurationError: `options` ask for a precision other than float32.
        """
        if options.precision not in {"auto", "float32"}:
            raise ConfigurationError(f"precision {options.precision!r}: the engine 'torch' computes in 'float32' on a CPU")
        if options.threads:
            torch.set_num_threads(options.threads)
        on_gpu = has_gpu(options)
        self._device = torch.device(f"cuda:{options.gpu_id}" if on_gpu else "cpu")
        # On a CPU a batch saves no time, and its kernels may round differently from those for one image.
        self.max_batch = 8 if on_gpu else 1
        # An explanation hangs hooks into the network, which no other call may run through.
        self._turn = Lock()
        network = nn.Sequential(Normalize(checkpoint.metadata.normalization), checkpoint.network)
        self._network = network.eval().to(self._device)
        self._last_features_reader = checkpoint.network.last_features_reader
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def infer(self, pixels: Pixels) -> Logits:
        with self._turn:
            logits: Logits = self._network(self._batch(pixels))["out"].float().cpu().numpy()
        return logits

    def class_activation(self, pixels: Pixels, choose: Callable[[Logits], Region]) -> tuple[Region, npt.NDArray[np.float32]]:
        # Captum imports matplotlib: memory and time that a worker never asked for an explanation should not spend.
        from captum.attr import LayerGradCam

        score = _RegionScore(self._network, choose)
        cam = LayerGradCam(score, self._last_features_reader)
        with self._turn, _frozen(self._network):
            heat = cam.attribute(self._batch(np.stack([pixels])), attribute_to_layer_input=True, relu_attributions=True)
        return score.region, heat[0, 0].detach().float().cpu().numpy()

    def _batch(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(self._device)


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Switch off the parameters' gradients for a while, so that the graph begins at the explained features, not at the image.

    They are restored because the network may be in training.
    """
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


class _RegionScore:
    """The scalar an explanation differentiates: the sum of a region's logits; the region is chosen once they are known."""

    region: Region

    def __init__(self, network: nn.Module, choose: Callable[[Logits], Region]) -> None:
        self._network = network
        self._choose = choose

    def __call__(self, batch: Tensor) -> Tensor:
        """Map uint8 1×h×w×3 to a float tensor of shape 1."""
        logits: Tensor = self._network(batch)["out"]
        self.region = self._choose(logits[0].detach().float().cpu().numpy())
        cells = torch.from_numpy(self.region.cells).to(logits.device)
        return logits[:, self.region.class_index][:, cells].sum(1)
