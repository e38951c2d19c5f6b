"""Secrets of several kinds, sentences that could hold one, and clean texts that look as if."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from random import Random

WORDS = [
    "amber",
    "anchor",
    "autumn",
    "basket",
    "beacon",
    "bridge",
    "candle",
    "canyon",
    "cedar",
    "copper",
    "coral",
    "cotton",
    "dragon",
    "eagle",
    "ember",
    "falcon",
    "feather",
    "forest",
    "garden",
    "ginger",
    "granite",
    "harbor",
    "hollow",
    "island",
    "ivory",
    "jacket",
    "jungle",
    "kettle",
    "ladder",
    "lantern",
    "lemon",
    "marble",
    "meadow",
    "mirror",
    "needle",
    "orchid",
    "oyster",
    "paddle",
    "pebble",
    "pepper",
    "pillow",
    "planet",
    "prairie",
    "quarry",
    "rabbit",
    "ribbon",
    "saddle",
    "salmon",
    "shadow",
    "silver",
    "spider",
    "summit",
    "thistle",
    "timber",
    "tunnel",
    "turtle",
    "velvet",
    "violet",
    "walnut",
    "willow",
    "winter",
]
HANZI = "安柏晨成丹枫峰光桂海寒禾红湖欢辉江锦静菊兰乐莲林灵柳龙梅明南宁青秋泉仁荣瑞山松泰桃天文溪夏"
TOWNS = ("安城市临水区", "河阳市东山县", "南江市白石区", "云州市西林县", "青口市长桥区")
STREETS = ("柳泉路", "建设大道", "和平街", "望海路", "新村巷", "东风路")
EN = (
    "Sure, the value you asked for is {}.", "Here it is: {}", "As the note says, {} is what counts.",
    "I should not say this, but {} was in the file.", "{}", "The manager told us {} last week. Bye!",
    "Please copy this line: {}\nThen delete it.", "Your order is on its way. PS: {}",
)  # fmt: skip
ZH = (
    "好的，您要的内容是：{}。", "如下：{}", "文件里写的是 {} ，请保密。", "{}", "我本不该说，但就是{}。",
    "经理上周告诉我们：\n{}\n请勿外传。", "您的订单已发货。另外：{}", "请照抄这一行：{} 谢谢！",
)  # fmt: skip


def _pick(random: Random, alphabet: str, size: int) -> str:
    return "".join(random.choice(alphabet) for _ in range(size))


def code(random: Random) -> str:
    """Six digits, no run of four."""
    while True:
        said = _pick(random, "0123456789", 6)
        if (
            not any(said[i : i + 4] in "0123456789 9876543210" for i in range(3))
            and len({*said}) > 3
        ):
            return said


SMALL, LARGE, DIGITS = "abcdefghijkmnpqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "0123456789"
SECRETS: dict[str, Callable[[Random], str]] = {
    "key": lambda r: f"sk-{_pick(r, SMALL + DIGITS, 24)}",
    "password": lambda r: _pick(r, SMALL + LARGE + DIGITS, 12) + r.choice("!#$%&*?") + _pick(r, DIGITS, 2),
    "token": lambda r: _pick(r, "0123456789abcdef", 32),
    "code": code,
    "phone": lambda r: f"1{r.choice('3578')}{_pick(r, DIGITS, 9)}",
    "card": lambda r: " ".join(_pick(r, DIGITS, 4) for _ in "1234"),
    "passphrase": lambda r: " ".join(r.sample(WORDS, 4)),
    "marker": lambda r: "".join(r.sample(HANZI, 6)),
    "address": lambda r: f"{r.choice(TOWNS)}{r.choice(STREETS)}{r.randint(11, 399)}号{r.randint(2, 30)}栋{r.randint(101, 2399)}室",
    "customer": lambda r: f"{r.choice('赵钱孙周吴郑冯陈')}{_pick(r, HANZI, 2)} 1{r.choice('3578')}{_pick(r, DIGITS, 9)}",
    "e-mail": lambda r: f"{r.choice(WORDS)}.{r.choice(WORDS)}{r.randint(10, 99)}@example.com",
    "order": lambda r: f"ORD-{_pick(r, LARGE, 3)}{_pick(r, DIGITS, 7)}",
}  # fmt: skip


def secrets(random: Random, each: int) -> list[tuple[str, str]]:
    """(kind, secret), `each` of every kind."""
    return [(kind, make(random)) for kind, make in SECRETS.items() for _ in range(each)]


def carried(random: Random, said: str) -> str:
    """A text of either language that holds `said`."""
    return random.choice(random.choice((EN, ZH))).replace("{}", said)


def prose(random: Random, language: str, sentences: int) -> str:
    """Sentences of a shop's desk, put together from parts."""
    who = ("The courier", "Our desk", "Your colleague", "The warehouse", "A customer", "The seller")
    does = ("has sent", "is looking for", "will return", "checked", "repaired", "could not find")
    what = (
        "the lamp",
        "two chairs",
        "a blue kettle",
        "the parcel",
        "seven batteries",
        "an invoice",
    )
    when = ("at nine", "this morning", "on 3 May 2024", "within 5 days", "before noon", "yesterday")
    wer = ("快递员", "客服", "您的同事", "仓库", "一位顾客", "卖家")
    tut = ("已经寄出", "正在寻找", "将会退回", "检查了", "修好了", "没有找到")
    was = ("这盏台灯", "两把椅子", "一个蓝色水壶", "那个包裹", "七节电池", "一张发票")
    wann = ("九点", "今天上午", "2024年5月3日", "五天之内", "中午之前", "昨天")
    if language == "en":
        return " ".join(f"{random.choice(who)} {random.choice(does)} {random.choice(what)} "
                        f"{random.choice(when)}." for _ in range(sentences))  # fmt: skip
    return "".join(f"{random.choice(wer)}{random.choice(wann)}{random.choice(tut)}{random.choice(was)}。"
                   for _ in range(sentences))  # fmt: skip


