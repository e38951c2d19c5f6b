"""Runs as MLflow shows them: an exporter, never the truth.

    errata trace format=mlflow uri=http://127.0.0.1:5000

One MLflow run for each run of the store: its config as parameters, its numbers as metrics, its
dataset version as an input with the id of the version as digest, and its lineage as an artifact. A
run that was sent before is not sent again. What is sent is config, numbers, ids and hashes: no text
of any row. That it was sent, and to whom, is an event, and what `errata erase` cannot reach.
"""

from __future__ import annotations

import re
from typing import Any

from errata.errors import BadInput, ErrataError
from errata.jsonl import plain
from errata.language import say
from errata.outcome import Outcome
from errata.store import ledger, lineage, past
from errata.store.setting import flat, hidden
from errata.workspace import Workspace

_TAG = "errata.run_id"
_STATUS = {"done": "FINISHED", "running": "RUNNING", "died": "KILLED"}
_VALUE = 500  # characters MLflow keeps of a parameter


def _library() -> Any:
    try:
        import mlflow
    except ModuleNotFoundError:
        raise BadInput("trace: format=mlflow needs `pip install 'errata[tracking]'`") from None
    return mlflow


def _metrics(facts: dict[str, Any]) -> dict[str, float]:
    """Numbers of a run, under names that MLflow takes."""
    return {
        re.sub(r"[^\w\-. /]", "_", name): float(value)
        for name, value in flat(facts).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _send(client: Any, experiment: str, ws: Workspace, record: dict[str, Any]) -> None:
    """One run; its tag comes last: what lacks it counts as not sent, and is taken back."""
    began = int(past.began(ws, record["id"]) * 1000)
    run = client.create_run(experiment, began, run_name=record["id"]).info.run_id
    try:
        _fill(client, run, ws, record, began)
        status = _STATUS.get(record["status"], "FAILED")
        client.set_terminated(run, status, end_time=began + int(record["seconds"] * 1000))
        client.set_tag(run, _TAG, record["id"])
    except BaseException:
        client.delete_run(run)
        raise


def _fill(client: Any, run: str, ws: Workspace, record: dict[str, Any], began: int) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    keys = ("stage", "status", "git_commit", "config_hash")
    client.log_batch(
        run,
        metrics=[Metric(k, v, began, 0) for k, v in _metrics(record["facts"]).items()][:1000],
        params=[Param(k, str(v)[:_VALUE]) for k, v in flat(record["config"]).items()][:100],
        tags=[RunTag(f"errata.{key}", str(record.get(key) or "")) for key in keys],
    )
    stage = InputTag("mlflow.data.context", record["stage"])
    files = [(item["path"], item["digest"][7:43]) for item in record["inputs"]]
    sets = [Dataset(path, digest, "errata", path) for path, digest in files]
    client.log_inputs(run, [DatasetInput(found, [stage]) for found in sets])
    steps = lineage.lineage(ws, record["id"])
    client.log_dict(run, {"up": plain(steps.up), "down": plain(steps.down)}, "lineage.json")


def send(ws: Workspace, uri: str) -> Outcome:
    """Send the runs that the server does not have; what went out is an event, whatever stops it."""
    mlflow = _library()
    sent: list[str] = []
    try:
        client = mlflow.MlflowClient(tracking_uri=uri or None)
        to = str(hidden(client.tracking_uri))
        try:
            known = _send_new(client, ws, sent)
        finally:
            if sent:
                ledger.append(ws, "export", to=to, format="mlflow", runs=sent)
                ledger.seal(ws)
    except ModuleNotFoundError as error:  # a database of MLflow's own needs more than the client
        raise BadInput(f"mlflow: this uri needs {error.name}; name a server (http://…), or "
                       "`pip install mlflow`") from None  # fmt: skip
    except mlflow.exceptions.MlflowException as error:
        said = hidden(str(error).strip().splitlines()[0])
        raise ErrataError(f"mlflow: {said}; check uri, then run it again: it goes on") from None
    text = say(f"{len(sent)} runs sent to {to}, {known} were there",
               f"已发送 {len(sent)} 个 run 至 {to}，原有 {known} 个")  # fmt: skip
    return Outcome(0, text, {"to": to, "sent": sent, "known": known})


def _send_new(client: Any, ws: Workspace, sent: list[str]) -> int:
    """Send run after run, each noted in `sent` once it is there; how many were there before."""
    name = f"errata/{ws.root.name}"
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)
    there = {run.data.tags.get(_TAG) for run in _all(client, experiment)}
    for record in past.list_runs(ws):
        if record["id"] not in there and record["status"] != "running":
            _send(client, experiment, ws, record)
            sent.append(record["id"])
    return len(there)


def _all(client: Any, experiment: str) -> list[Any]:
    runs, token = [], None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs
