"""How a person is reached: mail, telephone, messengers."""

from __future__ import annotations

import re

from errata.intake.checks import (
    area_code,
    mail_form,
    named_number,
    personal_mail,
    phone_key,
    phone_number,
    real_phone,
    spoken_digits,
    spoken_phone,
)
from errata.intake.rules.rule import (
    ACCOUNT_WORD,
    AT,
    NAMED_PHONE,
    NUMBER,
    NUMERALS,
    ORDER,
    ORDER_OR_ACCOUNT,
    SIGNS,
    Rule,
    number,
    rx,
)

EMAIL = Rule(
    "email",
    "EMAIL",
    rx(
        r"""(?<![A-Za-zÀ-ɏ0-9._%+-])[A-Za-zÀ-ɏ0-9](?:[A-Za-zÀ-ɏ0-9._%+'-]{0,63})@
            (?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9@])"""
    ),
    AT,
    catches=(
        "请联系⟦foo@example.com⟧收",
        "邮箱⟦li.na+shop@mail.example.cn⟧。",
        "write to ⟦A_b-c@EXAMPLE.co.uk⟧, please",
        "<⟦a@b.io⟧>",
        "an ⟦ålice.müller@corp.de⟧ schreiben, ⟦josé@corp.mx⟧ auch",
        "西里尔字母⟦jоhn@ехаmple.com⟧也是",
        "全角⟦ｌｉ＠ｅｘａｍｐｌｅ．ｃｏｍ⟧",
    ),
    spares=(
        "@example.com 是域名",
        "costs 3@2.50 each",
        "提到了@小王",
        "user@localhost",
        "like you@example.com or name@domain.com",
        "pip install pkg@1.2.0",
        "写给客服 desk@shop.example",
    ),
    check=personal_mail,
    canon=str.lower,
)
EMAIL_SPELLED = Rule(
    "email-spelled",
    "EMAIL",
    rx(
        r"""(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}
            \ ?[\[({]\ ?(?:(?i:at)|@|艾特)\ ?[\])}]\ ?
            [A-Za-z0-9-]{1,63}(?:(?:\.|\ ?[\[({]\ ?(?:(?i:dot)|\.
              |点)\ ?[\])}]\ ?)[A-Za-z0-9-]{2,24}){1,4}
            (?![A-Za-z0-9])"""
    ),
    SIGNS,
    catches=(
        "reach ⟦li.na[at]example.org⟧",
        "写信到⟦li (at) mail (dot) cn⟧。",
        "⟦zhang{@}corp.cn⟧",
    ),
    spares=("meet (at) noon", "see [at] page 3", "数组[at]下标"),
    canon=mail_form,
)
# A wall (\x00) stands for digits too: else a long row of numbers would open one by one.
# Each pattern of a number begins with the characters it may begin with, and looks behind itself
# afterwards: `re` runs to the next of them at 300 MB/s, past a leading look-behind at 60.
_S = r"[-.\ _·]{1,2}"
_AFTER_1 = rf"""(?:[3-9][0-9]{{9}}|[3-9][0-9]{_S}[0-9]{{4}}{_S}[0-9]{{4}}
              |[3-9][0-9]{{2}}{_S}[0-9]{{3}}{_S}[0-9]{{4}}
              |[3-9][0-9]{{2}}{_S}[0-9]{{4}}{_S}[0-9]{{3}}
              |[3-9][0-9]{_S}(?:[0-9]{{8}}|[0-9]{{3}}{_S}[0-9]{{5}})|\ [3-9](?:\ [0-9]){{9}})"""
