"""Modules of functions for the assistant; see docs/tools.md."""
