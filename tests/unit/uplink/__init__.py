"""Unit tests of the uplink stage."""
