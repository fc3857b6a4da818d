"""TorchServe's config.properties: its ports and paths, and what a client needs for access."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.server.ports import LOOPBACK, Ports

_ROOT = Path(__file__).parents[2]
#: `start` writes the first next to the logs; TorchServe writes the second there in token mode.
SETTINGS, KEYS = "config.properties", "key_file.json"
#: Settings that are paths; relative ones are resolved from the repository's root.
_PATHS = ("metrics_config", "keystore", "private_key_file", "certificate_file")
_ANY_ADDRESS = ("0.0.0.0", "[::]")  # noqa: S104 (nothing is bound to them here)
_ADDRESS = re.compile(r"(?P<scheme>https?)://(?P<host>\[[^\]\s]*\]|[^:/\s]+)(?::\d+)?")


@dataclass(frozen=True)
class Endpoint:
    """How this machine reaches one of TorchServe's APIs."""

    #: Without a path.
    url: str
    #: The server's certificate, if it uses TLS and the settings name a file.
    certificate: Path | None = None
    #: The token to send in the header `Authorization`.
    key: str | None = None

    @property
    def is_tls(self) -> bool:
        return self.url.startswith("https:")


def with_ports(properties: str, ports: Ports) -> str:
    """Return the text of config.properties with these ports and with absolute paths."""
    for name in ("inference", "management", "metrics"):
        pattern, port = rf"^({name}_address=){_ADDRESS.pattern}", getattr(ports, name)
        properties = re.sub(pattern, rf"\1\g<scheme>://\g<host>:{port}", properties, flags=re.M)
    for name in ("grpc_inference", "grpc_management"):
        properties = re.sub(rf"^({name}_port)=\d+", rf"\1={getattr(ports, name)}", properties, flags=re.M)
    paths = rf"^({'|'.join(_PATHS)})=(.+)"
    return re.sub(paths, lambda match: f"{match[1]}={(_ROOT / match[2].strip()).resolve()}", properties, flags=re.M)


def endpoint(run_directory: Path, name: str, ports: Ports) -> Endpoint:
    """Return how to reach the API `name` (`inference`, `management` or `metrics`) of a run directory's TorchServe."""
    settings, port = _read_settings(run_directory / SETTINGS), asdict(ports)[name]
    match = _ADDRESS.match(settings.get(f"{name}_address", ""))
    scheme, host = (match["scheme"], match["host"]) if match else ("http", LOOPBACK)
    certificate = settings.get("certificate_file") if scheme == "https" else None
    needs_key = settings.get("disable_token_authorization", "").lower() == "false"
    return Endpoint(
        f"{scheme}://{LOOPBACK if host in _ANY_ADDRESS else host}:{port}",
        Path(certificate) if certificate else None,
        _key(run_directory / KEYS, name) if needs_key else None,
    )


def _read_settings(path: Path) -> Mapping[str, str]:
    try:
        lines = [line.partition("=") for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in lines}


def _key(file: Path, name: str) -> str | None:
    try:
        key: str = json.loads(file.read_text())[name]["key"]
    except (OSError, ValueError, KeyError, TypeError):  # The file is not written yet.
        return None
    return key
