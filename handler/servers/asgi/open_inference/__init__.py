"""KServe v2 over gRPC: `inference.GRPCInferenceService`, and gRPC's health check.

The front process (`service.py`) reads no more of a call than its model's name; the worker turns the message into the call that
HTTP's binary tensors make, and the reply into a message (`conversion.py`). grpcio and protobuf are imported only where
`--grpc-port` asks for them.
"""
