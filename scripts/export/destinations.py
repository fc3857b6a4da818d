"""Default destinations of exports."""

#: Paths by target; {name} stands for the model's name.
DEFAULTS = {
    "onnx": "build/export/{name}.onnx",
    "openvino": "build/export/{name}.xml",
    "triton": "build/export/triton",
    "ovms": "build/export/ovms",
}
#: Targets that are folders of models with names and versions; all others are files.
REPOSITORIES = frozenset({"triton", "ovms"})
