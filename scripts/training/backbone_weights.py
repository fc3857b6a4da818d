"""Initialize a backbone from a classifier's weights, published or from a file."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model import Network, torchvision_ops  # noqa: F401, must precede torchvision
from model.backbones import TIMM_PREFIX, VARIANTS
from model.checkpoint import load_state_dict
from model.config import ModelConfig
from model.meta_device import on_meta_device
from model.metadata import Normalization
from scripts.errors import UserError
from scripts.weight_files.candidates import find_candidates, fit, list_names
from scripts.weight_files.tensor_maps import TensorMap, WeightsFile, read_weights

#: The value of `backbone_weights` that selects published weights.
IMAGENET = "imagenet"
#: The published weights from which torchvision's own segmentation recipes start.
_TORCHVISION_VERSION = "IMAGENET1K_V1"
#: Prefix of segmentation_models.pytorch's encoders that timm builds.
_SMP_TIMM_PREFIX = "tu-"
_ALTERNATIVE = "or give a file with a classifier's state dict as backbone_weights"


class BackboneWeightsError(UserError):
    """A backbone's weights cannot be fetched, or belong to another backbone."""


@dataclass(frozen=True)
class _PublishedWeights:
    """A whole classifier's weights."""

    name: str
    state: Mapping[str, Tensor]


def load_backbone_weights(network: Network, source: str, model: ModelConfig) -> str:
    """Load a classifier's weights, including batch normalization statistics, into the backbone of `network`.

    Args:
        source: `imagenet`, or the path of a state dict, with or without the classifier's last layers.
        model: the configuration of `network`.

    Returns:
        A sentence that says what was loaded and what was left out.

    Raises:
        BackboneWeightsError: the weights cannot be fetched, or belong to another backbone.
        WeightsFileError: the file holds no state dict.
        CheckpointError: shapes differ, or values are not finite.
    """
    if source == IMAGENET:
        published = _fetch(model)
        file = WeightsFile(Path(published.name), (TensorMap("", published.state),))
    else:
        file = read_weights(Path(source))
    state, excluded = _match_tensors(network, file, model)
    load_state_dict(network.backbone, state, source=str(file.path))
    note = f"; left out: {list_names(excluded)}" if excluded else ""
    return f"backbone {model.backbone}: {len(state)} tensors from {file.path}{note}"


def published_normalization(model: ModelConfig) -> Normalization:
    """Return the image normalization with which the backbone's published weights were trained."""
    pretrained = None if (name := _timm_name(model)) is None else _timm().models.get_pretrained_cfg(name)
    return Normalization() if pretrained is None else Normalization(mean=pretrained.mean, std=pretrained.std)


def _match_tensors(network: Network, file: WeightsFile, model: ModelConfig) -> tuple[dict[str, Tensor], list[str]]:
    """Return the backbone's tensors, by name in the backbone, and the names of all other tensors."""
    backbone_names = {_canonical(_classifier_name(name, model)): name for name in network.backbone.state_dict()}
    candidates = find_candidates(file.maps, backbone_names, _canonical)
    if not candidates:
        example = next(iter(backbone_names.values()))
        raise BackboneWeightsError(f"{file.path}: holds no weights of {model.backbone}, such as {example}")
    candidate = candidates[0]
    match = fit(candidate, {_canonical(name): tensor for name, tensor in candidate.tensors.items()}, backbone_names)
    classifier_names = {_canonical(name) for name in _classifier_names(model)}
    full_names = {_canonical(name): name for name in candidate.tensors}
    foreign = [full_names[name] for name in match.unexpected if name not in classifier_names]
    if match.missing or foreign:
        faults = [("lacks", [_classifier_name(backbone_names[name], model) for name in match.missing]), ("has", foreign)]
        details = "; ".join(f"{verb} {', '.join(names[:3])} ({len(names)} in all)" for verb, names in faults if names)
        raise BackboneWeightsError(f"{file.path}: weights of another backbone than {model.backbone}: {details}")
    unused = [full_name for name, full_name in candidate.full_names.items() if _canonical(name) not in backbone_names]
    return {backbone_names[name]: tensor for name, tensor in match.tensors.items()}, [*candidate.unprefixed, *unused]


def _canonical(name: str) -> str:
    """Return one spelling of `name` for timm's classifiers and feature extractors, which replace some dots by underscores."""
    module, dot, tensor = name.rpartition(".")
    return module.replace("_", ".") + dot + tensor


