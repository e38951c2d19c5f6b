"""The store's tests run on SQLite, and on PostgreSQL where `ERRATA_TEST_POSTGRES_URL` names one."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest
import sqlalchemy as sa

from errata.store import database
from errata.workspace import Workspace


@pytest.fixture
def local(bare: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace with its own database, whatever the environment says."""
    monkeypatch.delenv("ERRATA_DATABASE_URL", raising=False)
    return bare


@pytest.fixture(params=["sqlite", "postgresql"])
def store(
    request: pytest.FixtureRequest, bare: Workspace, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    """A workspace over an empty database of each kind."""
    if request.param == "sqlite":
        monkeypatch.delenv("ERRATA_DATABASE_URL", raising=False)
        yield bare
        return
    url = os.environ.get("ERRATA_TEST_POSTGRES_URL")
    if not url:
        pytest.skip("ERRATA_TEST_POSTGRES_URL names no PostgreSQL; .ci/run starts one")
    schema = f"t{uuid4().hex}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
    mine = f"{url}?options=-csearch_path%3D{schema}"
    monkeypatch.setenv("ERRATA_DATABASE_URL", mine)
    yield bare
    monkeypatch.setenv("ERRATA_DATABASE_URL", mine)  # a test may have named another
    database.connect(bare).dispose()
    with engine.begin() as connection:
        connection.execute(sa.text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture(scope="session")
def crash() -> Iterator[ModuleType]:
    """The processes that write and are killed are those of `make bench-store`."""
    bench = str(Path(__file__).parents[2] / "bench")
    sys.path.insert(0, bench)
    yield importlib.import_module("storage.crash")
    sys.path.remove(bench)
