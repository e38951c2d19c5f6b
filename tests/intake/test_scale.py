"""Parquet, shards, and the ray engine: the same bytes as the local one, nothing left behind."""

from __future__ import annotations

import base64
import csv
import errno
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from errata import cli, jsonl
from errata.errors import BadInput, ErrataError
from errata.intake import cluster, files, parquet, scale, shards, sources, stage, traces
from errata.intake.cleaner import Cleaner
from errata.intake.pieces import Bad, Piece
from errata.intake.redact import Policy, apply, load_policy
from errata.intake.sources import Reading
from errata.intake.take import Part, parts
from errata.store import ledger
from errata.workspace import Workspace

SECRETS = ("13812345678", "li.na@example.com", "6222021234567890128")
ASK = {"role": "user", "content": f"Where is my order? Call {SECRETS[0]}"}
KEY = b"k" * 32


def steps(*said: str) -> list[dict[str, Any]]:
    return [ASK, *({"role": "assistant", "content": text} for text in said)]


def lines(shard: int, count: int = 60) -> list[str]:
    """Rows, the same one again, a thumb up, traces of both ends, and lines that are no rows."""
    out = []
    for n in range(count):
        row = {"prompt": f"question {n % 45}", "bad_answer": f"no, mail {SECRETS[1]}",
               "label": "other", "source": ("online", None, "ticket")[n % 3],
               "user": f"u{n % 7}"}  # fmt: skip
        out.append(json.dumps(row))
        if n % 10 == 3:
            out += ["{broken " + SECRETS[0], "", json.dumps({**row, "feedback": {"rating": "up"}})]
        if n % 10 == 7:
            trace = {"messages": steps(f"CALL refund({n})"), "success": n % 20 == 7, "task_id": "t"}
            out.append(json.dumps(trace))
        if n % 20 == 11:
            out.append(json.dumps({"messages": steps("x"), "success": "perhaps"}))
    return [f"{line} " if shard else line for line in out]


def put(ws: Workspace) -> None:
    """One of each kind of file, and shards of three kinds."""
    folder = ws.inbox / "shards"
    folder.mkdir(parents=True)
    for shard in range(2):
        text = "\ufeff" + "\n".join(lines(shard)) + "\n" * (1 - shard)
        (folder / f"part-{shard}.jsonl").write_text(text, encoding="utf-8")
    (folder / "empty.jsonl").touch()
    with (ws.inbox / "t.csv").open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows([["prompt", "bad_answer", "label"],
                                    ["多少钱？", f"电话{SECRETS[0]}\n不知道", "幻觉"],
                                    ["", "empty", "other"]])  # fmt: skip


def workspace(root: Path) -> Workspace:
    for name in ("configs", "policies", "inbox", ".errata/keys"):
        (root / name).mkdir(parents=True)
    (root / ".errata" / "keys" / "redaction").write_text(KEY.hex())
    (root / "policies" / "redaction.yaml").write_text(
        "vault: [EMAIL]\nretention: {factuality: summary}\n"
    )
    return Workspace(root)


def written(ws: Workspace) -> dict[str, bytes]:
    """What intake leaves for people and for later stages, and what the ledger says of the files."""
    kept = [*ws.data.rglob("*"), *ws.reports.rglob("data*"), *(ws.state / "quarantine").glob("*")]
    found = {ws.relative(path): path.read_bytes() for path in kept if path.is_file()}
    told = [{**event["data"], "run": ""} for event in ledger.events(ws, "intake")]
    return {**found, "events": json.dumps(told).encode()}


def raw_places(*roots: Path) -> list[str]:
    """Files that hold a raw value, other than the inbox."""
    found = []
    for root in roots:
        for path in root.rglob("*"):
            if path.is_file() and "inbox" not in path.parts:
                content = path.read_bytes()
                found += [str(path) for value in SECRETS if value.encode() in content]
    return found


