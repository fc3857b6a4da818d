"""TorchServe's entry point: it imports this file by name and instantiates its only class."""

from handler.servers.torchserve import SegmentationService


class DeepLabHandler(SegmentationService):
    """Serves a DeepLab checkpoint; `handler.servers.torchserve` has the code."""
