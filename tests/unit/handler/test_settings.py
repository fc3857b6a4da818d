import pytest
import yaml

from handler.options import InferenceOptions
from handler.settings import HandlerSettings
from model.strict import ConfigurationError
from tests.support import ROOT


def parse(inference: dict[str, object]) -> HandlerSettings:
    return HandlerSettings.parse({"inference": inference}, source="model-config.yaml")


def test_by_default_the_network_sees_an_image_once_without_refinement() -> None:
    assert HandlerSettings().inference.defaults == InferenceOptions(scales=(1.0,), flip=False, tiles=1, refine="none")


def test_the_shipped_configuration_equals_the_default_settings() -> None:
    shipped_inference = yaml.safe_load((ROOT / "handler" / "model-config.yaml").read_text())["handler"]["inference"]

    assert parse(shipped_inference).inference == HandlerSettings().inference


def test_scales_are_sorted() -> None:
    assert parse({"scales": [1.5, 0.5, 1]}).inference.defaults.scales == (0.5, 1.0, 1.5)


def test_every_option_of_a_request_has_its_default_in_the_settings() -> None:
    inference: dict[str, object] = {
        "scales": [0.5],
        "flip": True,
        "tiles": 2,
        "refine": "crf",
        "bands": [4, 3, 2],
        "range": [0, 3000],
    }

    assert parse(inference).inference.defaults == InferenceOptions.model_validate(inference)
    assert set(inference) == set(InferenceOptions.model_fields)


@pytest.mark.parametrize(
    ("inference", "message"),
    [
        ({"scales": [1, 9]}, r"'inference\.scales\.1': 9.* 2"),
        ({"scales": [0.1]}, r"'inference\.scales\.0': 0\.1.* 0\.25"),
        ({"scales": []}, r"'inference\.scales'.*empty"),
        ({"scales": [0.5, 1], "max_scales": 1}, r"scales has 2 entries, max_scales is 1"),
        ({"tiles": 0}, r"'inference\.tiles': 0: Input should be greater than or equal to 1"),
        ({"tiles": 5}, r"tiles is 5, max_tiles is 4"),
        ({"flip": "yes"}, r"'inference\.flip': 'yes'"),
        ({"tiles": True}, r"'inference\.tiles': True"),
        ({"refine": "crv"}, r"'inference\.refine': 'crv'.*'none' or 'crf'"),
        ({"flips": True}, r"unknown key 'inference\.flips', did you mean 'flip'\?"),
        ({"crf": {"iterations": 0}}, r"'inference\.crf\.iterations': 0"),
        ({"crf": {"sigma": 3}}, r"unknown key 'inference\.crf\.sigma'.*known: iterations, bilateral_weight"),
    ],
)
def test_an_invalid_setting_names_the_allowed_values(inference: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse(inference)


@pytest.mark.parametrize("classes", ["all", [True], [0.5]])
def test_default_classes_are_names_or_indices(classes: object) -> None:
    with pytest.raises(ConfigurationError, match=r"'answer\.classes"):
        HandlerSettings.parse({"answer": {"classes": classes}}, source="model-config.yaml")


def test_an_unsupported_output_stride_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"'output_stride': 4: Input should be 8 or 16"):
        HandlerSettings.parse({"output_stride": 4}, source="model-config.yaml")
