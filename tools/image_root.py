"""Build a Containerfile's image in a folder, and run it there, on machines without a container engine.

python -m tools.image_root build deploy/containers/asgi.Containerfile --base BASE --out build/image
python -m tools.image_root run build/image -- --port 8090

Executes the Containerfile itself, instruction by instruction, so that the two cannot diverge. BASE is a folder with the base
image's root file system; debootstrap creates one: debootstrap --variant=minbase bookworm BASE

`run` mounts the root read-only, with the image's volumes as empty folders in memory, and drops root: it runs as the image's
user without capabilities or new privileges, in a separate process namespace. Both commands need root and Linux, and share this
machine's network.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from string import Template

from scripts.arguments import Parser, existing_file, existing_folder
from scripts.errors import UserError, report_errors

ROOT = Path(__file__).parents[1]
#: Variables by which pip and uv find indexes on this machine; passed to RUN but not stored in the image.
_FORWARDED_VARIABLES = ("PIP_", "UV_", "SSL_CERT", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DEFAULT_BINDS = ("/etc/resolv.conf", "/etc/hosts")
_ENTER = """
set -eu
cd "$1"; shift
mount --bind . . && cd "$PWD"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
mkdir -m 1777 dev/shm
for device in null zero full random urandom; do touch "dev/$device"; mount --bind "/dev/$device" "dev/$device"; done
"""
# Binds are read-only, so that the Containerfile's commands cannot change this machine.
_BUILD = (
    _ENTER
    + """
binds=$1; shift
for path in $binds; do
    if [ -d "$path" ]; then mkdir -p ".$path"; else mkdir -p ".${path%/*}"; [ -e ".$path" ] || touch ".$path"; fi
    mount --bind "$path" ".$path"
    mount -o remount,bind,ro ".$path"
done
exec chroot . "$@"
"""
)
_RUN = (
    _ENTER
    + 'for volume in $1; do mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs ".$volume"; done\n'
    + '[ -z "$2" ] || mount --bind -o ro "$2" models\n'
    + "shift 2\nmount -o remount,bind,ro .\n"
    + 'exec chroot . "$@"'
)


class ImageError(UserError):
    """A Containerfile or an image cannot be used here."""


@dataclass
class Image:
    """The settings of a Containerfile's last stage, apart from its files."""

    environment: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH})
    user: str = "0:0"
    folder: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)