# The one that begins it stands by itself, or behind 86, 086 or 0086.
_SHAPE = r"(?<![0oi])(?:i|[0o]d{2,4})" + _AFTER_1.replace("[3-9]", "d").replace("[0-9]", "d")
CN_MOBILE = Rule(
    "cn-mobile",
    "PHONE",
    rx(
        r"""[+(018](?<![0-9].)(?<![0-9\x00][.].)(?<![0-9a-fA-F]{6}.)
            (?:(?<=1)|(?:(?<=\+)86|(?<=0)086|(?<=8)6)[-\ .]{0,2}1|(?<=\()(?:\+|00)?86\)\ ?1)"""
        + _AFTER_1
        + r"(?![0-9])(?![0-9a-fA-F]{6})(?![a-fA-F](?![a-z]))"
    ),
    NUMBER,
    catches=(
        "手機⟦138–1234–5678⟧",
        "我的手机是⟦13812345678⟧谢谢",
        "电话⟦138-1234-5678⟧。",
        "打⟦+86 138 1234 5678⟧找我",
        "微信号wx⟦13912345678⟧",
        "call ⟦8613812345678⟧ now",
        "全角⟦１３８１２３４５６７８⟧也是",
        "零宽⟦138\u200b1234\u200b5678⟧也是",
        "拼起来⟦1381-234-5678⟧或⟦138 12345678⟧",
        "一个个念⟦1 3 8 1 2 3 4 5 6 7 8⟧",
        "订单联系电话⟦13812345678⟧",
        "数学体⟦𝟏𝟑𝟖𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖⟧",
    ),
    spares=(
        "订单 48213 已发货",
        "单号2013812345678901",
        "订单号：13812345678",
        "tracking no. 13812345678",
        "12345678901",
        "sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "比例 0.13812345678",
        "时间戳 1701388123456",
        "uuid 3d4fa1b2-1111-4222-8333-13812345678e",
    ),
    check=real_phone,
    canon=phone_key,
    not_after=ORDER,
    shape=number(_SHAPE + r"(?!d)", re.VERBOSE),
)
SPOKEN_MOBILE = Rule(
    "cn-mobile-spoken",
    "PHONE",
    rx(
        r"""[一幺1](?<![零〇一二三四五六七八九幺两0-9].)\s?[三四五六七八九3-9]
            (?:[\s、,-]?[零〇一二三四五六七八九幺两0-9]){9}(?![零〇一二三四五六七八九幺两十百千万0-9])"""
    ),
    NUMERALS,
    catches=(
        "号码是⟦一三八一二三四五六七八⟧",
        "打⟦幺三八 幺二三四 五六七八⟧",
        "我的⟦一3八1二三4五六七8⟧",
        "〇也算⟦一三〇〇〇一二三四五六⟧。",
    ),
    spares=("一三五七九", "一百三十八", "二〇二五年十二月十六日", "一、三、五号楼"),
    check=spoken_phone,
    canon=spoken_digits,
)
PHONE = Rule(
    "phone",
    "PHONE",
    rx(
        r"""[+(0-9](?<![0-9A-Za-z.+].)(?<![0-9\x00][-/].)(?:
            (?:(?<=\+)|(?<=0)0)\ ?[1-9][0-9]{0,2}[-.\ ]?(?:\([0-9]{1,4}\)[-.\ ]?)?
                [0-9]{1,4}(?:[-.\ ]{0,2}[0-9]{2,4}){1,4}
          | (?<=\()[0-9]{3}\)[-.\ ]?[0-9]{3}[-.\ ][0-9]{4}
          | (?<=1)(?:[-.\ ]|(?=\())\(?[2-9][0-9]{2}\)?[-.\ ]?[0-9]{3}[-.\ ][0-9]{4}
          | (?<=[2-9])[0-9]{2}(?:[-.][0-9]{3}[-.\ ]|\ [0-9]{3}\ )[0-9]{4}
          | (?<=[48])00[-\ ]?[0-9]{3}[-\ ]?[0-9]{4}
          | (?<=0)[1-9][0-9]{8,9}
          | (?<=\()0[0-9]{2,4}\)[-\ ]?[0-9]{3,4}[-\ ]?[0-9]{2,5}
          | (?:(?<=0)|(?<=\()0)(?:
                (?:10|2[0-9])\)?[-\ ]{0,2}[2-9][0-9]{3}[-\ ]?[0-9]{4}(?:-[0-9]{1,5})?
              | [3-9][0-9]{2}\)?[-\ ]{0,2}[2-9][0-9]{2}[-\ ]?[0-9]{3,5}(?:-[0-9]{1,5})?
              | [1-9][0-9]{0,3}\)?[-.\ ](?:[0-9]{2,4}[-.\ ]){1,4}[0-9]{2,5}
              | [1-9][0-9]{1,4}\)?[-.\ ][0-9]{5,8})
          )(?:\ ?(?:x|ext\.?)\ ?[0-9]{1,6})?(?![0-9A-Za-z])(?!-[0-9])"""
    ),
    NUMBER,
    catches=(
        "call ⟦+44 20 7946 0958⟧ today",
        "座机⟦010-62345678⟧转分机",
        "不带横线⟦01062345678⟧",
        "总机⟦0571-88123456-801⟧。",
        "客服⟦400-123-4567⟧。",
        "ring ⟦(415) 555-2671⟧ or ⟦415-555-2671⟧",
        "国际⟦+49 (0)30 901820⟧号",
        "⟦+14155552671⟧",
        "fax ⟦1-415-555-2671 x123⟧",
        "英国⟦020 7946 0958⟧，法国⟦01 42 68 53 00⟧",
        "mobile ⟦07700 900123⟧",
        "印度⟦+91 98765 43210⟧",
        "英国⟦(0131)4960439⟧，法国⟦0142685300⟧",
    ),
    spares=(
        "2025-12-16 10:00",
        "订单+48213",
        "价格 1,299.00 元",
        "+5 -3 = 2",
        "区间 100-200-3000",
        "version 415.555.26",
        "+86 48213",
        "05-12-2024 10 30",
        "01.02.2024 12:30:00",
        "order no. 415-555-2671",
        "isbn 978-0-306-40615-7",
        "0.1234 5678 901",
        "零件 030-1234-5678-9012",
    ),
    check=phone_number,
    canon=phone_key,
    not_after=ORDER,
    # Nine places (an extension counts), and a plus, a zero, or three, three and four digits.
    shape=number(
        r"(?=.*d[-. ()/·_0oi]{8})"
        r".*(?:\+|o|(?<![0oia])ddd[-. )]{0,2}ddd[-. ]?dddd(?!d))"
    ),
)
PHONE_PLAIN = Rule(
    "phone-plain",
    "PHONE",
    rx(
        r"""[2-9](?<![0-9A-Za-z.+_/=\#-].)(?<![^\x00-\x7f]\s.)(?<![^\x00-\x7f].)
            [0-9]{2}[2-9][0-9]{6}(?![0-9A-Za-z_-])(?!\s?[^\x00-\x7f])"""
    ),
    NUMBER,
    catches=("text ⟦4155552671⟧ works too", "⟦2125557788⟧"),
    spares=(
        "order 4155552671",
        "id=4155552671",
        "编号4155552671",
        "1700000000",
        "9115552671 is no area",
        "#4155552671",
    ),
    check=area_code,
    canon=phone_key,
    not_after=ORDER_OR_ACCOUNT,
    shape=number(r"(?<![0oia])0d{9}(?![0oia])"),
)
PHONE_NAMED = Rule(
    "phone-named",
    "PHONE",
    rx(
        r"""(?:(?:(?<![A-Za-z])|(?<=(?i:tele)))(?i:phones?|tel|mobile|cell|fax|whatsapp|(?:call
          |text|ring|reach)\ (?:me|us|him|her)(?:\ back)?)
                (?:\ (?i:number|no\.?|is|at|on|to|\#|us|line)){0,3}
              | (?:电话|座机|固话|手机|热线|传真)(?:号码?|是|为|打|改成|改为){0,2})
            [\s:：.,\#“"']{0,3}
            (?P<value>\+?\(?[0-9](?:[-.\ ()/]{0,2}[0-9]){6,14})(?![0-9A-Za-z])(?!\.[0-9])"""
    ),
    NAMED_PHONE,
    catches=(
        "Phone: ⟦9876543⟧",
        "call me at ⟦98765 43210⟧",
        "座机：⟦62345678⟧。",
        "tel. ⟦4155552671⟧",
        "电话号码是⟦8812 3456⟧",
    ),
    spares=(
        "phone 15 costs 4999",
        "手机订单号48213",
        "telephone 2025-12-16",
        "call 12345",
        "手机 2025-12-16 10:00 到货",
    ),
    check=named_number,
    canon=phone_key,
)
ACCOUNT = Rule(
    "messenger",
    "ACCOUNT",
    rx(
        r"""(?: (?<![A-Za-z])(?i:qq)(?:群|号码?
          |邮箱)?[\s:：是为=]{0,3}(?P<qq>[1-9][0-9]{4,10})(?![0-9A-Za-z.])
              | (?:微信|(?<![A-Za-z])(?i:wechat|weixin|telegram|line))(?:号码?|\ ?(?i:id)|账号)
                [\s:：是为=]{0,3}(?P<name>@?[A-Za-z][A-Za-z0-9_-]{5,31})(?![A-Za-z0-9_-])
              | (?:微信|(?<![A-Za-z])(?i:wechat|weixin
              |telegram))\s?[:：]\s?(?P<named>@?[A-Za-z][A-Za-z0-9_-]{5,31})(?![A-Za-z0-9_-])
            )"""
    ),
    ACCOUNT_WORD,
    catches=(
        "加我QQ⟦123456789⟧",
        "微信号：⟦li_na2020⟧。",
        "wechat id ⟦panda-88x⟧",
        "QQ号是 ⟦10001⟧",
    ),
    spares=("QQ音乐 2025", "微信支付", "微信号是什么", "wechat is popular", "QQ 2024 版"),
)