def _classifier_name(name: str, model: ModelConfig) -> str:
    """Return the name that the backbone's tensor `name` has in a whole classifier."""
    if model.is_smp:
        return name.removeprefix("model.") if model.backbone.startswith(_SMP_TIMM_PREFIX) else name
    if model.backbone.startswith(TIMM_PREFIX):
        return name.removeprefix("encoder.")
    return f"features.{name}" if name[0].isdigit() else name


def _classifier_names(model: ModelConfig) -> list[str]:
    """Return the names of all tensors in the backbone's classifier, or an empty list if the classifier is not known."""
    with on_meta_device():
        if (timm_name := _timm_name(model)) is not None:
            return list(_timm().create_model(timm_name).state_dict())
        from torchvision import models

        name = VARIANTS.get(model.backbone, model.backbone)
        if name in models.list_models():
            return list(models.get_model(name, weights=None).state_dict())
    return []


def _timm_name(model: ModelConfig) -> str | None:
    prefix = _SMP_TIMM_PREFIX if model.is_smp else TIMM_PREFIX
    return model.backbone.removeprefix(prefix) if model.backbone.startswith(prefix) else None


def _timm() -> Any:
    import timm

    return timm


def _fetch(model: ModelConfig) -> _PublishedWeights:
    """Download published weights unless they are cached, and check their hash."""
    if (timm_name := _timm_name(model)) is not None:
        return _fetch_from_timm(timm_name)
    return _fetch_from_smp(model.backbone) if model.is_smp else _fetch_from_torchvision(model.backbone)


def _fetch_from_torchvision(backbone: str) -> _PublishedWeights:
    from torchvision.models import get_model_weights

    weights = get_model_weights(VARIANTS.get(backbone, backbone))[_TORCHVISION_VERSION]
    try:
        return _PublishedWeights(str(weights), weights.get_state_dict(progress=True, check_hash=True))
    except (OSError, RuntimeError) as error:
        folder = f"{torch.hub.get_dir()}/checkpoints"
        raise BackboneWeightsError(
            f"torchvision's {weights} cannot be fetched ({error}): put {weights.url} into {folder}, {_ALTERNATIVE}"
        ) from error


def _fetch_from_timm(name: str) -> _PublishedWeights:
    timm = _timm()
    pretrained = timm.models.get_pretrained_cfg(name)
    if pretrained is None or not pretrained.has_weights:
        raise BackboneWeightsError(f"timm has no published weights of {name}; choose another backbone, {_ALTERNATIVE}")
    origin = pretrained.hf_hub_id or pretrained.url
    timm.models.set_pretrained_check_hash(True)
    try:
        with _quiet_hub():
            state = timm.create_model(name, pretrained=True).state_dict()
    # The hub's client raises many kinds of errors without a network.
    except Exception as error:
        raise BackboneWeightsError(
            f"{_describe_failure('timm', origin, error)}: connect, fill its cache, {_ALTERNATIVE}"
        ) from error
    return _PublishedWeights(f"timm's {name}.{pretrained.tag}" if pretrained.tag else f"timm's {name}", state)


def _fetch_from_smp(encoder: str) -> _PublishedWeights:
    from segmentation_models_pytorch.encoders import encoders, get_encoder

    origin = encoders[encoder]["pretrained_settings"].get(IMAGENET, {}).get("repo_id")
    if origin is None:
        raise BackboneWeightsError(
            f"segmentation_models.pytorch has no ImageNet weights of {encoder}; choose another encoder, {_ALTERNATIVE}"
        )
    try:
        with _quiet_hub():
            return _PublishedWeights(
                f"segmentation_models.pytorch's {origin}", get_encoder(encoder, weights=IMAGENET).state_dict()
            )
    # The hub's client raises many kinds of errors without a network.
    except Exception as error:
        failure = _describe_failure("segmentation_models.pytorch", origin, error)
        raise BackboneWeightsError(f"{failure}: connect, fill its cache, {_ALTERNATIVE}") from error


@contextlib.contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keep the hub's client from logging every attempt; the error of the last one is reported."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _describe_failure(library: str, origin: str, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0].partition(". ")[0] or type(error).__name__
    return f"{library}'s weights {origin} cannot be fetched ({reason[:200]})"
