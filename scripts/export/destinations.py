"""Where exports go, unless the command line says where."""

#: By target; {name} stands for the model's.
DEFAULTS = {
    "onnx": "build/export/{name}.onnx",
    "openvino": "build/export/{name}.xml",
    "triton": "build/export/triton",
    "ovms": "build/export/ovms",
}
#: Targets that are folders of models, each with a name and versions; the others are files.
REPOSITORIES = frozenset({"triton", "ovms"})
