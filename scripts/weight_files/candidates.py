"""Find a network's tensors under names changed by wrappers: DataParallel, Lightning, torch.compile, averages, FSDP."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scripts.weight_files.tensor_maps import TensorMap

#: Components that wrappers insert anywhere in a tensor's name.
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module", "module"}
_COUNTER = ".num_batches_tracked"
#: Classifier layers that a backbone may still contain, although no feature map passes through them.
_UNUSED_CLASSIFIERS = {"fc", "classifier", "head", "last_linear"}
#: Words in the key or prefix of weights that the optimizer did not update directly.
_AVERAGES = ("ema", "teacher", "average", "swa", "shadow")
_NAMES_SHOWN = 8


@dataclass(frozen=True)
class Candidate:
    """Tensors in one state dict that share a prefix, which may be the network's."""

    #: Name for messages and for `--key`: the state dict's key in the file and the prefix, joined by dots.
    key: str
    #: The state dict's key alone.
    map_key: str
    #: Text that was removed from the names.
    prefixes: tuple[str, ...]
    #: Tensors by name, without prefix and wrappers.
    tensors: Mapping[str, Tensor]
    #: The full names in the file, by the names in `tensors`.
    full_names: Mapping[str, str]
    #: Full names in the same state dict that lack the prefix.
    unprefixed: tuple[str, ...]
    #: Number of the network's names found in `tensors`.
    matched: int

    @property
    def is_average(self) -> bool:
        """Whether its name suggests an average of the trained weights, or a teacher."""
        return any(word in self.key.lower() for word in _AVERAGES)


@dataclass(frozen=True)
class Fit:
    """A network's tensors found in a candidate."""

    tensors: Mapping[str, Tensor]
    missing: tuple[str, ...]
    #: Tensors in the network's modules that the network does not have.
    unexpected: Mapping[str, Tensor]
    excluded: tuple[str, ...]
    #: Number of batch counters that were absent and set to 0.
    counters: int


def find_candidates(
    maps: Iterable[TensorMap], expected: Collection[str], rename: Callable[[str], str] = lambda name: name
) -> list[Candidate]:
    """Return every group of tensors with names in `expected`, the most complete first.

    Args:
        expected: names in the network.
        rename: maps a name in the file, without wrappers, to the name in the network.
    """
    candidates = [candidate for tensor_map in maps for candidate in _candidates_in(tensor_map, set(expected), rename)]
    best_match = max((candidate.matched for candidate in candidates), default=0)
    # Parts of names, such as `classifier.4.weight`, can coincide by chance.
    return sorted(
        (candidate for candidate in candidates if candidate.matched * 2 > best_match),
        key=lambda candidate: (-candidate.matched, candidate.is_average, candidate.key),
    )


def fit(candidate: Candidate, tensors: Mapping[str, Tensor], expected: Collection[str]) -> Fit:
    """Choose the tensors in `expected` from those of `candidate`.

    Args:
        tensors: the candidate's tensors, by name in the network.
        expected: names in the network.
    """
    matching = {name: tensor for name, tensor in tensors.items() if name in expected}
    missing = [name for name in expected if name not in matching]
    zeros = {name: torch.zeros((), dtype=torch.long) for name in missing if matching and name.endswith(_COUNTER)}
    children = {name.partition(".")[0] for name in expected}
    unmatched = [name for name in tensors if name not in expected]
    unexpected = [name for name in unmatched if name.partition(".")[0] in children and not _is_unused_classifier(name)]
    return Fit(
        matching | zeros,
        tuple(name for name in missing if name not in zeros),
        {name: tensors[name] for name in unexpected},
        (*candidate.unprefixed, *(candidate.full_names.get(name, name) for name in unmatched if name not in unexpected)),
        len(zeros),
    )


def list_names(names: Collection[str]) -> str:
    """Return `names` as text; many names from one module are summarised by their number."""
    modules = Counter(name.partition(".")[0] for name in names)
    entries = dict.fromkeys(
        f"{module}.* ({count} tensors)" if (count := modules[module := name.partition(".")[0]]) > 3 else name for name in names
    )
    more = f", and {len(entries) - _NAMES_SHOWN} more" if len(entries) > _NAMES_SHOWN else ""
    return ", ".join(list(entries)[:_NAMES_SHOWN]) + more


def _is_unused_classifier(name: str) -> bool:
    return name.split(".")[1] in _UNUSED_CLASSIFIERS if name.startswith("backbone.") else False


def _candidates_in(tensor_map: TensorMap, expected: set[str], rename: Callable[[str], str]) -> list[Candidate]:
    names = _without_wrappers(tensor_map.tensors)
    votes: Counter[str] = Counter()
    for name in names:
        votes.update(prefix for prefix, suffix in _splits(name) if rename(suffix) in expected)
    return [_candidate(tensor_map, names, prefix, count) for prefix, count in votes.items()]


def _candidate(tensor_map: TensorMap, names: Mapping[str, str], prefix: str, matched: int) -> Candidate:
    """Return the part of `tensor_map` under `prefix`; `names` maps names without wrappers to those in the file."""
    full_names = {name.removeprefix(prefix): full_name for name, full_name in names.items() if name.startswith(prefix)}
    removed_texts = Counter(
        full_name[: -len(name)] if full_name.endswith(name) else _wrappers_in(full_name)
        for name, full_name in full_names.items()
    )
    return Candidate(
        ".".join(part for part in (tensor_map.key, prefix.rstrip(".")) if part),
        tensor_map.key,
        tuple(text for text, count in removed_texts.most_common() if text and count > 1),
        {name: tensor_map.tensors[full_name] for name, full_name in full_names.items()},
        full_names,
        tuple(full_name for name, full_name in names.items() if not name.startswith(prefix)),
        matched,
    )


def _wrappers_in(name: str) -> str:
    return ".".join(part for part in name.split(".") if part in _WRAPPERS) + "."


def _without_wrappers(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Map each name without wrapper components to the full name, or full names to themselves if two would coincide."""
    names = {".".join(part for part in name.split(".") if part not in _WRAPPERS): name for name in tensors}
    return names if len(names) == len(tensors) else {name: name for name in tensors}


def _splits(name: str) -> Iterable[tuple[str, str]]:
    """Yield every split of a name into a prefix, which is empty or ends with a dot, and the rest."""
    start = 0
    while True:
        yield name[:start], name[start:]
        dot = name.find(".", start)
        if dot < 0:
            return
        start = dot + 1
