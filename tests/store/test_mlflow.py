"""Runs are sent to a real MLflow once, whole or not at all, and no text of a row with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from errata import cli, jsonl
from errata.errors import BadInput, ErrataError
from errata.store import ledger, mlflow
from errata.store.runs import Run
from errata.workspace import Workspace

SECRET = "Li Wei, 13800138000, wants her money back"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file store: the URI that MLflow reads and writes."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlruns").as_uri()


@pytest.fixture
def trained(store: Workspace) -> Workspace:
    """A build, a training run on its rows, and one that failed with the row in its error."""
    with Run(store, "build", {}) as run:
        jsonl.write(run.output("data/sft.jsonl"), [{"id": "s-01", "instruction": SECRET}])
        run.members("v-01", "data/sft.jsonl", [("s-01", "leaf", "privacy", "web")])
        run.link("v-01", "data/sft.jsonl", "is")
        run.note(version="v-01")
    config = {"lr": 1e-4, "hub_token": "hf_1", "replay": {"url": "https://me:pw@host/x"}}
    with Run(store, "sft", config) as run:
        run.input("data/sft.jsonl", "dataset")
        run.link("s-01", run.id, "trained")
        run.note(metrics={"loss": 0.5, "none": None}, first_row=SECRET, pages=[SECRET], ok=True)
    with pytest.raises(ValueError, match="Li Wei"), Run(store, "sft", config) as run:
        run.input("data/sft.jsonl", "dataset")
        raise ValueError(SECRET)
    return store


def runs(server: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=server)
    (experiment,) = [e for e in client.search_experiments() if e.name.startswith("errata/")]
    return list(client.search_runs([experiment.experiment_id], order_by=["start_time ASC"]))


def everything(server: str) -> str:
    """All that lies in the file store."""
    files = sorted(p for p in Path(server.removeprefix("file://")).rglob("*") if p.is_file())
    return "\n".join(f"{p}\n{p.read_bytes().decode('utf-8', 'replace')}" for p in files)


def test_each_run_is_one_of_mlflow_s_with_its_numbers_and_its_dataset(
    trained: Workspace, server: str
):
    done = mlflow.send(trained, server)
    build, good, bad = found = runs(server)

    assert [run.data.tags["errata.run_id"] for run in found] == done.data["sent"]
    assert [run.info.status for run in found] == ["FINISHED", "FINISHED", "FAILED"]
    assert good.data.metrics == {"metrics.loss": 0.5}
    assert good.data.params["lr"] == "0.0001"
    (read,) = good.inputs.dataset_inputs
    assert read.dataset.name == "data/sft.jsonl"
    assert jsonl.digest_file(trained.data / "sft.jsonl")[7:].startswith(read.dataset.digest)
    assert build.data.tags["errata.stage"] == "build"
    assert bad.data.tags["errata.status"] == "failed"
    assert "s-01" in everything(server)  # the lineage, by id


def test_no_text_of_a_row_and_no_credential_is_sent(trained: Workspace, server: str):
    mlflow.send(trained, server)
    sent = everything(server)

    for word in ("Li Wei", "13800138000", "hf_1", "pw@"):
        assert word not in sent
    assert "(hidden)" in sent


def test_a_run_is_sent_once_and_each_sending_is_an_event(trained: Workspace, server: str):
    first = mlflow.send(trained, server)
    assert len(first.data["sent"]) == 3
    again = mlflow.send(trained, server)
    assert (again.data["sent"], again.data["known"]) == ([], 3)
    assert len(runs(server)) == 3
    (event,) = ledger.events(trained, "export")
    assert event["data"]["runs"] == first.data["sent"]
    assert event["data"]["to"] == server

    with Run(trained, "build", {}) as fresh:
        pass
    assert mlflow.send(trained, server).data["sent"] == [fresh.id]


def test_a_run_that_goes_on_is_not_sent_yet(trained: Workspace, server: str):
    with Run(trained, "build", {}) as run:
        assert run.id not in mlflow.send(trained, server).data["sent"]
    assert mlflow.send(trained, server).data["sent"] == [run.id]


@pytest.mark.parametrize("method", ["log_inputs", "log_dict", "set_tag", "set_terminated"])
def test_a_failure_half_way_leaves_no_half_run_and_the_next_sending_goes_on(
    method: str, trained: Workspace, server: str, monkeypatch: pytest.MonkeyPatch
):
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    real, calls = getattr(MlflowClient, method), []

    def second_fails(self: Any, *args: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise MlflowException("the server went away")
        return real(self, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, method, second_fails)
        with pytest.raises(ErrataError, match="mlflow: the server went away; check uri"):
            mlflow.send(trained, server)
    there = runs(server)
    assert all("errata.run_id" in run.data.tags for run in there)
    assert all(run.info.status != "RUNNING" for run in there)
    # What did go out is told, whatever came after.
    told = [id for event in ledger.events(trained, "export") for id in event["data"]["runs"]]
    assert sorted(told) == sorted(run.data.tags["errata.run_id"] for run in there)

    mlflow.send(trained, server)
    ids = [run.data.tags["errata.run_id"] for run in runs(server)]
    assert len(ids) == len(set(ids)) == 3


def test_a_server_s_password_is_in_no_event_and_no_answer(
    trained: Workspace, server: str, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises((ErrataError, BadInput)) as caught:
        mlflow.send(trained, "nosuch://me:s3cret@host/x")
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_on_the_command_line(
    trained: Workspace,
    server: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    words = ["trace", "format=mlflow", f"uri={server}", "-C", str(trained.root)]
    assert cli.main(words) == 0
    assert f"3 runs sent to {server}, 0 were there" in capsys.readouterr().out
    monkeypatch.setenv("ERRATA_LANG", "zh")
    assert cli.main(words) == 0
    assert "已发送 0 个 run" in capsys.readouterr().out


def test_settings_are_told_flat():
    assert mlflow.flat({"a": {"b": [1, {"c": None}]}, "d": "x"}) == {
        "a.b.0": 1, "a.b.1.c": None, "d": "x",
    }  # fmt: skip
    assert mlflow.flat({}) == {}
