"""Tests of services/monitor."""
