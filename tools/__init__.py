"""Tools for this project's maintainers."""
