"""KServe v2 over gRPC: `inference.GRPCInferenceService`, and gRPC's health check.

The front process (`service.py`) reads only the name and version of a call's model. The worker (`conversion.py`) turns the
message into the call that the same request with binary tensors over HTTP would make, and the reply into a message. grpcio and
protobuf are imported only with `--grpc-port`.
"""
