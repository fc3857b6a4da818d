"""Answer Label Studio's tasks with the segmentation server's predictions."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from handler.answers import FORMATS as ANSWERS
from scripts.client import AnswerError, Client
from scripts.errors import print_warning
from scripts.label_studio_backend.errors import LabelConfigError, NoTaskAnswered, TaskError
from scripts.label_studio_backend.label_config import FORMATS, Control, read_controls
from scripts.served_labels import FORMAT as LABELS_FORMAT
from scripts.served_labels import blank_image, read_labels

_FAILURES_SHOWN = 3

#: Returns the image file that a task's value refers to; takes the value and the task's id.
Fetch = Callable[[str, object], bytes]
Prediction = dict[str, Any]


@dataclass(frozen=True)
class ServedModel:
    """The model on the segmentation server."""

    #: Version, as stated in predictions.
    version: str
    classes: tuple[str, ...]


class Predictor:
    """Predicts tasks. Several threads may use it at once."""

    def __init__(self, client: Client, fetch: Fetch, options: Mapping[str, str], jobs: int) -> None:
        """Store the settings; `options` are sent with every image, `jobs` is the number of images in flight."""
        self._client, self._fetch, self._options = client, fetch, options
        self._pool = ThreadPoolExecutor(jobs)
        self._model: ServedModel | None = None

    def model(self) -> ServedModel:
        """Return the served model, cached until a prediction comes from another model.

        Label Studio asks before each prediction, and waits only three seconds.

        Raises:
            AnswerError: the server is unreachable, or refuses the options.
        """
        if (model := self._model) is None:
            file = io.BytesIO()
            blank_image().save(file, "PNG")
            answer = self._request(file.getvalue(), LABELS_FORMAT)
            classes = tuple(label["name"] for label in read_labels(answer))
            model = self._model = ServedModel(f"{answer['model']} {answer['version']}", classes)
        return model

    def check(self, label_config: str) -> str:
        """Check that the project can be served, and return the model's version.

        Raises:
            LabelConfigError: the configuration has no tag to fill, or none of its labels is a class of the model.
            AnswerError: the server is unreachable, or refuses the options.
        """
        controls, model = read_controls(label_config), self.model()
        for control in controls:
            if not any(control.label_of(name) for name in model.classes):
                raise LabelConfigError(
                    f"no label of <{control.tag} name={control.from_name!r}> is a class of the model: "
                    f"{', '.join(label.value for label in control.labels)}; the classes are {', '.join(model.classes)}"
                )
        return model.version

    def predict(self, tasks: Sequence[Mapping[str, Any]], label_config: str) -> list[Prediction]:
        """Return a prediction for each task, in order; a task that fails gets an empty one, with a warning.

        Label Studio requires one prediction per task, and drops all if one lacks its result.

        Raises:
            LabelConfigError: the configuration has no tag to fill.
            NoTaskAnswered: every task failed.
            AnswerError: the server is unreachable, or refuses the options.
        """
        controls, model = read_controls(label_config), self.model()
        answers = list(self._pool.map(lambda task: self._predict_or_fail(task, controls), tasks))
        failures = [answer for answer in answers if isinstance(answer, Exception)]
        for failure in failures:
            if isinstance(failure, AnswerError) and failure.affects_every_image:
                raise failure
            print_warning(str(failure))
        if failures and len(failures) == len(tasks):
            reasons = "; ".join(dict.fromkeys(str(failure) for failure in failures[:_FAILURES_SHOWN]))
            raise NoTaskAnswered(f"none of {len(tasks)} tasks could be answered: {reasons}")
        empty = {"model_version": model.version, "score": 0.0, "result": []}
        return [empty if isinstance(answer, Exception) else answer for answer in answers]

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    def _predict_or_fail(self, task: Mapping[str, Any], controls: Sequence[Control]) -> Prediction | AnswerError | TaskError:
        try:
            return self._predict(task, controls)
        except AnswerError as error:
            return error if error.affects_every_image else TaskError(f"task {task.get('id')}: {error}")
        except TaskError as error:
            return TaskError(f"task {task.get('id')}: {error}")

    def _predict(self, task: Mapping[str, Any], controls: Sequence[Control]) -> Prediction:
        regions: list[dict[str, Any]] = []
        version = ""
        for control in controls:
            image = self._fetch(_reference(task, control.data_key), task.get("id"))
            answer = self._request(image, FORMATS[control.tag])
            version = answer["model_version"]
            if self._model and self._model.version != version:
                self._model = None
            regions += _project_regions(answer["result"], control)
        # Ids must be unique in a task, which may have several images.
        result = [{**region, "id": f"region{number}"} for number, region in enumerate(regions, start=1)]
        score = sum(region["score"] for region in result) / len(result) if result else 0.0
        return {"model_version": version, "score": round(score, 4), "result": result}

    def _request(self, image: bytes, format_name: str) -> Any:
        options = {**self._options, "format": format_name}
        return json.loads(self._client.segment(image, options, ANSWERS[format_name].content_type))


def _reference(task: Mapping[str, Any], data_key: str) -> str:
    data = task.get("data")
    value = data.get(data_key) if isinstance(data, Mapping) else None
    if not isinstance(value, str) or not value:
        raise TaskError(f"its data have no image address in {data_key!r}")
    return value


def _project_regions(regions: Sequence[Mapping[str, Any]], control: Control) -> list[dict[str, Any]]:
    """Return the regions whose class is a label of the project, under the project's names."""
    project_regions = []
    for region in regions:
        (class_name,) = region["value"][region["type"]]
        if label := control.label_of(class_name):
            value = {**region["value"], region["type"]: [label]}
            project_regions.append({**region, "from_name": control.from_name, "to_name": control.to_name, "value": value})
    return project_regions
