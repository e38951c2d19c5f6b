"""Money: hours times what an hour of the machine costs."""

from __future__ import annotations

from typing import NamedTuple

# US dollars an hour to rent one, cheapest offers to large clouds, as commonly advertised in 2025. A
# bill is made of your own price: give it with price_low and price_high.
PRICES: dict[str, tuple[float, float]] = {
    "RTX3090": (0.2, 0.5),
    "RTX4090": (0.3, 0.8),
    "RTX5090": (0.5, 1.2),
    "A10": (0.5, 1.3),
    "A100": (1.0, 4.1),
    "A6000": (0.4, 1.3),
    "H100": (1.9, 7.0),
    "H200": (2.3, 10.0),
    "L4": (0.3, 1.0),
    "L40S": (0.7, 2.2),
    "T4": (0.1, 0.6),
    "V100": (0.3, 3.1),
}


class Price(NamedTuple):
    """Of one hour."""

    low: float
    high: float
    currency: str = "USD"


def price(gpu: str | None, low: float | None, high: float | None, currency: str) -> Price | None:
    """The user's price, else the common one of that GPU, else None."""
    if low is not None or high is not None:
        ends = [end for end in (low, high) if end is not None]
        return Price(min(ends), max(ends), currency)
    return Price(*PRICES[gpu]) if gpu in PRICES else None


def money(hours: tuple[float, float], each: Price) -> dict[str, float | str]:
    """Low: fewest hours at the lowest price; high: most hours at the highest."""
    return {
        "low": round(hours[0] * each.low, 2),
        "high": round(hours[1] * each.high, 2),
        "currency": each.currency,
    }
