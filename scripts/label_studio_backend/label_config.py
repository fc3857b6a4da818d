"""Read a project's labelling configuration: its control tags, their images and their labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from scripts.label_studio_backend.errors import LabelConfigError

#: The response format that fills each control tag.
FORMATS = {"BrushLabels": "labelstudio", "PolygonLabels": "labelstudio_polygons"}
_TAGS = " or ".join(f"<{tag}>" for tag in FORMATS)


@dataclass(frozen=True)
class Label:
    """A `<Label>` in a control tag."""

    value: str
    alias: str
    #: The model's class names in the attribute `predicted_values`, which Label Studio's own backends use too.
    predicted: tuple[str, ...]


@dataclass(frozen=True)
class Control:
    """A control tag and the image tag that it labels."""

    from_name: str
    to_name: str
    #: A key of `FORMATS`.
    tag: str
    #: The key in a task's data that holds the image.
    data_key: str
    labels: tuple[Label, ...]

    def label_of(self, class_name: str) -> str | None:
        """Return the label for a model's class, or None if the project has none.

        A class gets the label whose `predicted_values` name it, else the label with its value or alias, else one that differs
        only in case.
        """
        for names in self._names:
            if class_name in names:
                return names[class_name]
        return self._folded_names.get(class_name.casefold())

    @cached_property
    def _names(self) -> list[dict[str, str]]:
        predicted = {name: label.value for label in reversed(self.labels) for name in label.predicted}
        values = {label.value: label.value for label in self.labels}
        aliases = {label.alias: label.value for label in reversed(self.labels) if label.alias}
        return [predicted, values, aliases]

    @cached_property
    def _folded_names(self) -> dict[str, str]:
        """Return lower-case names of the labels without `predicted_values`."""
        names = [(name, label.value) for label in self.labels if not label.predicted for name in (label.alias, label.value)]
        return {name.casefold(): value for name, value in reversed(names) if name}


def read_controls(label_config: str) -> list[Control]:
    """Return each image's control in the configuration: its first `<BrushLabels>` or `<PolygonLabels>`.

    Raises:
        LabelConfigError: the XML is malformed, or no such tag labels an image.
    """
    try:
        root = fromstring(label_config)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise LabelConfigError(f"the labelling configuration is not XML: {error}") from error
    keys = {tag.get("name", ""): tag.get("value", "").removeprefix("$") for tag in root.iter("Image")}
    controls: dict[str, Control] = {}
    for tag in root.iter():
        if tag.tag in FORMATS:
            for control in _controls(tag, keys):
                controls.setdefault(control.to_name, control)
    if not controls:
        raise LabelConfigError(
            f'the labelling configuration has no {_TAGS} with labels for an <Image>, as in <View><Image name="image" '
            'value="$image"/><BrushLabels name="label" toName="image"><Label value="cat"/></BrushLabels></View>'
        )
    return list(controls.values())


def _controls(tag: Element, keys: dict[str, str]) -> Iterator[Control]:
    labels = tuple(_label(child) for child in tag.iter("Label") if child.get("value"))
    for to_name in tag.get("toName", "").split(","):
        if labels and tag.get("name") and keys.get(to_name):
            yield Control(tag.get("name", ""), to_name, tag.tag, keys[to_name], labels)


def _label(tag: Element) -> Label:
    predicted = [name.strip() for name in tag.get("predicted_values", "").split(",")]
    return Label(tag.get("value", ""), tag.get("alias", ""), tuple(filter(None, predicted)))
