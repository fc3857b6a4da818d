import pytest

from benchmarks.largest_images import cases, model_config
from handler.answers import FORMATS
from scripts.package import DEFAULT_MODEL_CONFIG
from scripts.served_model_config import ServedModelConfig
from scripts.yaml_file import read_mapping


@pytest.mark.parametrize("batch_size", [1, 8])
def test_the_model_config_has_the_requested_batch_size(batch_size: int) -> None:
    config = model_config(batch_size)

    assert config["batchSize"] == batch_size
    assert config["handler"] == read_mapping(DEFAULT_MODEL_CONFIG)["handler"]
    ServedModelConfig.parse(config, source="test")


def test_the_batch_delay_is_long_only_when_requests_are_batched() -> None:
    assert model_config(1)["maxBatchDelay"] < 1000 < model_config(8)["maxBatchDelay"]


def test_every_format_is_measured() -> None:
    assert {case.options.get("format") for case in cases()} >= set(FORMATS)
