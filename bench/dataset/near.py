"""Texts without a single value, full of what looks like one; and texts with one beside them."""

from __future__ import annotations

from random import Random

from dataset import values
from dataset.values import digits

HEX = "0123456789abcdef"


def _hex(random: Random, count: int) -> str:
    return "".join(random.choice(HEX) for _ in range(count))


def guid(random: Random) -> str:
    return "-".join(_hex(random, size) for size in (8, 4, 4, 4, 12))


def wrong_card(random: Random) -> str:
    """Sixteen digits that are no card: the last one is off."""
    body = "4" + digits(random, 14)
    good = values.luhn_digit(body)
    return body + random.choice([d for d in values.DIGITS if d != good])


def wrong_id(random: Random) -> str:
    """A resident ID whose check digit is off."""
    good = values.resident_id(random).upper()
    return good[:17] + random.choice([d for d in values.DIGITS if d != good[17]])


def stamp(random: Random) -> str:
    date = f"2025-{random.randint(1, 12):02}-{random.randint(1, 28):02}"
    time = f"{random.randint(0, 23):02}:{random.randint(0, 59):02}:{random.randint(0, 59):02}"
    return random.choice([
        f"{date} {time}", f"{date}T{time}Z", f"{date}T{time}.{digits(random, 3)}+08:00",
        f"{date.replace('-', '')}{time.replace(':', '')}", f"17{digits(random, 8)}",
        f"17{digits(random, 11)}", date, time, date.replace("-", "/"),
    ])  # fmt: skip


def version(random: Random) -> str:
    parts = [str(random.randint(0, 40)) for _ in range(random.choice([2, 3, 3]))]
    return random.choice(["v", "", "version "]) + ".".join(parts)


def price(random: Random) -> str:
    whole = random.randint(1, 99999)
    return random.choice([f"${whole:,}.99", f"¥{whole}.00", f"{whole:,} EUR", f"{whole}元",
                          f"USD {whole}.50"])  # fmt: skip


def sku(random: Random) -> str:
    return random.choice([
        f"SKU-{digits(random, 5)}-XL", f"AB{digits(random, 6)}", f"PN {digits(random, 4)}-{digits(random, 3)}",
        f"{digits(random, 3)}-{_hex(random, 4).upper()}", f"X{digits(random, 3)}/{digits(random, 2)}",
    ])  # fmt: skip


ORDER_EN = ["order no. {}", "Order #{}", "tracking number {}", "invoice {}", "ticket {} is open",
            "ref: {}", "order {} shipped", "parcel {} is late", "serial {}", "batch {} recalled"]  # fmt: skip
ORDER_ZH = ["订单号{}", "单号：{}", "运单{}到了吗", "流水号{}", "发票号码：{}", "工单{}", "编号{}", "合同编号 {}",
            "快递单号{}查不到", "货号{}缺货"]  # fmt: skip


def order(random: Random) -> str:
    return digits(random, random.choice([8, 10, 11, 12, 15, 16, 18, 20]))


def lines(random: Random, count: int) -> list[str]:
    """Near misses of all kinds in sentences of both languages."""
    shared = [guid, wrong_card, wrong_id, stamp, version, price, sku,
              lambda r: _hex(r, r.choice([32, 40, 64])), lambda r: f"0x{_hex(r, 8)}",
              lambda r: f"{r.randint(1, 9999)}x{r.randint(1, 9999)}px",
              lambda r: f"{r.uniform(-90, 90):.6f}, {r.uniform(-180, 180):.6f}",
              lambda r: f"sha256:{_hex(r, 64)}", lambda r: digits(r, r.randint(1, 8)),
              lambda r: f"{r.randint(10, 99)}%-{r.randint(10, 99)}%",
              lambda r: f"({digits(r, 3)}) {digits(r, 2)}", lambda r: f"{digits(r, 4)}-{digits(r, 4)}",
              lambda r: f"ISBN 978-{digits(r, 1)}-{digits(r, 3)}-{digits(r, 5)}-{digits(r, 1)}"]  # fmt: skip
    about = ["The log says {}.", "value {} at line 3", "it shows {} now", "数值为{}，正常", "记录里是{}",
             "看到{}这一项", "{}", "between {} and the end", "结果：{}。"]  # fmt: skip
    out = []
    for _ in range(count):
        if random.random() < 0.3:
            out.append(random.choice(ORDER_EN + ORDER_ZH).format(order(random)))
        else:
            out.append(random.choice(about).format(random.choice(shared)(random)))
    return out


PROSE = """The password is wrong again.|I forgot my password, can you reset it?|Password must contain 8 characters.
password reset link expired|My password is 48213.|Your password has been changed successfully.|Is the password case-sensitive?
The password for the portal is not accepted.|Please do not share your password with anyone.|password: required field
Two-factor login is on since v2.3.1.|The API key is missing in the header.|token expired, log in again|the secret is to stir slowly
passport control opens at 09:00|I pass the exam on 2025-06-01|key=value pairs are fine|The password policy requires uppercase letters
密码错误怎么办|忘记密码了，能重置吗|密码至少8位，包含字母和数字|密码是多少位的|请勿把密码告诉他人|密码输错3次被锁了|修改密码的链接打不开
我的密码是 48213|密码不能为空|口令红包怎么领|验证码收不到，密码也改不了|登录时提示密码不正确|密码框显示******|WiFi密码在哪里看
The meeting is at 10:30:45, room 12:04.|std::vector<int> and a::b::c are types|see chapter 1.2.3.4 for details|比例是3:2:1
CALL order_status(48213)|I have 3 phones and 2 tablets.|手机壳多少钱|电话费怎么交|我是老师，想咨询课程|各位先生女士请注意|谢谢老师|高级经理岗位
2号楼在哪里|地铁3号线到了|请到5号窗口|路上堵车|他住在附近|user@localhost is fine|@小王 看一下|3@2.50 each|npm install left-pad@1.3.0
train_2024_11_05_checkpoint_final.pt|InternationalizationAndLocalization|https://example.com/a/b/c?page=2&size=20|git commit 9fceb02""".replace(
    "\n", "|"
).split("|")
