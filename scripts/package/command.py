"""Run the command: build an archive and prove that it works, unless it is up to date."""

import hashlib
from pathlib import Path

from handler.image.process import prepare_process
from scripts.agreement import describe
from scripts.package.build import build, read_agreement
from scripts.package.recipe import Recipe
from scripts.package.reference import describe_reference
from scripts.verify_archive import verify


def package(recipe: Recipe, out: Path) -> None:
    """Build and prove an archive in `out` unless it exists with the same inputs; print what was done."""
    prepare_process()
    archive = out / f"{recipe.name}.mar"
    proof = archive.with_suffix(".proven")
    stamp = recipe.digest()
    if archive.is_file() and proof.is_file() and proof.read_text() == f"{stamp} {_sha256(archive)}":
        print(f"{archive} is up to date")
        return
    outcomes: list[str] = []
    archive = build(recipe, out, lambda part: outcomes.append(verify(part)))
    print(f"{archive}: {archive.stat().st_size / 1e6:.1f} MB, sha256 {_sha256(archive)}")
    print(f"proven: {outcomes[0]}")
    for engine in read_agreement(archive).engines:
        print(f"compared: {describe(engine)}{'' if engine.is_sufficient else '; too few for it to be chosen'}")
    if recipe.reference is not None:
        print(f"reference: {describe_reference(archive)}")
    proof.write_text(f"{stamp} {_sha256(archive)}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
