"""The one table of a request's options: what parses them, and what describes them to people and programs."""

from dataclasses import dataclass
from typing import Any

from handler.answers import FORMATS
from handler.errors import InvalidOption
from handler.labels import Labels
from handler.options import GREATEST_SCALE, GREATEST_TOLERANCE, LEAST_SCALE, MASKS, REFINEMENTS, AnswerOptions
from handler.request.option_values import Choice, Classes, Count, Flag, Number, Scales, Values
from handler.settings import HandlerSettings
from model.strict import ConfigurationError

#: Characters of a value: the names of a thousand classes have fewer, and a request has room for more than can be split and
#: looked up in its time.
_LONGEST = 100_000


@dataclass(frozen=True)
class Option:
    """One option of a request."""

    name: str
    values: Values
    #: What a request without it gets.
    default: Any
    #: What it does, in words for users.
    about: str

    def parse(self, given: Any) -> Any:
        """The value that `given` (text, or what JSON holds) stands for.

        Raises:
            InvalidOption: naming the option, the value and what is allowed.
        """
        if isinstance(given, str) and len(given) > _LONGEST:
            raise InvalidOption(f"option {self.name!r}: its value has {len(given):,} characters, the limit is {_LONGEST:,}")
        try:
            return self.values.parse(given)
        except ValueError as error:
            raise InvalidOption(f"option {self.name!r}: {error} (allowed: {self.values.allowed.replace('`', '')})") from error

    def summary(self) -> dict[str, Any]:
        """For programs: JSON Schema with a default and a description."""
        return {**self.values.schema, "default": self.default, "description": self.about}


def option_table(settings: HandlerSettings, labels: Labels) -> dict[str, Option]:
    """Every option by its name, with this server's defaults and limits.

    Raises:
        ConfigurationError: the settings name a class that the model does not have.
    """
    inference, answer = settings.inference, default_answer(settings, labels)
    scales = Scales(LEAST_SCALE, GREATEST_SCALE, inference.max_scales)
    options = [
        Option("format", Choice(FORMATS), answer.format, "what is answered"),
        Option("masks", Choice(MASKS), answer.masks, "`json`: how each segment's mask is given"),
        Option("scales", scales, inference.scales, "the network sees the picture at each; probabilities are averaged"),
        Option("flip", Flag(), inference.flip, "it sees the mirror image too"),
        Option("tiles", Count(1, inference.max_tiles), inference.tiles, "it sees overlapping tiles, so many along each side"),
        Option("refine", Choice(REFINEMENTS), inference.refine, "`crf`: a dense CRF moves edges to those of the picture"),
        Option("classes", Classes(labels.names), answer.classes, "classes to report; the rest becomes background"),
        Option("min_score", Number(0, 1), answer.min_score, "segments under it are left out where segments are listed"),
        Option("components", Flag(), answer.components, "each connected part of a class is a segment of its own"),
        Option("alpha", Number(0, 1), answer.alpha, "`overlay` and explanations: opacity of the tint"),
        Option("tolerance", Number(0, GREATEST_TOLERANCE), answer.tolerance, "pixels that polygons may leave the outline by"),
    ]
    return {option.name: option for option in options}


def default_answer(settings: HandlerSettings, labels: Labels) -> AnswerOptions:
    """What a request gets that asks for nothing else.

    Raises:
        ConfigurationError: the settings name a class that the model does not have.
    """
    answer = settings.answer
    try:
        classes = None if answer.classes is None else Classes(labels.names).parse(list(answer.classes))
    except ValueError as error:
        raise ConfigurationError(f"model-config.yaml, section 'handler': 'answer.classes': {error}") from error
    return AnswerOptions(**{**answer.model_dump(), "classes": classes})