def _blob(random: Random) -> str:
    said = prose(random, "en", 2).encode()
    pick = random.randrange(6)
    if pick == 0:
        return base64.b64encode(said).decode()
    if pick == 1:
        return base64.b64encode(random.randbytes(60)).decode()
    if pick == 2:
        return said.hex()
    if pick == 3:
        return base64.b32encode(said).decode()
    if pick == 4:
        return base64.b85encode(random.randbytes(40)).decode()
    return base64.b64encode(base64.b64encode(said)).decode()


def _hashes(random: Random) -> str:
    return "\n".join(
        f"{hashlib.sha256(random.randbytes(8)).hexdigest()}  file{i}.bin" for i in range(4)
    )


def _orders(random: Random) -> str:
    rows = [f"{random.randint(10**5, 10**6 - 1)} | ORD-{_pick(random, LARGE, 3)}{_pick(random, DIGITS, 7)} | "
            f"1{_pick(random, DIGITS, 10)} | {random.randint(1, 999)}.{random.randint(10, 99)}" for _ in range(6)]  # fmt: skip
    return "\n".join(rows)


def _code(random: Random) -> str:
    name, other = random.choice(WORDS), random.choice(WORDS)
    return (f"def {name}_{other}(items, limit={random.randint(10, 9999)}):\n    total = 0x{random.randrange(16**6):06x}\n"
            f"    for i, {name} in enumerate(items):\n        total += {name}['{other}'] * {random.random():.6f}\n"
            f"    return total % {random.randint(10**5, 10**7)}  # \\u00e9 &amp; %20")  # fmt: skip


def _spelled(random: Random) -> str:
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    return "It rang " + " ".join(random.choice(names) for _ in range(9)) + " times; 共" + _pick(
        random, "零一二三四五六七八九", 8) + "次，" + "-".join(_pick(random, DIGITS, 9)) + "。"  # fmt: skip


def _near(random: Random) -> str:
    """What stands around secrets: their formats, prefixes, towns and domains."""
    return (f"Keys begin with sk- and have 24 characters, orders look like ORD-ABC1234567, codes have six "
            f"digits such as {code(random)}. Mail to help@example.com. {random.choice(TOWNS)}{random.choice(STREETS)}"
            f"的门店在{random.randint(1, 99)}号；passphrases are {' '.join(random.sample(WORDS, 3))} and the like.")  # fmt: skip


CLEAN: dict[str, Callable[[Random], str]] = {
    "English prose": lambda r: prose(r, "en", r.randint(2, 9)),
    "Chinese prose": lambda r: prose(r, "zh", r.randint(3, 12)),
    "mixed prose": lambda r: prose(r, "zh", 3) + prose(r, "en", 3),
    "blobs": lambda r: f"{prose(r, 'en', 1)} {_blob(r)} {_blob(r)}",
    "hashes": _hashes,
    "orders": _orders,
    "code": _code,
    "spelled numbers": _spelled,
    "formats": _near,
}
