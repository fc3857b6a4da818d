"""How the default checkpoint was trained; nothing else needs this package."""
