"""Exports of a model for other runtimes and servers: ONNX Runtime, OpenVINO, Triton, OpenVINO Model Server."""
