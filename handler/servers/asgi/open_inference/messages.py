"""The classes of the protocol's messages, made from the descriptors in messages.binpb (`python -m scripts.grpc_messages`)."""

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

DESCRIPTORS = Path(__file__).with_name("messages.binpb")


@cache
def message_class(name: str) -> Any:
    """Return the class of the message with this full name, such as `inference.ModelInferRequest`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


def parse(name: str, content: bytes | bytearray) -> Any | None:
    """Return the message with this full name that `content` encodes, or None if it cannot be decoded."""
    try:
        return message_class(name).FromString(bytes(content))
    except DecodeError:
        return None


@cache
def _pool() -> DescriptorPool:
    # A separate pool: other packages in the process may register other versions of these files.
    pool = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()).file:
        pool.Add(file)
    return pool
