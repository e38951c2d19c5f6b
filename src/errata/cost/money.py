"""Money: hours times what an hour of the machine costs."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from errata.config import Section, load
from errata.cost.rates import RATES
from errata.cost.time import gpu as named
from errata.errors import BadInput

PRICES: dict[str, tuple[float, float]] = {name: (r.low, r.high) for name, r in RATES.items()}


class Price(NamedTuple):
    """Of one hour."""

    low: float
    high: float
    currency: str = "USD"


class Own(Section):
    """A GPU's price in configs/prices.yaml."""

    low: float = Field(ge=0, allow_inf_nan=False, description="lowest price of an hour")
    high: float = Field(ge=0, allow_inf_nan=False, description="highest price of an hour")
    currency: str = Field(default="USD", description="of both")


class Prices(Section):
    """configs/prices.yaml: `prices: {A100: {low: 1.2, high: 1.4, currency: EUR}}`."""

    prices: dict[str, Own] = Field(default={}, description="GPU as `errata cost` names it → price")


def own_prices(path: Path) -> dict[str, Price]:
    """What a team pays, by its workspace's file; nothing where there is none. BadInput for a GPU
    of no table, whose hours nobody knows, and for a low price above the high one."""
    if not path.is_file():
        return {}
    where, found = f"configs/{path.name}", {}
    for name, p in load(path, Prices, [], name=where).prices.items():
        if not (kind := named(name)):
            raise BadInput(f"{where}: prices.{name}: no such GPU; known are {', '.join(RATES)}")
        if p.low > p.high:
            raise BadInput(f"{where}: prices.{name}: low is above high; swap them")
        found[kind[0]] = Price(p.low, p.high, p.currency)
    return found


def price(
    gpu: str | None,
    low: float | None,
    high: float | None,
    currency: str,
    own: dict[str, Price] | None = None,
) -> Price | None:
    """The knobs' price, else the workspace's of that GPU, else the common one, else None."""
    if low is not None or high is not None:
        ends = [end for end in (low, high) if end is not None]
        return Price(min(ends), max(ends), currency)
    if own and gpu in own:
        return own[gpu]
    return Price(*PRICES[gpu]) if gpu in PRICES else None


def money(hours: tuple[float, float], each: Price, gpus: int = 1) -> dict[str, float | str]:
    """Low: fewest hours at the lowest price; high: most hours at the highest; of all GPUs."""
    return {
        "low": round(hours[0] * each.low * gpus, 2),
        "high": round(hours[1] * each.high * gpus, 2),
        "currency": each.currency,
    }
