"""What metrics need to know of a loaded model. Imports nothing heavy: front processes read it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from handler.drift import Reference
from handler.observation import Observation

#: Classes that are a label of a metric each; a model with more of them has the rest under `REST`.
MOST_CLASSES = 64
REST = "(other)"


@dataclass(frozen=True)
class Profile:
    """A loaded model, as metrics see it."""

    #: Names by class index.
    classes: Sequence[str]
    engine: str
    precision: str
    #: The share of pixels that this engine labelled like torch in float32 when the model was packaged, and the least that it
    #: had to; None: it was not compared.
    agreement: tuple[float, float] | None = None
    #: What the images looked like on which the model was accepted; None: that was not recorded.
    reference: Reference | None = None

    @cached_property
    def labels(self) -> Sequence[str]:
        """The label of each class: its name, or `REST` for all but the `MOST_CLASSES` - 1 that the reference shows most of.

        Without a reference the first classes keep their names.
        """
        if len(self.classes) <= MOST_CLASSES:
            return self.classes
        shares = self.reference.distribution.shares if self.reference else ()
        order = sorted(range(len(self.classes)), key=lambda index: (-(shares[index] if shares else 0), index))
        named = set(order[: MOST_CLASSES - 1])
        return [name if index in named else REST for index, name in enumerate(self.classes)]

    def label_shares(self, observation: Observation) -> Iterator[tuple[str, float]]:
        """Yield every label with its share of an image, 0..1."""
        shares = dict.fromkeys(self.labels, 0.0)
        for index, share in observation.shares.items():
            shares[self.labels[index]] += share
        yield from shares.items()
