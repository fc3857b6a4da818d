"""Photographs, checkpoints, archives and running servers that the measurements share, created on first use."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.serving.baseline.archive import build_baseline
from benchmarks.serving.benchmark_plan import Case, Plan
from benchmarks.serving.networks import network_checkpoint, quantize_checkpoint
from benchmarks.serving.sized_photographs import camera_jpeg, encode_image, sized_photographs
from handler.geometry import RGBImage, network_size
from handler.image.decode import decode_image
from handler.limits import Limits
from model import read_metadata
from scripts.package import DEFAULT_MODEL_CONFIG, Recipe
from scripts.package.build import build
from scripts.samples import write_samples
from scripts.server import Ports, Server, Software, start
from scripts.yaml_file import read_mapping, write_mapping

#: Called with a line about what is being measured.
Report = Callable[[str], None]


@dataclass(frozen=True)
class Workspace:
    """A folder for one run of a plan."""

    plan: Plan
    folder: Path

    @cached_property
    def photo(self) -> bytes:
        return camera_jpeg(self.plan.photo)

    @cached_property
    def large_photo(self) -> bytes:
        return camera_jpeg(self.plan.large)

    @cached_property
    def samples(self) -> list[RGBImage]:
        """The full-size sample photographs on which labels are compared."""
        paths = write_samples(self.folder / "samples", self.plan.samples)
        return [decode_image(path.read_bytes(), Limits()) for path in paths]

    def network_sized_photo(self, case: Case) -> bytes:
        """Return a PNG of exactly the network's input size, so that its labels need no resizing."""
        size = network_size(read_metadata(self.checkpoint(case)).resize, self.plan.photo)
        return encode_image(sized_photographs(size)["astronaut"], "PNG")

    def checkpoint(self, case: Case) -> Path:
        """Return the case's checkpoint."""
        checkpoint = network_checkpoint(case.network, self.folder, self.plan.side)
        return quantize_checkpoint(checkpoint, self.samples, self.folder) if case.precision == "int8" else checkpoint

    def archive(self, case: Case) -> Path:
        """Return the case's archive: the bundle's configuration with the case's engine and precision."""
        store = self.folder / case.name.replace(", ", "-").replace(" ", "-")
        path = store / "deeplabv3.mar"
        if not path.exists():
            store.mkdir(parents=True)
            config = store / "model-config.yaml"
            settings = read_mapping(DEFAULT_MODEL_CONFIG)
            settings["handler"] |= {"engine": case.engine, "precision": case.precision}
            write_mapping(config, settings)
            # The benchmark measures the agreement of labels, so packaging must not require any.
            recipe = Recipe("deeplabv3", "1.0", self.checkpoint(case), config, None, self._one_photograph, least_agreement=0.0)
            build(recipe, store)
        return path

    def unpacked_archive(self, case: Case) -> Path:
        """Return the folder of the case's archive, unpacked as for a worker."""
        archive = self.archive(case)
        folder = archive.parent / "unpacked"
        if not folder.exists():
            shutil.unpack_archive(archive, folder, "zip")
        return folder

    @cached_property
    def _one_photograph(self) -> Path:
        """A folder with one photograph for packaging to compare engines on; the result is not used."""
        folder = self.folder / "photographs"
        folder.mkdir()
        (folder / "photo.jpg").write_bytes(self.photo)
        return folder

    def baseline(self, case: Case) -> Path:
        """Return an archive of TorchServe's own handler with the network of `case`."""
        return build_baseline(case, self.checkpoint(case), self.folder / "baseline")

    @contextmanager
    def serving(self, archives: Sequence[Path], software: Software = "torchserve") -> Iterator[list[Server]]:
        """Serve each archive inside the block, each on a separate server."""
        with ExitStack() as stack:
            servers = []
            for number, archive in enumerate(archives):
                servers.append(start(archive, Ports.free(), self.folder / "servers" / str(number), software=software))
                stack.callback(servers[-1].stop)
                # Until it is READY its ports look free, and the next server could take them.
                servers[-1].wait_until_ready()
            yield servers
