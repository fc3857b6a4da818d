"""Write the bill of materials (SBOM, CycloneDX 1.6) of a server's image: Python packages, file hashes and licences.

python -m tools.bill_of_materials asgi --out build/asgi.cdx.json

Packages and hashes come from the locks in deploy/requirements, which the image installs; licences and dependencies from the
metadata of the packages installed here, so no network is needed. Debian packages are not included. With SOURCE_DATE_EPOCH the
file is reproducible. Needs the extra `deploy`.
"""

import json
import os
import sys
import uuid
from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from handler.version import VERSION
from scripts.arguments import Parser, one_of
from scripts.errors import UserError, report_errors
from tools.serving_requirements import LockedPackage, read_lock

ROOT = Path(__file__).parents[1]
_SERVERS, _TORCH_BUILDS = ("asgi", "torchserve"), ("cpu", "cuda")


class BillError(UserError):
    """The environment differs from the lock, or the bill does not conform to CycloneDX's schema."""


def make_bill(server: str, torch_build: str = "cpu") -> str:
    """Return the bill of an image as JSON, checked against the schema of CycloneDX 1.6.

    Args:
        server: `asgi` or `torchserve`.
        torch_build: `cpu` or `cuda`.

    Raises:
        BillError: a locked package is installed here in another version.
    """
    packages = {**read_lock(server), **read_lock(f"torch-{torch_build}")}
    distributions = {name: _installed_distribution(package) for name, package in packages.items()}
    installed = {name: metadata for name, metadata in distributions.items() if metadata}
    components = {name: _component(package, installed.get(name)) for name, package in packages.items()}
    name = f"deeplab-serve-{server}"
    image = Component(name=name, version=VERSION, type=ComponentType.APPLICATION, bom_ref=f"{name}@{VERSION}")
    image.licenses.add(LicenseFactory().make_from_string("Apache-2.0"))
    bill = Bom(components=components.values(), serial_number=_serial_number(server, packages))
    bill.metadata.component, bill.metadata.timestamp = image, _now()
    bill.register_dependency(image, components.values())
    for name, metadata in installed.items():
        dependencies = [components[dependency] for dependency in _dependencies(metadata) if dependency in components]
        bill.register_dependency(components[name], dependencies)
    text: str = JsonV1Dot6(bill).output_as_string(indent=2)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise BillError(f"the bill does not conform to the schema of CycloneDX 1.6: {error}")
    return text + "\n"


def _installed_distribution(package: LockedPackage) -> Distribution | None:
    try:
        installed = distribution(package.name)
    except PackageNotFoundError:  # It is for another platform, or in an extra that is not installed here.
        return None
    if installed.version.partition("+")[0] != package.version.partition("+")[0]:
        raise BillError(
            f"{package.name} is {installed.version} here and {package.version} in the lock; `make setup` installs that"
        )
    return installed


def _component(package: LockedPackage, installed: Distribution | None) -> Component:
    purl = PackageURL("pypi", name=package.name, version=package.version)
    return Component(
        name=package.name,
        version=package.version,
        purl=purl,
        bom_ref=purl.to_string(),
        # One hash per file of this version; which file is installed depends on the platform.
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in package.sha256],
        licenses=_licences(installed) if installed else [],
    )


def _licences(installed: Distribution) -> list[License]:
    """Return a package's stated licences: an SPDX expression, else the names in its classifiers, else its `License` line."""
    metadata, factory = installed.metadata, LicenseFactory()
    if expressions := metadata.get_all("License-Expression"):
        return [factory.make_from_string(expressions[0])]
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")]
    classifier_names = [name for text in classifiers if (name := text.rpartition(" :: ")[2]) != "OSI Approved"]
    # Some packages put the whole text of their licence there.
    license_lines = [line for text in metadata.get_all("License") or [] if (line := text.strip()) and "\n" not in line]
    return [factory.make_with_name(line) for line in classifier_names or license_lines]


def _dependencies(installed: Distribution) -> Iterator[str]:
    for text in installed.requires or []:
        requirement = Requirement(text)
        if not requirement.marker or requirement.marker.evaluate({"extra": ""}):
            yield canonicalize_name(requirement.name)


def _serial_number(server: str, packages: Mapping[str, LockedPackage]) -> uuid.UUID:
    lines = [f"{name}=={package.version}" for name, package in sorted(packages.items())]
    return uuid.uuid5(uuid.NAMESPACE_URL, "\n".join([f"deeplab-serve-{server}=={VERSION}", *lines]))


def _now() -> datetime:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)


@report_errors
def main(argv: list[str] | None = None) -> int:
    arguments = _parse(argv)
    text = make_bill(arguments.server, arguments.torch)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text)
    print(f"{arguments.out}: {len(json.loads(text)['components'])} packages")
    return 0


def _parse(argv: list[str] | None) -> Namespace:
    parser = Parser("python -m tools.bill_of_materials", __doc__)
    add = parser.add_argument
    add("server", type=one_of(_SERVERS), metavar="asgi | torchserve", help="the image's server")
    add(
        "--torch",
        type=one_of(_TORCH_BUILDS),
        default="cpu",
        metavar="cpu | cuda",
        help="PyTorch's build (%(default)s)",
    )
    add("--out", type=Path, required=True, metavar="FILE", help="the JSON file to write")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
