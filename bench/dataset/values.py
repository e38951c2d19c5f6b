"""Values of each kind with valid checksums, from Faker where it has them and from the standards.

None of these generators shares code with the rules: a rule that misreads a standard is to be found.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from faker import Faker

Make = Callable[[Random], str]
SEED = 20251216
LOCALES = {name: Faker(name) for name in ("en_US", "en_GB", "de_DE", "fr_FR", "zh_CN")}
DIGITS = "0123456789"


def seeded() -> None:
    """Faker's own generators at their beginning."""
    for number, faker in enumerate(LOCALES.values()):
        faker.seed_instance(SEED + number)


def digits(random: Random, count: int) -> str:
    return "".join(random.choice(DIGITS) for _ in range(count))


def grouped(random: Random, number: str, *sizes: int) -> str:
    """The number as it is, or in groups with spaces or hyphens between them."""
    gap = random.choice(["", "", " ", "-"])
    parts, at = [], 0
    for size in sizes:
        parts.append(number[at : at + size])
        at += size
    return gap.join([*parts, *([number[at:]] if number[at:] else [])])


def mobile(random: Random) -> str:
    """A Chinese mobile number: 3-4-4, sometimes with the country code."""
    prefix = random.choice(
        [
            "130",
            "131",
            "132",
            "135",
            "136",
            "137",
            "138",
            "139",
            "147",
            "150",
            "151",
            "152",
            "157",
            "158",
            "159",
            "166",
            "171",
            "176",
            "177",
            "178",
            "180",
            "181",
            "182",
            "185",
            "187",
            "188",
            "189",
            "191",
            "195",
            "198",
        ]
    )
    number = grouped(random, prefix + digits(random, 8), 3, 4)
    return random.choice(["", "", "", "+86", "+86 ", "86-", "0086 "]) + number


def resident_id(random: Random) -> str:
    """GB 11643: region, date of birth, order, and the check digit of ISO 7064 MOD 11-2."""
    region = random.choice(
        ["110101", "310104", "440305", "510104", "330106", "420111", "650102", "230103"]
    )
    born = f"{random.randint(1940, 2012)}{random.randint(1, 12):02}{random.randint(1, 28):02}"
    body = region + born + digits(random, 3)
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True))
    last = "10X98765432"[total % 11]
    return body + random.choice([last, last.lower()])


def luhn_digit(body: str) -> str:
    """The digit that makes the sum of ISO/IEC 7812-1 a multiple of ten."""
    total = 0
    for place, char in enumerate(reversed(body)):
        digit = int(char) * (2 if place % 2 == 0 else 1)
        total += digit // 10 + digit % 10
    return str(-total % 10)


def card(random: Random) -> str:
    """Visa, Mastercard, Amex, Discover, JCB, Diners and UnionPay with 16 and 19 digits."""
    prefix, size = random.choice(
        [("4", 16), ("51", 16), ("55", 16), ("2223", 16), ("34", 15), ("37", 15), ("6011", 16),
         ("3530", 16), ("36", 14), ("622202", 19), ("621700", 19), ("622848", 19), ("625965", 16),
         ("623058", 19), ("6217", 16)]
    )  # fmt: skip
    body = prefix + digits(random, size - len(prefix) - 1)
    number = body + luhn_digit(body)
    if size == 15:
        return grouped(random, number, 4, 6)
    return grouped(random, number, 4, 4, 4)


def iban(random: Random) -> str:
    """ISO 13616 with its two check digits; in groups of four or none."""
    country, form = random.choice(
        [("DE", "n18"), ("FR", "n10a11n2"), ("GB", "A4n14"), ("NL", "A4n10"), ("ES", "n20"),
         ("IT", "A1n22"), ("CH", "n17"), ("AT", "n16"), ("BE", "n12"), ("PL", "n24"),
         ("SE", "n20"), ("NO", "n11")]
    )  # fmt: skip
    body, at = "", 0
    while at < len(form):
        kind, size = form[at], 0
        at += 1
        while at < len(form) and form[at].isdigit():
            size, at = size * 10 + int(form[at]), at + 1
        signs = {"n": DIGITS, "A": "ABCDEFGHJKLMN", "a": DIGITS + "ABC"}[kind]
        body += "".join(random.choice(signs) for _ in range(size))
    number = "".join(str(int(char, 36)) for char in f"{body}{country}00")
    whole = f"{country}{98 - int(number) % 97:02}{body}"
    if random.random() < 0.4:
        return " ".join(whole[i : i + 4] for i in range(0, len(whole), 4))
    return whole


