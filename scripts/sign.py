"""Sign archives with your own key, so that servers can refuse all others (--verify-key).

python -m scripts.sign --make-key models
python -m scripts.sign build/model-store/deeplabv3.mar --key models.key
python -m scripts.sign build/model-store/deeplabv3.mar --verify-key models.pub

Keys and signatures are in minisign's format, so the minisign program can read, make and check them too. The secret key is
encrypted with a password from $DEEPLAB_SIGNING_PASSWORD or the terminal; an empty password leaves it unencrypted, for CI.
"""

import os
import sys
from argparse import Namespace
from getpass import getpass
from pathlib import Path

from handler.servers.asgi.signatures import PACKAGE, SignatureError, signature_path, verify
from scripts.arguments import Parser, existing_file
from scripts.errors import UsageError, UserError, print_warning, report_errors

PASSWORD_VARIABLE = "DEEPLAB_SIGNING_PASSWORD"  # noqa: S105 (the variable's name)


class SigningError(UserError):
    """An archive cannot be signed, or its signature is missing or invalid."""


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parse_arguments(argv)
    try:
        if arguments.make_key is not None:
            make_key(arguments.make_key)
        for archive in arguments.archives:
            if arguments.key is not None:
                print(f"{archive}: signed, {sign(archive, arguments.key)}")
            else:
                with archive.open("rb") as file:
                    print(f"{archive}: valid, {verify(archive, file, arguments.verify_key)}")
    except SignatureError as error:
        raise SigningError(str(error)) from error
    except ModuleNotFoundError as error:
        raise SigningError(
            f"the package {PACKAGE} is missing; install it with: {sys.executable} -m pip install {PACKAGE}"
        ) from error
    return 0


def make_key(name: Path) -> None:
    """Write a new secret key, NAME.key, readable only by its owner, and its public key, NAME.pub.

    Raises:
        SigningError: one of the files already exists.
    """
    from minisign import KeyPair

    secret, public = name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub")
    for path in (secret, public):
        if path.exists():
            raise SigningError(f"{path}: exists; a key that is replaced is lost, so choose another name")
    pair = KeyPair.generate()
    if password := _password(f"password for {secret} (empty: none): "):
        pair.secret_key.encrypt(password)
    else:
        print_warning(f"{secret} is not encrypted: whoever reads it can sign archives")
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(bytes(pair.secret_key) + b"\n")
    public.write_bytes(bytes(pair.public_key) + b"\n")
    print(f"{secret}: keep it secret; {public}: give it to servers (--verify-key)")


def sign(archive: Path, key: Path) -> str:
    """Write the signature of `archive` next to it; return the trusted comment in the signature.

    Raises:
        SigningError: `key` is not a secret key, or the password is wrong.
    """
    from minisign import SecretKey
    from minisign.exceptions import Error

    try:
        with SecretKey.from_file(key) as secret:
            if secret.is_encrypted():
                secret.decrypt(_password(f"password of {key}: "))
            signature = secret.sign_file(archive, prehash=True)
    except Error as error:
        raise SigningError(f"{key}: cannot sign: {error}") from error
    signature_path(archive).write_bytes(bytes(signature) + b"\n")
    comment: str = signature.trusted_comment
    return comment


def _password(question: str) -> str:
    return os.environ[PASSWORD_VARIABLE] if PASSWORD_VARIABLE in os.environ else getpass(question)


def _parse_arguments(argv: list[str] | None) -> Namespace:
    parser = Parser("python -m scripts.sign", __doc__)
    parser.add_argument("archives", type=existing_file, nargs="*", metavar="MODEL.mar", help="archives to sign or to verify")
    parser.add_argument("--make-key", type=Path, metavar="NAME", help="write a new pair of keys, NAME.key and NAME.pub")
    parser.add_argument("--key", type=existing_file, metavar="FILE", help="the secret key with which to sign")
    text = "verify with this public key; repeatable, one must have signed"
    parser.add_argument("--verify-key", type=existing_file, action="append", default=[], metavar="FILE", help=text)
    arguments = parser.parse_args(argv)
    modes = [bool(arguments.make_key), bool(arguments.key), bool(arguments.verify_key)]
    if sum(modes) != 1:
        raise UsageError("give one of --make-key NAME, --key FILE and --verify-key FILE")
    if bool(arguments.archives) == bool(arguments.make_key):
        raise UsageError("name the archives, as in build/model-store/deeplabv3.mar; --make-key takes none")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
