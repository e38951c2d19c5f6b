"""The calculator: what a training will take, before it runs."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from errata.config import parse
from errata.cost import stage
from errata.errors import BadInput, ErrataError
from errata.jsonl import first_problem
from errata.web.desk import Desk
from errata.web.view import markdown, page

# What is asked, in this order; every other knob of `errata cost` is at its default.
ASKED = ("model", "objective", "gpu", "gpus", "sharding", "seq_len", "micro_batch", "grad_accum",
         "rows", "epochs", "lora_r", "optimizer", "grad_checkpointing", "loss", "budget",
         "hours")  # fmt: skip
CHOICES = {
    "objective": ("sft", "dpo", "rm", "ppo"),
    "sharding": ("ddp", "zero1", "zero2", "zero3", "fsdp"),
    "grad_checkpointing": ("true", "false"),
    "loss": ("full", "chunked", "fused"),
}


def calculated(desk: Desk, request: Request) -> Response:
    """`/cost`: the form, and the page of `errata cost` for what it says."""
    told = {name: value.strip() for name, value in request.query_params.items()
            if name in ASKED and value.strip()}  # fmt: skip
    body, wrong = "", ""
    try:
        body = markdown(stage.main(desk.ws, config_of(told)).text)
    except (ErrataError, OSError) as error:  # OSError: a model's name that no file can have
        wrong = str(error)
    fields = stage.Config.model_fields
    shown = [(name, told.get(name, _default(fields[name].default)), fields[name].description,
              CHOICES.get(name, ())) for name in ASKED]  # fmt: skip
    return page(request, "cost.html", shown=shown, body=body, wrong=wrong)


def _default(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def config_of(told: dict[str, str]) -> stage.Config:
    """The form as the command's config; BadInput names the field that is wrong."""
    texts = {name for name in ASKED if stage.Config.model_fields[name].annotation is str}
    values = {name: value if name in texts else parse(value, name) for name, value in told.items()}
    try:
        return stage.Config.model_validate(values)
    except ValidationError as error:
        raise BadInput(first_problem(error, show_text=True)) from None
