"""The project's version, used by the package, the archive and the server."""

VERSION = "0.1.0"
