"""Tools of this project's maintainers."""
