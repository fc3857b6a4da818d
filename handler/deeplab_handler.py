"""The archive's entry. TorchServe imports this file by its name and takes the one class in it."""

from handler.servers.torchserve import SegmentationService


class DeepLabHandler(SegmentationService):
    """Serves a DeepLab checkpoint; everything it does is in `handler.servers.torchserve` and behind it."""
