"""Erasure is tested on both databases."""

from tests.store.conftest import store

__all__ = ["store"]
