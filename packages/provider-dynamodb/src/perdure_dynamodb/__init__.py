"""Placeholder docstring, replaced by the provider."""