class Builder:
    """Executes the instructions of a Containerfile."""

    def __init__(self, base: Path, out: Path, arguments: Mapping[str, str], binds: Sequence[str]) -> None:
        self._base, self._out, self._binds = base, out, [*_DEFAULT_BINDS, *binds]
        self._build_arguments = {"BASE_IMAGE": str(base.resolve()), **arguments}
        self._arguments: dict[str, str] = {}
        self._stages: dict[str, Path] = {}
        self._root = base
        self.image = Image()

    def execute(self, instruction: str, value: str) -> None:
        """Execute one instruction.

        Raises:
            ImageError: the instruction is not supported.
            subprocess.CalledProcessError: a command of the Containerfile failed.
        """
        method = getattr(self, f"_{instruction.lower()}", None)
        if method is None:
            raise ImageError(f"{instruction} {value}: this instruction is not supported; see {Path(__file__).name}")
        method(value)

    def _arg(self, value: str) -> None:
        name, _, default = value.partition("=")
        self._arguments[name] = self._build_arguments.get(name, default)

    def _from(self, value: str) -> None:
        image, _, stage = value.partition(" AS ")
        self._root, self.image, self._arguments = self._out / (stage or "root"), Image(), {}
        source = self._stages.get(image, self._base)
        shutil.rmtree(self._root, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(self._root)], check=True)
        self._stages[stage] = self._root

    def _copy(self, value: str) -> None:
        words = shlex.split(Template(value).substitute(self._arguments))
        origin = ROOT
        if words[0].startswith("--from="):
            origin = self._stages[words.pop(0).removeprefix("--from=")]
        *sources, target = words
        folder = self._root / target.lstrip("/")
        for source in (path for word in sources for path in _matches(origin, word.strip("/"))):
            if source.is_dir():
                shutil.copytree(source, folder, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                destination = folder / source.name if target.endswith("/") else folder
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, destination)

    def _run(self, value: str) -> None:
        inherited = {name: text for name, text in os.environ.items() if name.startswith(_FORWARDED_VARIABLES)}
        environment = {**inherited, **self.image.environment, **self._arguments}
        binds = [path for path in self._binds if Path(path).exists()]
        command = ["unshare", "--mount", "sh", "-c", _BUILD, "sh", str(self._root), " ".join(binds), "/bin/sh", "-c", value]
        subprocess.run(command, check=True, env=environment)

    def _env(self, value: str) -> None:
        self.image.environment |= dict(word.split("=", 1) for word in shlex.split(value))

    def _workdir(self, value: str) -> None:
        self.image.folder = value
        (self._root / value.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _user(self, value: str) -> None:
        self.image.user = value

    def _volume(self, value: str) -> None:
        self.image.volumes = json.loads(value)

    def _expose(self, value: str) -> None:
        """Ignore ports, which only inform readers and engines; `run` shares the machine's network."""

    def _healthcheck(self, value: str) -> None:
        self.image.healthcheck = json.loads(value.partition("CMD ")[2])

    def _entrypoint(self, value: str) -> None:
        self.image.entrypoint = json.loads(value)

    def _cmd(self, value: str) -> None:
        self.image.command = json.loads(value)

    @property
    def root(self) -> Path:
        return self._root


def build(containerfile: Path, base: Path, out: Path, arguments: Mapping[str, str], binds: Sequence[str] = ()) -> Path:
    """Execute a Containerfile, write `image.json` with how to run the image, and return the root of its last stage."""
    out.mkdir(parents=True, exist_ok=True)
    builder = Builder(base, out.resolve(), arguments, binds)
    for instruction, value in instructions(containerfile):
        print(f"{instruction} {value}", flush=True)
        builder.execute(instruction, value)
    (out / "image.json").write_text(json.dumps({"root": str(builder.root), **asdict(builder.image)}, indent=2) + "\n")
    return builder.root


def instructions(containerfile: Path) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Containerfile, each with its arguments."""
    from dockerfile_parse import DockerfileParser

    with containerfile.open("rb") as file:
        for entry in DockerfileParser(fileobj=file).structure:
            if entry["instruction"] != "COMMENT":
                yield entry["instruction"], entry["value"]


def command(out: Path, models: Path | None, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs the image built in `out`; `arguments` are passed to its entry point."""
    image = json.loads((out / "image.json").read_text())
    user, _, group = image["user"].partition(":")
    privileges = [
        "--reuid",
        user,
        "--regid",
        group,
        "--clear-groups",
        "--no-new-privs",
        "--inh-caps=-all",
        "--bounding-set=-all",
    ]
    environment = [f"{name}={value}" for name, value in image["environment"].items()]
    inner = ["/usr/bin/setpriv", *privileges, "/usr/bin/env", "-i", "-C", image["folder"], *environment]
    inner += [*image["entrypoint"], *(arguments or image["command"])]
    store = str(models.resolve()) if models else ""
    outer = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=TERM", "sh", "-c", _RUN, "sh"]
    return [*outer, image["root"], " ".join(image["volumes"]), store, *inner]


def _matches(origin: Path, pattern: str) -> list[Path]:
    matches = sorted(origin.glob(pattern))
    if not matches:
        raise ImageError(f"COPY {pattern}: there is no such file in {origin}")
    return matches


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    if os.geteuid() != 0 or sys.platform != "linux":
        raise ImageError("this needs root on Linux, for mounts and chroot")
    if arguments.action == "run":
        words = command(arguments.image, arguments.models, arguments.arguments)
        os.execvp(words[0], words)  # noqa: S606
    root = build(arguments.containerfile, arguments.base, arguments.out, dict(arguments.build_arg), arguments.bind)
    size = subprocess.run(["du", "-sm", str(root)], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[0]
    print(f"{root}: {size} MB; python -m tools.image_root run {arguments.out}")
    return 0


def _parser() -> Parser:
    parser = Parser("python -m tools.image_root", __doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="build | run")
    build_parser = actions.add_parser("build", help="execute a Containerfile")
    add = build_parser.add_argument
    add("containerfile", type=existing_file, metavar="FILE")
    add("--base", type=existing_folder, required=True, metavar="DIR", help="root of the base image, made by debootstrap")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the stages and image.json")
    add("--build-arg", type=_assignment, action="append", default=[], metavar="NAME=VALUE", help="value of an ARG; repeatable")
    add(
        "--bind",
        action="append",
        default=[],
        metavar="PATH",
        help="path visible to RUN, read-only, such as pip.conf; repeatable",
    )
    run_parser = actions.add_parser("run", help="run an image")
    run_parser.add_argument("image", type=existing_folder, metavar="DIR", help="the folder given to --out")
    run_parser.add_argument("--models", type=existing_folder, metavar="DIR", help="mount this folder on /models, read-only")
    run_parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="after `--`: arguments of the server")
    return parser


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=VALUE")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
