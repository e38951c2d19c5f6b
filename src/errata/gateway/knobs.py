"""Knobs of `errata gateway`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from errata.config import Section


class Upstream(Section):
    """One OpenAI-compatible server."""

    url: str = Field(description="its base, with /v1")
    key_env: str = Field(
        default="", description="environment variable that holds its API key; none: no key"
    )


class Timeouts(Section):
    """Seconds."""

    header: float = Field(default=10, gt=0, description="for a client to send a request's head")
    body: float = Field(default=20, gt=0, description="for a client to send all of a request")
    connect: float = Field(default=3, gt=0, description="to connect to an upstream")
    first_byte: float = Field(default=60, gt=0, description="until a stream begins")
    between: float = Field(default=30, gt=0, description="between two pieces of a stream")
    whole: float = Field(default=300, gt=0, description="for an answer, from request to end")
    drain: float = Field(default=30, gt=0, description="for answers under way, before it stops")


class Outputs(Section):
    """What the gateway writes, besides rows in the store."""

    log: str = Field(default=".errata/log", description="sampled requests, redacted")
    inbox: str = Field(default="inbox", description="failures, redacted, for `errata intake`")


class Config(Section):
    """Knobs of `errata gateway`."""

    upstream: str = Field(
        default="", description="instead: one server, whose key is in ERRATA_UPSTREAM_KEY"
    )
    upstreams: list[Upstream] = Field(default_factory=list, description="the servers behind")
    names: dict[str, str] = Field(
        default_factory=dict,
        description="digest of an adapter or base → what the servers call it; default: a-…, b-…",
    )
    documents: Literal["documents", "system", "user", "developer"] = Field(
        default="documents",
        description="role that turns of documents have at the servers: not all know our own",
    )
    models: list[str] = Field(
        default=["errata"], min_length=1, description="names that clients may ask for, first: ours"
    )
    baseline: str = Field(
        default="tiny", description="who answers while there is no release: a run, manifest or name"
    )
    host: str = Field(default="127.0.0.1", description="elsewhere only with ERRATA_GATEWAY_KEYS")
    port: int = Field(default=8080, ge=0, le=65535, description="0: any that is free")
    admin_host: str = Field(default="127.0.0.1", description="where /admin listens")
    admin_port: int = Field(
        default=8081, ge=0, le=65535, description="on only with a token in ERRATA_ADMIN_TOKEN"
    )
    name: str = Field(
        default="", pattern=r"^[\w.-]{0,60}$", description="of this gateway; default: host and pid"
    )
    filter: Literal["on", "off"] = Field(
        default="on", description="off: answers pass as they are, and are looked at afterwards"
    )
    inflight: Literal["drain", "cut"] = Field(
        default="drain", description="answers of a release that is rolled back while they stream"
    )
    control: bool = Field(
        default=True, description="this gateway watches the rollout and moves it on or back"
    )
    poll_seconds: float = Field(
        default=0.3, gt=0, le=1, description="between two looks at the routing in the store"
    )
    health_seconds: float = Field(
        default=5, gt=0, description="between two looks at what the upstreams offer"
    )
    retries: int = Field(default=2, ge=0, description="of a request that no upstream has begun")
    max_in_flight: int = Field(default=256, ge=1, description="beyond it: 429 and Retry-After")
    max_body_mib: float = Field(default=4, gt=0, description="of a request; beyond it: 413")
    max_reply_mib: float = Field(default=16, gt=0, description="of an upstream's answer")
    timeouts: Timeouts = Field(default=Timeouts(), description="seconds; see configs/gateway.yaml")
    remember: int = Field(
        default=50_000, ge=1, description="conversations whose release is kept in memory"
    )
    sticky_hours: float = Field(
        default=24, ge=0,
        description="after a change of routing, the store is asked who began a conversation",
    )  # fmt: skip
    keep_rows: int = Field(
        default=20_000, ge=1, description="measurements kept while the store is away"
    )
    keep_answers: int = Field(
        default=2000, ge=0, description="answers kept in memory, for feedback that comes later"
    )
    price_per_1k_in: float | None = Field(default=None, ge=0, description="money, for the cost")
    price_per_1k_out: float | None = Field(default=None, ge=0, description="money, for the cost")
    log_share: float = Field(default=0.05, ge=0, le=1, description="of requests, to the log")
    log_days: int = Field(default=30, ge=1, description="that a log is kept")
    write_back: bool = Field(
        default=True, description="answers that were stopped, leaked or disliked → inbox"
    )
    outputs: Outputs = Outputs()
