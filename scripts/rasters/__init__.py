"""Segment rasters of any size, georeferenced in and out."""
