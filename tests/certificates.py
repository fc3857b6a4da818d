"""Certificates for test servers, made with openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for this machine, which is its own authority."""

    file: Path
    key: Path


def make_certificate(folder: Path, name: str = "server", algorithm: str = "ec") -> Certificate:
    """Write a certificate; `algorithm` is openssl's name: `ec`, or `rsa:2048`, which TorchServe needs."""
    certificate = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1"] if algorithm == "ec" else []
    key = ["-newkey", algorithm, *curve, "-nodes", "-keyout", str(certificate.key)]
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,DNS:maps.example.org,IP:127.0.0.1"]
    openssl("req", "-x509", *key, *names, "-out", str(certificate.file), "-days", "2")
    return certificate


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
