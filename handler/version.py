"""The version of this project, which the package, the archive and the server take from here."""

VERSION = "0.1.0"
