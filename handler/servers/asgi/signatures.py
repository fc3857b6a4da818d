"""Verify an archive's signature before any part of it is extracted or run.

Signatures are minisign's (Ed25519 over BLAKE2b), in `MODEL.mar.minisig` next to the archive. Imports only the standard library
until there is a signature to verify.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

SUFFIX = ".minisig"
PACKAGE = "py-minisign"


class SignatureError(Exception):
    """An archive that must be signed is not, or not with a trusted key."""


def verify(archive: Path, file: IO[bytes], keys: Sequence[Path]) -> str:
    """Verify `archive`, and return its signed comment, where minisign puts the time and the file's name.

    Args:
        archive: the archive's path, for error messages and to find its signature.
        file: the archive's bytes, read from the current position to the end.
        keys: public key files; any one of the keys may have signed.

    Raises:
        SignatureError: there is no signature, none of the keys made it, or the archive was changed after signing.
        OSError: a file cannot be read.
    """
    from minisign import PublicKey, Signature, VerifyError
    from minisign.exceptions import ParseError

    path = signature_path(archive)
    try:
        signature = Signature.from_file(path)
    except FileNotFoundError as error:
        raise SignatureError(
            f"{archive}: not signed: there is no {path.name} next to it; `python -m scripts.sign` makes one"
        ) from error
    except ParseError as error:
        raise SignatureError(f"{path}: not a minisign signature: {error}") from error
    start, reasons = file.tell(), []
    for key in keys:
        file.seek(start)
        try:
            PublicKey.from_file(key).verify(file, signature)
        except ParseError as error:
            raise SignatureError(f"{key}: not a minisign public key: {error}") from error
        except VerifyError as error:
            reasons.append(f"{key}: {_meaning(error)}")
        else:
            comment: str = signature.trusted_comment
            return comment
    raise SignatureError(f"{archive}: refused, its signature {path.name} is not valid ({'; '.join(reasons)})")


def signature_path(archive: Path) -> Path:
    return archive.with_name(archive.name + SUFFIX)


def _meaning(error: Exception) -> str:
    """Return in plain words which of the library's two reasons `error` has."""
    return "signed with another key" if "identifiers" in str(error) else "the archive or its signature was changed"
