"""What all measurements share: photographs, checkpoints, archives and running servers, each made when it is first wanted."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from benchmarks.serving.baseline.archive import build_baseline
from benchmarks.serving.benchmark_plan import Case, Plan
from benchmarks.serving.networks import checkpoint_of, quantized
from benchmarks.serving.sized_photographs import encoded, jpeg, photographs
from handler.geometry import RGBImage, network_size
from handler.image.decode import decode_image
from handler.limits import Limits
from model import read_metadata
from scripts.package import DEFAULT_MODEL_CONFIG, Recipe, build
from scripts.samples import write_samples
from scripts.server import Ports, Server, start

#: Is told what is under way.
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Workspace:
    """A folder for one run of a plan."""

    plan: Plan
    folder: Path

    @cached_property
    def photo(self) -> bytes:
        return jpeg(self.plan.photo)

    @cached_property
    def large_photo(self) -> bytes:
        return jpeg(self.plan.large)

    @cached_property
    def pictures(self) -> list[RGBImage]:
        """On which labels are compared, at their own sizes."""
        paths = write_samples(self.folder / "samples", self.plan.pictures)
        return [decode_image(path.read_bytes(), Limits()) for path in paths]

    def unscaled(self, case: Case) -> bytes:
        """A PNG at the very size at which the case's network sees it, whose labels nobody has to scale."""
        size = network_size(read_metadata(self.checkpoint(case)).resize, self.plan.photo)
        return encoded(photographs(size)["astronaut"], "PNG")

    def checkpoint(self, case: Case) -> Path:
        checkpoint = checkpoint_of(case.network, self.folder, self.plan.side)
        return quantized(checkpoint, self.pictures, self.folder) if case.precision == "int8" else checkpoint

    def archive(self, case: Case) -> Path:
        """An archive that serves the case as the bundle's own configuration does, but for engine and precision."""
        store = self.folder / case.name.replace(", ", "-").replace(" ", "-")
        path = store / "deeplabv3.mar"
        if not path.exists():
            store.mkdir(parents=True)
            config = store / "model-config.yaml"
            settings = yaml.safe_load(DEFAULT_MODEL_CONFIG.read_text())
            settings["handler"] |= {"engine": case.engine, "precision": case.precision}
            config.write_text(yaml.safe_dump(settings))
            # How far labels agree is measured here, not required.
            recipe = Recipe("deeplabv3", "1.0", self.checkpoint(case), config, None, self._few_photographs, least_agreement=0.0)
            build(recipe, store)
        return path

    def unpacked(self, case: Case) -> Path:
        """The folder of the case's archive, as a worker has it."""
        archive = self.archive(case)
        folder = archive.parent / "unpacked"
        if not folder.exists():
            shutil.unpack_archive(archive, folder, "zip")
        return folder

    @cached_property
    def _few_photographs(self) -> Path:
        """What packaging compares engines by: one, since it is not asked about."""
        folder = self.folder / "photographs"
        folder.mkdir()
        (folder / "photo.jpg").write_bytes(self.photo)
        return folder

    def baseline(self, case: Case) -> Path:
        """An archive of TorchServe's own handler, with the network of `case`."""
        return build_baseline(case, self.checkpoint(case), self.folder / "baseline")

    @contextmanager
    def serving(self, archives: Sequence[Path]) -> Iterator[list[Server]]:
        """A server of each archive, started one after the other; ready inside the block and stopped after it."""
        with ExitStack() as stack:
            servers = []
            for number, archive in enumerate(archives):
                servers.append(start(archive, Ports.free(), self.folder / "servers" / str(number)))
                stack.callback(servers[-1].stop)
                # Only then are its ports taken, and no longer free for the next.
                servers[-1].wait_until_ready()
            yield servers
