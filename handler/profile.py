"""What metrics need to know about a loaded model. Imports nothing heavy, because front processes import it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from handler.drift import Reference
from handler.observation import Observation

#: The most classes with their own metric label; a model with more classes counts the rest as `OTHER_LABEL`.
MAX_LABELS = 64
OTHER_LABEL = "(other)"


@dataclass(frozen=True)
class Profile:
    """The properties of a loaded model that metrics report."""

    #: Class names by index.
    classes: Sequence[str]
    engine: str
    precision: str
    #: The share of pixels that this engine labelled like torch in float32 when the model was packaged, and the required
    #: minimum; None if they were not compared.
    agreement: tuple[float, float] | None = None
    #: Statistics of the images on which the model was accepted, or None if they were not recorded.
    reference: Reference | None = None

    @cached_property
    def labels(self) -> Sequence[str]:
        """The label of each class: its name, or `OTHER_LABEL` for all but the `MAX_LABELS` - 1 most common in the reference.

        Without a reference, the first classes keep their names.
        """
        if len(self.classes) <= MAX_LABELS:
            return self.classes
        shares = self.reference.distribution.shares if self.reference else ()
        order = sorted(range(len(self.classes)), key=lambda index: (-(shares[index] if shares else 0), index))
        labelled = set(order[: MAX_LABELS - 1])
        return [name if index in labelled else OTHER_LABEL for index, name in enumerate(self.classes)]

    def label_shares(self, observation: Observation) -> Iterator[tuple[str, float]]:
        """Yield every label with its share of an image, 0..1."""
        shares = dict.fromkeys(self.labels, 0.0)
        for index, share in observation.shares.items():
            shares[self.labels[index]] += share
        yield from shares.items()
