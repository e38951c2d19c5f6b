"""GPUs in one table: speed, memory, and what an hour of one costs. Change a price here, or in a
workspace's configs/prices.yaml, or with price_low and price_high.

Speed: dense 16-bit tensor operations a second, in 10¹², by the maker's data sheets (without
sparsity). Prices: US dollars an hour to rent one, from the cheapest offers of GPU markets to the
on-demand price of large clouds, as commonly advertised at the date; a bill is made of your own.
"""

from __future__ import annotations

from typing import NamedTuple


class Rate(NamedTuple):
    """Of one GPU; memory in GiB, several where models of that name differ."""

    tera: float
    gib: tuple[int, ...]
    low: float
    high: float
    dated: str = "2025"
    source: str = "data sheet; advertised hourly prices, markets to clouds"


RATES: dict[str, Rate] = {
    "RTX3060": Rate(51, (12,), 0.05, 0.2),
    "RTX3090": Rate(71, (24,), 0.2, 0.5),
    "RTX4060": Rate(88, (8, 16), 0.1, 0.3),
    "RTX4070": Rate(117, (12, 16), 0.15, 0.4),
    "RTX4080": Rate(97, (16,), 0.2, 0.5),
    "RTX4090": Rate(165, (24,), 0.3, 0.8),
    "RTX5090": Rate(209, (32,), 0.5, 1.2),
    "A10": Rate(125, (24,), 0.5, 1.3),
    "A30": Rate(165, (24,), 0.5, 1.3),
    "A40": Rate(150, (48,), 0.4, 1.3),
    "A100": Rate(312, (40, 80), 1.0, 4.1),
    "A800": Rate(312, (40, 80), 1.0, 4.1),
    "A5000": Rate(111, (24,), 0.2, 0.8),
    "A6000": Rate(155, (48,), 0.4, 1.3),
    "6000ADA": Rate(364, (48,), 0.7, 1.6),
    "H20": Rate(148, (96, 141), 1.2, 3.0),
    "H100": Rate(989, (80,), 1.9, 7.0),
    "H200": Rate(989, (141,), 2.3, 10.0),
    "H800": Rate(989, (80,), 1.9, 7.0),
    "B200": Rate(2250, (180,), 4.0, 12.0),
    "L4": Rate(121, (24,), 0.3, 1.0),
    "L20": Rate(120, (48,), 0.5, 1.5),
    "L40": Rate(181, (48,), 0.6, 1.6),
    "L40S": Rate(362, (48,), 0.7, 2.2),
    "MI300X": Rate(1307, (192,), 2.0, 7.0),
    "P100": Rate(19, (12, 16), 0.1, 1.5),
    "T4": Rate(65, (16,), 0.1, 0.6),
    "V100": Rate(125, (16, 32), 0.3, 3.1),
}
