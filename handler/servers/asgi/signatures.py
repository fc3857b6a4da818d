"""Check who signed an archive, before anything of it is extracted or run.

A signature is minisign's (Ed25519 over BLAKE2b) and lies beside the archive as `MODEL.mar.minisig`. Imports nothing but the
standard library until there is one to check.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

SUFFIX = ".minisig"
PACKAGE = "py-minisign"


class SignatureError(Exception):
    """An archive must be signed and is not, or not by a key that is trusted."""


def verify(archive: Path, file: IO[bytes], keys: Sequence[Path]) -> str:
    """Return the comment that is signed together with `archive`; minisign puts the time and the file's name there.

    Args:
        archive: names the archive in errors, and its signature, which is read from beside it.
        file: the archive's bytes, read from the current position to the end.
        keys: files of public keys; one of them must have signed.

    Raises:
        SignatureError: there is no signature, none of the keys made it, or the archive is not what was signed.
        OSError: a file cannot be read.
    """
    from minisign import PublicKey, Signature, VerifyError
    from minisign.exceptions import ParseError

    path = signature_path(archive)
    try:
        signature = Signature.from_file(path)
    except FileNotFoundError as error:
        raise SignatureError(
            f"{archive}: not signed: there is no {path.name} beside it; `python -m scripts.sign` makes one"
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
    """Say in plain words which of the library's two reasons for a refusal `error` is."""
    return "signed with another key" if "identifiers" in str(error) else "the archive or its signature was changed"
