import pytest

from model import Calibration, CheckpointMetadata, ModelConfig, Quantization, ResizePolicy
from model.palette import voc_palette
from model.strict import ConfigurationError
from tests.support import calibration, metadata, quantization


def test_metadata_survives_json() -> None:
    original = metadata(quantization=quantization(), calibration=calibration(0.8))

    assert CheckpointMetadata.model_validate_json(original.model_dump_json()) == original


def test_the_temperature_defaults_to_1() -> None:
    assert metadata(calibration=calibration(0.8)).temperature == 0.8
    assert metadata().temperature == 1.0


@pytest.mark.parametrize("temperature", [0.0, 0.01, 21.0, float("nan")])
def test_a_temperature_out_of_range_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigurationError, match="'temperature'"):
        Calibration.parse({**calibration(1.0).model_dump(), "temperature": temperature}, source="here")


def test_the_mious_of_a_quantization_must_be_given_together() -> None:
    incomplete = {**quantization().model_dump(), "miou_before": None}

    with pytest.raises(ConfigurationError, match="set both miou_before and miou_after, or neither"):
        Quantization.parse(incomplete, source="here")


def test_an_unknown_key_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"here: unknown key 'output_strid', did you mean 'output_stride'\?"):
        ModelConfig.parse({"output_strid": 8}, source="here")


def test_an_unknown_key_in_a_section_is_refused_with_the_nearest_of_the_section() -> None:
    data = {**metadata().model_dump(), "resize": {"sise": 3}}

    with pytest.raises(ConfigurationError, match=r"unknown key 'resize\.sise', did you mean 'size'\?"):
        CheckpointMetadata.parse(data, source="here")


def test_an_invalid_value_is_refused_with_its_key() -> None:
    with pytest.raises(ConfigurationError, match=r"here: 'output_stride': 4: Input should be 8 or 16"):
        ModelConfig.parse({"output_stride": 4}, source="here")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("atrous_rates", (6, 0), "rates of 1 or more"),
        ("multi_grid", (), "at least one factor"),
        ("multi_grid", (1, 0), "at least one factor"),
    ],
)
def test_invalid_rates_are_refused(key: str, value: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ModelConfig.parse({key: value}, source="here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("background", "cat")}, "classes has 2 entries, the model has 3 classes"),
        ({"palette": voc_palette(4)}, "palette has 4 entries, the model has 3 classes"),
        ({"classes": ("background", "cat", "cat")}, "classes must be distinct; repeated: cat"),
    ],
)
def test_classes_and_palette_must_match_the_logits(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CheckpointMetadata.parse({**metadata().model_dump(), **change}, source="here")


def test_values_cannot_be_changed() -> None:
    policy = ResizePolicy()

    with pytest.raises(ValueError, match="frozen"):
        policy.size = 1  # type: ignore[misc]


def test_the_palette_begins_with_vocs_colours() -> None:
    assert voc_palette(5) == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128))
    assert voc_palette(16)[15] == (192, 128, 128)


def test_256_colours_are_distinct_and_then_repeat() -> None:
    palette = voc_palette(257)

    assert len(set(palette[:256])) == 256
    assert palette[256] == palette[0]
