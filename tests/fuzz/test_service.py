"""No batch fails as a whole, whatever its contents, and each answer is valid or a documented error."""

import io
import json
from typing import Any

import pytest
from hypothesis import strategies as st
from PIL import Image
from ts.context import Context

from handler.network.engines import ENGINES
from handler.servers.torchserve import SegmentationService
from tests.engines import ColourEngine
from tests.fuzz.outcomes import STATUSES, require_discreet
from tests.fuzz.recorder import Fuzz
from tests.fuzz.rows import calls
from tests.support import write_checkpoint
from tests.unit.handler.servers.test_torchserve import ask, context_for


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder = tmp_path_factory.mktemp("archive")
    write_checkpoint(folder / "model.safetensors")
    return context_for(folder, {"engine": "colour", "limits": {"max_pixels": 100_000, "max_response_bytes": 200_000}})


@pytest.fixture(scope="module")
def service(context: Context) -> SegmentationService:
    ENGINES["colour"] = lambda *_: ColourEngine(max_batch=2)
    service = SegmentationService()
    service.initialize(context)
    del ENGINES["colour"]
    return service


def test_each_row_of_any_batch_has_an_answer_or_a_documented_error(
    fuzz: Fuzz, service: SegmentationService, context: Context
) -> None:
    def check(batch: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
        bodies = ask(service, context, *batch)

        assert len(bodies) == len(batch)
        for index, body in enumerate(bodies):
            status, phrase = context.get_response_status(index)
            _require_answer(body, status, phrase, context.get_response_content_type(index))

    valid_calls = calls(valid=True)
    fuzz.run(0.1, st.lists(st.one_of(valid_calls, valid_calls, calls()), min_size=1, max_size=3), check)


def _require_answer(body: bytes, status: int, phrase: str, content_type: str | None) -> None:
    if status != 200:
        answer = json.loads(body.decode())
        assert status in STATUSES, answer
        assert answer["code"] == status
        assert phrase
        require_discreet(answer["message"])
    elif content_type == "application/json":
        json.loads(body.decode())
    elif content_type in ("image/png", "image/jpeg"):
        Image.open(io.BytesIO(body)).load()
    else:
        assert body
