"""Recipes for the models of scenes and streets, made from published networks; nothing else needs this package."""