def table(path: Path, groups: int = 3) -> None:
    """A Parquet file of several row groups, as a chat log is kept in one."""
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet: pip install 'errata[scale]'")
    from pyarrow import parquet as writer

    rows = [
        {"messages": [*steps(f"no {n}, card {SECRETS[2]}")], "label": "privacy" if n % 9 else None,
         "ts": datetime(2026, 1, 2, 3, n % 60, tzinfo=UTC), "meta": {"case": f"c{n}", "x": None}}
        for n in range(40 * groups)
    ]  # fmt: skip
    writer.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=40)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few rows."""
    for module in (files, parquet):
        monkeypatch.setattr(module, "PIECE", 2000)


def test_a_row_of_parquet_is_the_object_that_a_json_line_is(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet: pip install 'errata[scale]'")
    from pyarrow import parquet as writer

    nan = float("nan")
    data = pyarrow.table({
        "ts": pyarrow.array([1735689600000000000] * 4, pyarrow.timestamp("ns", tz="UTC")),
        "text": pyarrow.array([b"ok", b"\xff\xfe", None, b"ok"]),
        "turns": [[{"role": "user", "name": None}], [], None, []],
        "map": pyarrow.array([[("a", 1)], [], None, []], pyarrow.map_("string", "int64")),
        "score": [1.5, 1.0, 2.0, nan],
    })  # fmt: skip
    writer.write_table(data, tmp_path / "a.parquet", row_group_size=3)
    first, second, third, fourth = files.rows(Piece(tmp_path / "a.parquet"))

    when = "2025-01-01T00:00:00+00:00"
    assert first == (1, {"ts": when, "text": "ok", "turns": [{"role": "user"}], "map": {"a": 1},
                         "score": 1.5})  # fmt: skip
    assert second == Bad(2, "text", "bytes that are not text (UTF-8)")
    assert third == (3, {"ts": when, "score": 2.0})
    assert fourth == Bad(4, "score", "holds a value that JSON has no form for")


def test_what_is_no_parquet_and_a_damaged_row_group_stop_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table(path)
    import pyarrow
    from pyarrow import parquet as reader

    start = reader.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    found = [*files.rows(Piece(path))]
    bad = [row for row in found if isinstance(row, Bad)]
    assert [(row.line, row.reason[:28]) for row in bad] == [(41, "rows 41 to 80 cannot be read")]
    assert found[-1][0] == 120
    twice = pyarrow.table([["a"], ["b"]], names=["x", "x"])
    reader.write_table(twice, path)
    assert [*files.rows(Piece(path))] == [Bad(0, "x", "a column of this name is there twice")]
    path.write_bytes(b"PAR1 no")
    assert [row.reason[:11] for row in files.rows(Piece(path))] == ["not Parquet"]


def test_parquet_rows_are_erased_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table(path)
    assert parquet.drop(path, lambda row: row["meta"]["case"] in ("c3", "c50")) == 2
    cases = [row["meta"]["case"] for _, row in files.rows(Piece(path))]
    assert cases == [f"c{n}" for n in range(120) if n not in (3, 50)]
    assert parquet.drop(path, lambda _: True) == 118
    assert not path.exists()


@pytest.mark.parametrize("size", [1, 90, 700, 1 << 20])
def test_pieces_give_the_rows_of_the_file_with_its_line_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    for module in (files, parquet):
        monkeypatch.setattr(module, "PIECE", size)
    monkeypatch.setattr(files, "LONGEST", 300)
    long = json.dumps({"prompt": "x" * 2000})
    text = "\ufeff" + "\n".join(["", *lines(0), long, "", *lines(1), long])
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "none.jsonl").touch()
    paths = [tmp_path / "a.jsonl", tmp_path / "none.jsonl"]
    if find_spec("pyarrow"):
        table(tmp_path / "b.parquet")
        paths.append(tmp_path / "b.parquet")
    for path in paths:
        cut = files.cut(path)
        assert [row for piece in cut for row in files.rows(piece)] == [*files.rows(Piece(path))]
        assert len(cut) > 1 or size == 1 << 20 or path.stem == "none"


@pytest.mark.parametrize("most", [traces.MOST, 3])
def test_parts_that_went_through_ray_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None, most: int
) -> None:
    """Traces are judged by the whole file, whatever piece they are in, and in its order."""
    monkeypatch.setattr(traces, "MOST", most)
    ws = workspace(tmp_path)
    path = ws.inbox / "a.jsonl"
    path.write_text("\n".join(lines(0)))
    policy = load_policy(ws)
    cleaner = Cleaner(policy, KEY, lambda text: apply(text, policy.rules, KEY))
    work = scale.Work(ws.root, Reading(), policy, "online")

    def through(piece: Piece) -> Iterator[tuple[int, Piece, Part]]:
        for part in parts(sources.each(piece, work.how), cleaner, work.source):
            packed = scale._packed(part, KEY)
            sealed = base64.b64decode(json.loads(packed)["boxes"])
            assert not [v for v in SECRETS if v.encode() in packed or v.encode() in sealed]
            yield 0, piece, scale._unpacked(packed, KEY)

    pieces = files.cut(path)
    there = scale._joined((item for piece in pieces for item in through(piece)), work)
    here = parts(sources.read(path, work.how), cleaner, work.source)
    assert len(pieces) > 3
    told = _flat(here)
    assert _flat(there) == told
    assert any(value == SECRETS[1] for _, boxes in told[0] for _, _, value in boxes)


def _flat(found: Iterator[Part]) -> tuple[list[Any], list[Any], int]:
    made = list(found)
    rows = [row for part in made for row in part.failures]
    return rows, [note for part in made for note in part.noted], sum(part.good for part in made)


def test_a_folder_and_a_pattern_are_their_shards_in_order(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    for name in ("s/part-10.jsonl", "s/part-02.parquet", "s/x/part-1.csv", "s/_delta_log/0.json",
                 "s/.hidden.jsonl", "s/_SUCCESS"):  # fmt: skip
        (ws.inbox / name).parent.mkdir(parents=True, exist_ok=True)
        (ws.inbox / name).touch()

    def names(*given: str) -> list[str]:
        return [path.relative_to(ws.inbox).as_posix() for path in shards.files(ws, given, "inbox")]

    every = ["s/part-02.parquet", "s/part-10.jsonl", "s/x/part-1.csv"]
    assert names("inbox/s") == names(str(ws.inbox)) == names() == every
    assert names("inbox/s/part-*", "inbox/s/part-10.jsonl") == every[:2]
    assert names("inbox/**/*.csv") == every[2:]
    assert names("inbox/none.jsonl") == ["none.jsonl"], "the reader says that it is not there"
    for wrong in ("inbox/*.txt", "configs"):
        with pytest.raises(BadInput, match=r"no file of such|nothing to take in"):
            names(wrong)


def test_shards_of_one_name_have_a_quarantine_each(tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    for folder in ("a", "b"):
        (ws.inbox / folder).mkdir()
        (ws.inbox / folder / "p.jsonl").write_text("\n".join([*lines(0, 1), "{x"]))
    data = stage.main(ws, stage.Config()).data
    rows = [row for path in sorted((ws.state / "quarantine").glob("p-*.jsonl"))
            for _, row in jsonl.rows(path)]  # fmt: skip
    assert data["quarantined"] == 2
    assert sorted(row["file"] for row in rows) == ["inbox/a/p.jsonl", "inbox/b/p.jsonl"]


@pytest.mark.parametrize(
    ("module", "name", "words", "says"),
    [("pyarrow", "a.parquet", [], "Parquet needs pyarrow; pip install 'errata[scale]'"),
     ("ray", "a.jsonl", ["--engine", "ray"], "engine=ray needs Ray: pip install 'errata[scale]'"),
     ("ray", "a.jsonl", ["engine=ray"], "engine=ray needs Ray: pip install 'errata[scale]'")],
)  # fmt: skip
def test_what_is_not_installed_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    module: str, name: str, words: list[str], says: str,
) -> None:  # fmt: skip
    ws = workspace(tmp_path)
    (ws.inbox / name).write_text("\n".join(lines(0, 2)))
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(["-C", str(tmp_path), "intake", f"{tmp_path}/inbox/{name}", *words]) == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert says in told


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for sockets; nobody may leave anything in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def ray_or_skip() -> Any:
    return pytest.importorskip("ray", reason="engine=ray: pip install 'errata[scale]'")


@pytest.mark.slow
def test_ray_writes_the_same_bytes_and_leaves_nothing_raw_behind(
    tmp_path: Path, small: None, short: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ray = ray_or_skip()
    monkeypatch.setattr(cluster, "_SHORT", short)
    made = []
    for engine in ("local", "ray"):
        ws = workspace(tmp_path / engine)
        put(ws)
        for shard in range(2):
            table(ws.inbox / "shards" / f"part-{shard}.parquet")
        capfd.readouterr()
        told = stage.main(ws, stage.Config(engine=engine, label="factuality")).data
        made.append((written(ws), {**told, "run_id": ""}))
        assert [line for line in capfd.readouterr().err.splitlines() if "ray" in line] == []
        assert not [*(ws.state / "cache").rglob("errata-*")]
    (here, told_here), (there, told_there) = made
    assert len(here) >= 12
    assert there.keys() == here.keys()
    assert [name for name in here if there[name] != here[name]] == []
    assert told_there == told_here
    assert told_here["duplicates"]
    assert told_here["good"]
    assert told_here["quarantined"]
    assert raw_places(tmp_path) == []
    assert [*short.iterdir()] == []
    assert not ray.is_initialized()


@pytest.mark.slow
def test_ray_is_stopped_and_quiet_when_the_disk_is_full(
    tmp_path: Path, small: None, short: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    ray = ray_or_skip()
    monkeypatch.setattr(cluster, "_SHORT", short)
    ws = workspace(tmp_path)
    (ws.inbox / "a.jsonl").write_text("\n".join(lines(0)))

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("errata.intake.take._keep", full)
    capfd.readouterr()
    assert cli.main(["-C", str(tmp_path), "intake", "--engine", "ray"]) == 1
    gc.collect()
    assert len(capfd.readouterr().err.strip().splitlines()) == 1
    assert not ray.is_initialized()
    assert [*short.iterdir(), *(ws.state / "cache").glob("*")] == []


@pytest.mark.slow
def test_a_cluster_that_is_there_is_used_and_left_running(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = ray_or_skip()
    ws = workspace(tmp_path)
    put(ws)
    there = ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False,
                     logging_level="ERROR", _temp_dir=str(short))  # fmt: skip
    monkeypatch.setenv("RAY_ADDRESS", there.address_info["gcs_address"])
    try:
        work, key = scale.Work(ws.root, Reading(), Policy(), None), ws.state / "keys" / "redaction"
        with scale.reading(ws, [ws.inbox / "t.csv"], work) as found:
            key.rename(tmp_path / "key")
            with pytest.raises(BadInput, match="sees no workspace"):
                for _, made in found:
                    list(made)
        (tmp_path / "key").rename(key)
        done = subprocess.run(
            [sys.executable, "-m", "errata", "-C", str(tmp_path), "intake", "engine=ray",
             "label=other"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert [node["Alive"] for node in ray.nodes()] == [True]
        assert raw_places(tmp_path) == []
    finally:
        ray.shutdown()


def ends(ray: Any) -> Iterator[tuple[int, bytes]]:
    """As Ray ends a process that has lost its cluster."""
    print("lost the cluster", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(1)
    yield 0, b""


@pytest.mark.slow
def test_a_ray_that_ends_the_process_ends_no_command(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_or_skip()
    monkeypatch.setattr(cluster, "_SHORT", short)
    with (
        pytest.raises(ErrataError, match="Ray ended: lost the cluster"),
        cluster.apart(workspace(tmp_path), ends) as found,
    ):
        list(found)
    assert [*short.iterdir()] == []
    left = [p for p in psutil.process_iter(["cmdline"]) if str(short) in str(p.info["cmdline"])]
    assert left == []
