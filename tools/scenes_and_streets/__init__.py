"""Recipes of models for scenes and streets, from published networks; nothing else needs this package."""