def credit_code(random: Random) -> str:
    """GB 32100: the eighteenth place is 31 minus the weighted sum."""
    signs = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    body = random.choice(["91", "92", "93", "52", "12", "11"]) + random.choice(
        ["110105", "310115", "440300", "330100"]
    )
    body += "".join(random.choice(signs) for _ in range(9))
    weights = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
    total = sum(signs.index(char) * weight for char, weight in zip(body, weights, strict=True))
    return body + signs[(31 - total % 31) % 31]


def plate(random: Random) -> str:
    """Five places, or six for new energy."""
    letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
    head = random.choice("京沪粤苏浙川鲁豫鄂湘闽皖津渝") + random.choice("ABCDEFGHJKL")
    gap = random.choice(["", "", "", "·", " "])
    if random.random() < 0.3:
        return head + gap + random.choice("DF") + random.choice(letters) + digits(random, 4)
    body = [*digits(random, 3), random.choice(letters), random.choice(letters + DIGITS)]
    random.shuffle(body)
    return head + gap + "".join(body)


def landline(random: Random) -> str:
    """Area code and seven or eight digits."""
    area, size = random.choice([("010", 8), ("021", 8), ("0755", 8), ("0571", 8), ("0731", 8),
                                ("0531", 8), ("0371", 8), ("0451", 8), ("0797", 7)])  # fmt: skip
    number = random.choice("2345678") + digits(random, size - 1)
    return f"{area}{random.choice(['-', '-', '', ' '])}{number}"


def passport_cn(random: Random) -> str:
    """E and eight digits, or E, a letter and seven."""
    if random.random() < 0.3:
        return "E" + random.choice("ABCDEFGH") + digits(random, 7)
    return random.choice("EG") + digits(random, 8)


def mail(random: Random) -> str:
    """Of any locale, sometimes with a tag or in capitals."""
    faker = LOCALES[random.choice([*LOCALES])]
    name, _, domain = faker.email().partition("@")
    domain = domain.replace("example.", random.choice(["mailbox.", "posteo.", "corp-mail."]))
    name += random.choice(["", "", "+news", ".2"])
    return random.choice([f"{name}@{domain}", f"{name}@{domain}", f"{name}@{domain}".upper()])


def qq_mail(random: Random) -> str:
    return f"{random.randint(10**7, 10**10)}@{random.choice(['qq.com', '163.com', 'vip.qq.com'])}"


def phone_of(locale: str) -> Make:
    return lambda _: str(LOCALES[locale].phone_number())


def ssn(_: Random) -> str:
    return str(LOCALES["en_US"].ssn())


def ipv4(random: Random) -> str:
    return ".".join(str(random.randint(1, 223 if n == 0 else 254)) for n in range(4))


def ipv6(random: Random) -> str:
    return random.choice([
        LOCALES["en_US"].ipv6(),
        f"2a02:{random.randint(256, 65535):x}::{random.randint(256, 65535):x}",
        f"fe80::{random.randint(4096, 65535):x}:{random.randint(4096, 65535):x}",
    ])  # fmt: skip


def mac(_: Random) -> str:
    return str(LOCALES["en_US"].mac_address())


def name_zh(_: Random) -> str:
    return str(LOCALES["zh_CN"].name())


def address_zh(random: Random) -> str:
    """City, district, road and number; sometimes the flat."""
    city = random.choice(
        [
            "北京市海淀区",
            "上海市徐汇区",
            "广东省深圳市南山区",
            "杭州市余杭区",
            "成都市武侯区",
            "南京市鼓楼区",
        ]
    )
    road = random.choice(
        [
            "中山路",
            "人民大街",
            "解放东路",
            "学院路",
            "科技园南路",
            "长江西路",
            "和平里东街",
            "建设大道",
        ]
    )
    flat = random.choice(["", f"{random.randint(1, 20)}栋{random.randint(101, 2904)}室",
                          f"{random.randint(1, 9)}单元{random.randint(101, 999)}"])  # fmt: skip
    return f"{city}{road}{random.randint(1, 999)}号{flat}"
