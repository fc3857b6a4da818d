"""OpenVINO compared with torch, on small networks with random weights."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from handler.network.engines import EngineOptions, ModelFiles, build_engine
from handler.network.engines.archive import archived_graph
from handler.network.engines.openvino_conversion import convert
from handler.network.engines.openvino_engine import OpenVinoEngine, native_precision
from handler.network.engines.openvino_graph import without_telemetry, write_graph
from model import load_checkpoint
from model.strict import ConfigurationError
from tests.support import CHECKPOINT, ROOT, noise

pytestmark = pytest.mark.slow

EXACT = EngineOptions(precision="float32")


@pytest.fixture(scope="module")
def files(converted: Path) -> ModelFiles:
    return ModelFiles(converted / CHECKPOINT, graph=archived_graph(converted))


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (33, 97), (1, 1)])
def test_logits_equal_torchs_at_any_size(files: ModelFiles, size: tuple[int, int]) -> None:
    pixels = noise(*size)[None]

    logits = OpenVinoEngine(files, EXACT).infer(pixels)

    expected = build_engine("torch", files, EXACT).infer(pixels)
    assert logits.shape == expected.shape
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())


def test_an_answer_is_not_overwritten_by_the_next(files: ModelFiles) -> None:
    engine = OpenVinoEngine(files, EXACT)
    first = engine.infer(noise(48, 64)[None])
    expected = first.copy()

    engine.infer(noise(48, 64)[None] // 2)

    np.testing.assert_array_equal(first, expected)


def test_lanes_give_the_same_answers_as_the_engine(files: ModelFiles) -> None:
    engine = OpenVinoEngine(files, EngineOptions(threads=2, precision="float32", lanes=4))
    pixels = noise(48, 64)[None]

    assert len(engine.lanes()) == 2  # One per thread.
    for lane in engine.lanes():
        np.testing.assert_array_equal(lane.infer(pixels), engine.infer(pixels))


#: Prints how many bytes the process has grown after an unusually large image, and how many it releases on request. It is
#: a separate process: in one that has run other tests, freed memory may stay with the allocator.
MEASURE_MEMORY = """
import json, os, sys
from pathlib import Path
import numpy as np
from benchmarks.process_memory import ProcessMemory
from handler.allocator import configure_malloc
from handler.network.engines import EngineOptions, ModelFiles, openvino_engine

def resident():
    return ProcessMemory.read(os.getpid()).resident

configure_malloc()
files = ModelFiles(Path(sys.argv[1]), graph=Path(sys.argv[2]))
options = EngineOptions(threads=2, precision="float32", lanes=2)
engine = openvino_engine.OpenVinoEngine(files, options)
engine.infer(np.zeros((1, 48, 64, 3), np.uint8))
before = resident()
engine.infer(np.zeros((1, 1536, 1536, 3), np.uint8))
growth = resident() - before

assert openvino_engine._RETAINED_RATIO
openvino_engine._RETAINED_RATIO = 10_000
engine = openvino_engine.OpenVinoEngine(files, options)
runners = [engine, *engine.lanes()]
photograph = np.zeros((1, 640, 640, 3), np.uint8)
expected = [runner.infer(photograph) for runner in runners]
before = resident()
engine.release_memory()
released = before - resident()
equal = all(np.array_equal(runner.infer(photograph), logits) for runner, logits in zip(runners, expected))
print(json.dumps({"growth": growth, "released": released, "equal": equal}))
"""


@pytest.fixture(scope="module")
def memory(files: ModelFiles) -> dict[str, int]:
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    command = [sys.executable, "-c", MEASURE_MEMORY, str(files.checkpoint), str(files.graph)]
    measurements: dict[str, int] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout)
    return measurements


def test_memory_of_an_unusually_large_image_is_released(memory: dict[str, int]) -> None:
    assert memory["growth"] < 200 << 20  # The network uses 460 MB for it.


def test_cached_memory_is_released_on_request(memory: dict[str, int]) -> None:
    assert memory["released"] > 100 << 20  # It holds three times 75 MB.
    assert memory["equal"]


def test_without_a_graph_the_checkpoint_is_converted(files: ModelFiles) -> None:
    pixels = noise(48, 64)[None]

    converted = OpenVinoEngine(ModelFiles(files.checkpoint), EXACT)

    np.testing.assert_array_equal(converted.infer(pixels), OpenVinoEngine(files, EXACT).infer(pixels))


# tests/packaging proves the same of whole archives.
@pytest.mark.exhaustive
def test_equal_checkpoints_give_equal_graphs(files: ModelFiles, tmp_path: Path) -> None:
    assert files.graph is not None

    write_graph(convert(load_checkpoint(files.checkpoint)), tmp_path / "again.xml")

    assert (tmp_path / "again.xml").read_bytes() == files.graph.read_bytes()
    assert (tmp_path / "again.bin").read_bytes() == files.graph.with_suffix(".bin").read_bytes()


def test_the_precision_is_the_best_that_is_native(files: ModelFiles) -> None:
    native = native_precision()

    assert OpenVinoEngine(files, EngineOptions()).precision == native
    assert OpenVinoEngine(files, EXACT).precision == "float32"


def test_a_model_that_is_not_quantized_has_no_int8(files: ModelFiles) -> None:
    with pytest.raises(ConfigurationError, match=r"precision 'int8': this model is not quantized .*; use 'auto' or '"):
        OpenVinoEngine(files, EngineOptions(precision="int8"))


def test_telemetry_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    from openvino_telemetry.utils.opt_in_checker import ConsentCheckResult, OptInChecker

    for name in ("CI", "TF_BUILD", "JENKINS_URL"):
        monkeypatch.delenv(name, raising=False)

    with without_telemetry():
        assert OptInChecker().check(enable_opt_in_dialog=False, disable_in_ci=True) is ConsentCheckResult.DECLINED


def test_signals_are_handled_after_an_engine_is_dropped_in_another_thread(files: ModelFiles) -> None:
    program = """
import os, signal, sys, threading
from pathlib import Path
from handler.network.engines import openvino_engine, EngineOptions, ModelFiles, build_engine

engines = [build_engine("openvino", ModelFiles(Path(sys.argv[1]), graph=Path(sys.argv[2])), EngineOptions())]
dropping = threading.Thread(target=engines.clear)
dropping.start()
dropping.join()
signal.signal(signal.SIGUSR1, lambda *_: print("survived"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    command = [sys.executable, "-c", program, str(files.checkpoint), str(files.graph)]

    assert subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout == "survived\n"
