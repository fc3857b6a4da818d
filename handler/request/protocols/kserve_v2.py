"""KServe's v2 protocol, the Open Inference Protocol: tensors in `inputs` are answered with tensors in `outputs`.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from handler.answers import EncodedResponse
from handler.answers.response import compact_json
from handler.errors import InvalidRequest, SegmentationError, error_context
from handler.labels import Labels
from handler.limits import Limits
from handler.options import ANSWER, ModelIdentity
from handler.request.bodies import Instance
from handler.request.protocols.binary_tensors import BINARY_TYPE, LENGTH_HEADER, Sections
from handler.request.protocols.envelope import Reply, check_count, error_reply
from handler.request.protocols.kserve_v2_fields import read_flag, read_options, require_known_keys
from handler.request.protocols.kserve_v2_inputs import InputTensor, read_tensor
from handler.request.protocols.kserve_v2_outputs import OutputWriter, RequestedOutput, output_metadata, read_outputs
from handler.wording import json_name, quoted

#: Clients repeat the URL's model name and version in the call, and list the outputs they use.
_CALL_KEYS = ("inputs", "parameters", "id", "outputs", "model_name", "model_version")


def tensor_metadata(labels: Labels) -> dict[str, list[dict[str, Any]]]:
    """Return the tensors in the protocol's metadata; an image goes into one of the two inputs."""
    files = {"name": "image", "datatype": "BYTES", "shape": [-1]}
    pixels = {"name": "image", "datatype": "UINT8", "shape": [-1, -1, 3]}
    return {"inputs": [files, pixels], "outputs": output_metadata(labels)}


@dataclass(frozen=True)
class KServeV2:
    """A call whose inputs are `BYTES` tensors of images (base64 text, or files after the JSON), or `UINT8` pixels.

    The call's `parameters` are options for all images; an input's own parameters override them, and the parameters of the
    output with its answer override both.
    """

    body: Mapping[str, Any]
    model: ModelIdentity
    limits: Limits
    #: The bytes after the JSON, or None if the body is only JSON.
    sections: bytes | None = None

    def instances(self) -> list[Instance]:
        require_known_keys(self.body, _CALL_KEYS, "the call")
        count = sum(len(tensor.elements) for tensor in self._inputs)
        check_count(count, self.limits.max_instances)
        if not isinstance(self.body.get("id"), str | None):
            raise InvalidRequest(f"'id' is {json_name(self.body['id'])}, it should be text")
        read_flag(self.body, "binary_data_output", "the call")
        output_names = self._output_names(count)
        call_options = read_options(self.body, "the call")
        instances: list[Instance] = []
        for tensor in self._inputs:
            input_options = read_options(tensor.fields, f"input {quoted(tensor.name)}")
            options = {**call_options, **input_options, **self._answer_options(tensor)}
            for element in tensor.elements:
                with error_context(f"image {len(instances)}"):
                    instances.append(Instance(tensor.image(element), options, output_names))
        return instances

    def reply(self, answers: Sequence[EncodedResponse], *, explained: bool) -> Reply:
        """Return the requested outputs, or else an output with each input's name and shape."""
        del explained
        all_binary = bool(read_flag(self.body, "binary_data_output", "the call"))
        writer = OutputWriter(self.limits.max_response_bytes)
        for output in self._outputs:
            binary = all_binary if output.binary is None else output.binary
            if output.is_array:
                writer.add_array(output.name, answers[0].arrays[output.name], binary=binary)
            elif output.name == ANSWER:
                writer.add_answers(ANSWER, [len(answers)], answers, binary=binary)
            else:
                self._add_answers_to_inputs(writer, answers, output.name, binary=binary)
        if not self._outputs:
            self._add_answers_to_inputs(writer, answers, None, binary=all_binary)
        identity = {} if self.body.get("id") is None else {"id": self.body["id"]}
        header = compact_json({"model_name": self.model.name, "model_version": self.model.version, **identity})
        document = header[:-1] + b',"outputs":' + writer.json + b"}"
        if not writer.sections:
            return Reply(document)
        return Reply(b"".join([document, *writer.sections]), BINARY_TYPE, headers={LENGTH_HEADER: str(len(document))})

    def _add_answers_to_inputs(
        self, writer: OutputWriter, answers: Sequence[EncodedResponse], name: str | None, *, binary: bool
    ) -> None:
        """Add the answers to the inputs called `name`, or to all if None, as outputs with the inputs' names and shapes."""
        remaining = iter(answers)
        for tensor in self._inputs:
            tensor_answers = list(islice(remaining, len(tensor.elements)))
            if name in (None, tensor.name):
                writer.add_answers(tensor.name, tensor.answer_shape, tensor_answers, binary=binary)

    def refuse(self, error: SegmentationError, message: str) -> Reply:
        """Return the error with all keys of an answer, because TorchServe's gRPC ends the worker if one is missing."""
        identity = self.body.get("id")
        return error_reply(
            error,
            message,
            id=identity if isinstance(identity, str) else "",
            model_name=self.model.name,
            model_version=self.model.version,
            outputs=[],
        )

    def _output_names(self, images: int) -> tuple[str, ...]:
        """Return the outputs requested for each image: the answer in its format, and arrays.

        Raises:
            InvalidRequest: an array is requested for several images, which may differ in size.
        """
        arrays = [output.name for output in self._outputs if output.is_array]
        if arrays and images > 1:
            raise InvalidRequest(f"output {arrays[0]!r} is for one image, the call holds {images}; send a call for each")
        needs_answer = len(arrays) < len(self._outputs) or not self._outputs
        return (*([ANSWER] if needs_answer else []), *arrays)

    def _answer_options(self, tensor: InputTensor) -> dict[str, Any]:
        """Return the options of the outputs with an input's answer; the output with the input's name takes precedence."""
        options = {output.name: output.options for output in self._outputs}
        return {**options.get(ANSWER, {}), **options.get(tensor.name, {})}

    @cached_property
    def _outputs(self) -> list[RequestedOutput]:
        return read_outputs(self.body.get("outputs"), [tensor.name for tensor in self._inputs])

    @cached_property
    def _inputs(self) -> list[InputTensor]:
        inputs = self.body["inputs"]
        if not isinstance(inputs, list) or not inputs:
            raise InvalidRequest("'inputs' should be a list of at least one tensor")
        sections = None if self.sections is None else Sections(self.sections)
        tensors = [read_tensor(tensor, position, sections, self.limits) for position, tensor in enumerate(inputs)]
        if sections is not None:
            sections.require_end()
        return tensors
