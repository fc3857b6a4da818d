"""The JSON of Hugging Face's Inference API: `{"inputs": "<base64>", "parameters": {"threshold": 0.5}}`.

Its clients send it when they set a parameter, and the file's bytes otherwise.
https://huggingface.co/docs/inference-providers/tasks/image-segmentation
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handler.errors import InvalidOption
from handler.request.bodies import Instance, image_bytes, read_options
from handler.request.protocols.plain import Plain
from handler.wording import json_name, quoted

#: The first two control how query masks become segments, which semantic segmentation does not need; Hugging Face's own pipeline
#: ignores them there too. The last two come from its first API.
_IGNORED_PARAMETERS = {"mask_threshold", "overlap_mask_area_threshold", "use_cache", "wait_for_model"}


@dataclass(frozen=True)
class HuggingFace(Plain):
    """A call whose image is the text in `inputs`, with options in `parameters`, in `options` or next to them.

    It is answered like `Plain`.
    """

    def instances(self) -> list[Instance]:
        fields = {name: value for name, value in self.fields.items() if name not in ("inputs", "parameters")}
        options = {**read_options(fields), **_parameters(self.fields.get("parameters"))}
        return [Instance(image_bytes("inputs", self.fields["inputs"]), _translate_options(options))]


def _parameters(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping | None):
        raise InvalidOption(f"'parameters' is {json_name(value)}, it should be an object of options by name")
    return value or {}


def _translate_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with `threshold` renamed to `min_score`, without parameters that do not apply; null means not set.

    Raises:
        InvalidOption: `subtask` is not semantic, or an option is set under both names.
    """
    values = {name: value for name, value in options.items() if name not in _IGNORED_PARAMETERS}
    subtask, threshold = values.pop("subtask", None), values.pop("threshold", None)
    if subtask not in (None, "semantic"):
        raise InvalidOption(f"option 'subtask': {quoted(subtask)} is not what this model does (allowed: semantic)")
    if threshold is None:
        return values
    if "min_score" in values:
        raise InvalidOption("options 'threshold' and 'min_score' mean the same; send one")
    return {**values, "min_score": threshold}
