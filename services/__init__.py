"""The stages. One package each, run as ``python -m services.<stage>``."""
