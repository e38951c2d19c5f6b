"""The knobs of `errata serve`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from errata.config import Section

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class Config(Section):
    """What is served, where, and how much of it at once."""

    model: list[str] = Field(
        [], description="served besides what releases route to: run ids, manifests, paths, names"
    )
    host: str = Field("127.0.0.1", description="address to listen on; there is no key: keep it in")
    port: int = Field(8000, ge=0, le=65535, description="port; 0: one that is free")
    admin_host: str = Field("127.0.0.1", description="address of the admin port")
    admin_port: int = Field(
        0, ge=0, le=65535, description="loads and unloads, with $ERRATA_ADMIN_TOKEN; 0: off"
    )
    max_rows: int = Field(16, ge=1, description="answers that are written at once")
    max_waiting: int = Field(64, ge=0, description="requests that may wait; one more gets 429")
    max_cells: int = Field(
        1 << 20, ge=1, description="rows at once times the longest, prompt and answer: memory"
    )
    max_context: int = Field(
        0, ge=0, description="longest prompt and answer in tokens; 0: what the model has"
    )
    max_tokens: int = Field(256, ge=1, description="longest answer of a request that names none")
    temperature: float = Field(
        0.0, ge=0, le=2, description="of a request that names none; 0 is greedy, as evaluated"
    )
    max_body_bytes: int = Field(1_000_000, ge=1, description="largest request; more gets 413")
    header_seconds: float = Field(10.0, gt=0, description="headers must have come by then")
    body_seconds: float = Field(10.0, gt=0, description="the body must have come by then; 408")
    write_seconds: float = Field(
        30.0, gt=0, description="a client that takes nothing for so long is dropped"
    )
    drain_seconds: float = Field(
        30.0, ge=0, description="after SIGTERM, how long running answers may take to end"
    )
    follow_seconds: float = Field(1.0, gt=0, description="between two looks at the routing")
    threads: int = Field(0, ge=0, description="CPU threads of a step; 0: as torch finds them")
    dtype: Dtype = Field("auto", description="of the weights; auto: float32 on a CPU")
    as_json: bool = Field(False, description="the line that says it is ready as JSON (--json)")
