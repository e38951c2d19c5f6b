"""Texts with known values in them, made here so that no rule has seen them, and their judges."""
