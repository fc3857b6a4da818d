"""Where a data set is, and details that its folder does not contain."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from model.strict import ConfigurationError, StrictModel
from scripts.yaml_file import read_mapping

#: May be given for a mask's value instead of a class.
IGNORE = "ignore"


class DataSource(StrictModel):
    """A data set on disk. Relative paths are resolved from `folder`."""

    folder: Path = Path()
    #: VOC, Cityscapes, plain or COCO, in any case; recognised by default.
    layout: str | None = None
    #: COCO's JSON file, or one for each split; by default found in the folder.
    annotations: Path | dict[str, Path] | None = None
    #: Folder of the photographs; by default the layout's.
    images: Path | None = None
    #: The class (name or index) that a value in the mask files stands for, or `ignore`. All other values are class indices,
    #: except 255, which is ignored.
    mask_values: dict[int, int | str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return locate(Path(value)) if isinstance(value, str | Path) else value

    @field_validator("layout")
    @classmethod
    def _fold_case(cls, value: str | None) -> str | None:
        return None if value is None else value.casefold()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a data set named by the user: its folder, a COCO annotation file, or a YAML file with a source's keys.

        Raises:
            ConfigurationError: the YAML file holds a wrong key or value.
        """
        return cls.parse(locate(path), source=str(path))

    @property
    def images_folder(self) -> Path | None:
        """The folder of photographs, or None if it was not given."""
        return None if self.images is None else self.folder / self.images

    def with_options(self, images: Path | None, mask_values: dict[int, int | str] | None) -> Self:
        """Return the source with its values replaced by those command-line values that are not None."""
        # Paths on the command line are relative to the current folder.
        changes = {"images": None if images is None else images.absolute(), "mask_values": mask_values}
        return self.model_copy(update={name: value for name, value in changes.items() if value is not None})


def locate(path: Path) -> dict[str, Any]:
    """Return a source's values for the path of a folder, a COCO annotation file, or a YAML file with the values.

    Raises:
        ConfigurationError: the path is an archive.
    """
    if path.suffix.casefold() == ".zip":
        raise ConfigurationError(f"{path}: is an archive; unpack it and give the folder")
    if path.suffix.casefold() in {".yaml", ".yml"}:
        values = read_mapping(path)
        return {**values, "folder": path.parent / str(values.get("folder", ""))}
    if path.suffix.casefold() == ".json" and not path.is_dir():
        # COCO keeps its annotations in a folder next to the image folders.
        folder = path.parent.parent if path.parent.name == "annotations" else path.parent
        return {"folder": folder, "layout": "coco", "annotations": path.relative_to(folder)}
    return {"folder": path}
