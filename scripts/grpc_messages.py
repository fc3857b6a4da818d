"""Compile the .proto files of the server's gRPC service into the descriptors that it reads. Needs grpcio-tools.

python -m scripts.grpc_messages
"""

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

from handler.servers.asgi.open_inference.messages import DESCRIPTORS
from scripts.errors import UserError, report_errors


def compile_protos(folder: Path = DESCRIPTORS.parent) -> bytes:
    """Return the descriptors of all .proto files in `folder` and their imports.

    Raises:
        UserError: a file is invalid; protoc has printed why.
    """
    protos = sorted(path.name for path in folder.glob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "set"
        well_known = files("grpc_tools") / "_proto"
        arguments = ["protoc", f"-I{folder}", f"-I{well_known}", "--include_imports", f"--descriptor_set_out={target}", *protos]
        if protoc.main(arguments) != 0:
            raise UserError(f"{folder}: the .proto files cannot be compiled")
        return target.read_bytes()


@report_errors
def main() -> int:
    DESCRIPTORS.write_bytes(compile_protos())
    print(f"wrote {DESCRIPTORS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
