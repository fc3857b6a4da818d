"""PyTorch in float32: the definition of correct for every other engine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from handler.network.engines import EngineOptions, Region, has_gpu
from model.checkpoint import Checkpoint
from model.preprocessing import Normalize
from model.strict import ConfigurationError


class TorchEngine:
    """Runs the checkpoint's network eagerly."""

    name = "torch"

    def __init__(self, checkpoint: Checkpoint, options: EngineOptions) -> None:
        """
        Raises:
            ConfigurationError: for another precision than float32.
        """
        if options.precision not in {"auto", "float32"}:
            raise ConfigurationError(f"precision {options.precision!r}: the engine 'torch' computes in 'float32' on a CPU")
        if options.threads:
            torch.set_num_threads(options.threads)
        on_gpu = has_gpu(options)
        self._device = torch.device(f"cuda:{options.gpu_id}" if on_gpu else "cpu")
        # On a CPU a batch saves no time, and its kernels may round otherwise than those for one image.
        self._max_batch = 8 if on_gpu else 1
        network = nn.Sequential(Normalize(checkpoint.metadata.normalization), checkpoint.network)
        self._network = network.eval().to(self._device)
        self._last_features_reader = checkpoint.network.last_features_reader
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def precision(self) -> str:
        return "float32"

    @property
    def max_batch(self) -> int:
        return self._max_batch

    @torch.inference_mode()
    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        logits: npt.NDArray[np.float32] = self._network(self._batch(pixels))["out"].float().cpu().numpy()
        return logits

    def class_activation(
        self, pixels: npt.NDArray[np.uint8], choose: Callable[[npt.NDArray[np.float32]], Region]
    ) -> tuple[Region, npt.NDArray[np.float32]]:
        # With it comes matplotlib: memory and time of a worker that may never be asked for an explanation.
        from captum.attr import LayerGradCam

        score = _RegionScore(self._network, choose)
        cam = LayerGradCam(score, self._last_features_reader)
        with _frozen(self._network):
            heat = cam.attribute(self._batch(np.stack([pixels])), attribute_to_layer_input=True, relu_attributions=True)
        return score.region, heat[0, 0].detach().float().cpu().numpy()

    def _batch(self, pixels: npt.NDArray[np.uint8]) -> Tensor:
        return torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(self._device)


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Without gradients of parameters, so that an explanation's graph begins at the features it asks about, not at the image.

    For a time only: the network may be one that is being trained.
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
    """The number that an explanation differentiates: the sum of the logits of a region, which is chosen once they are known."""

    region: Region

    def __init__(self, network: nn.Module, choose: Callable[[npt.NDArray[np.float32]], Region]) -> None:
        self._network = network
        self._choose = choose

    def __call__(self, batch: Tensor) -> Tensor:
        """uint8 1×h×w×3 to float 1."""
        logits: Tensor = self._network(batch)["out"]
        self.region = self._choose(logits[0].detach().float().cpu().numpy())
        cells = torch.from_numpy(self.region.cells).to(logits.device)
        return logits[:, self.region.class_index][:, cells].sum(1)
