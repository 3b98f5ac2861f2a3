"""Rooms that this project did not make up: computed by pyroomacoustics, with people in them."""
