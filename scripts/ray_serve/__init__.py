"""Serve an archive on a Ray cluster with Ray Serve: `serve run scripts.ray_serve:application archive=X.mar`."""

from scripts.ray_serve.deployment import application

__all__ = ["application"]
