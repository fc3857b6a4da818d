"""Errors about rasters."""

from scripts.errors import UserError


class RasterError(UserError):
    """A raster cannot be read, or cannot be segmented as requested."""
