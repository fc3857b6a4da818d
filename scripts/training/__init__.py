"""How the default checkpoint was made."""
