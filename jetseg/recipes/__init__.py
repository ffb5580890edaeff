"""Recipes: whole chains of stages in one YAML file, each stage kept as long as nothing it depends on changes."""
