"""Programs for people and CI: `python -m scripts.NAME`. Never packaged."""
