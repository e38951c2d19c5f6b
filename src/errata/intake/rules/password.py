"""Passwords as people write them in prose, in Chinese and English, either way round.

Only the value is replaced. How sure a value must look depends on what leads to it: after
`password=` anything will do, after `password is` it must not be an English word (`wrong`), and with
looser words between, it must look like nothing but a password.
"""

from __future__ import annotations

import re

from errata.intake.checks import secret_value, short_digits, strong_value, very_strong_value
from errata.intake.rules.rule import Rule, rx, words

# Where a password is spoken of: the rules but one begin with such a word.
SECRET_WORD = words(
    "secret word",
    "pass pwd psw pw secret token key credential login logon 密码 口令 密钥 暗号 秘钥 令牌 账密",
    around=(0, 420),
)
BEHIND_WORD = words(
    "after a value",
    "pass pwd 密码 口令",
    around=(220, 24),
    needs=re.compile(rb"[0!@#$%^&*+=~_]"),  # what makes a value a very strong one
)
PIN_WORD = words("pin word", "pass pwd pin 密码 口令", around=(0, 32))

# A password as people type one: printable ASCII without quotes, commas and angle brackets, and not
# ending in the punctuation of the sentence around it.
_LAST = r"[!#-&*+\-/-9=@-Z^_a-z~]"
_TYPED = rf"[!#-&(-+\--:=?-_a-~]{{3,127}}{_LAST}"
VALUE = rf"(?P<value>(?![:=]){_TYPED})"  # of a sign before it nothing is the password's own
# In prose the other signs too, where something follows without a space, but for a tag of HTML: a
# report quotes an answer as `465569.</pre>`.
_SIGN = r"[!#-&(-+\--:=?-_a-~]"
_SPOKEN = (
    rf"(?P<value>(?:{_SIGN}|[,;>'`\"](?={_SIGN})"
    rf"|<(?!/?[a-z]+>)(?={_SIGN})){{3,127}}{_LAST})"
)
_WHOSE = [
    "api",
    "secret",
    "access",
    "auth",
    "private",
    "account",
    "shared",
    "encryption",
    "recovery",
]
KEY = "(?:" + "|".join(rf"(?<={word})|(?<={word}[\ _-])" for word in _WHOSE) + ")(?:key|token)"
WORD = rf"""(?:(?<![a-z])(?:pass(?:\ ?word|\ ?phrase|wd|\ ?code)s?|pwd|psw|pw)
            |{KEY})"""
# In the shadow that the rules look at, full-width commas, colons and brackets are those of ASCII.
_ZH_WORD = "(?:密码|口令|密钥|秘钥|暗号|令牌)"
# What may stand between the word and the value, in any order: words that say nothing else.
_BETWEEN = r"""(?:is|it|it's|its|it’s|was|be|been|being|are|were|has|have|had|will|would|should
  |must|can|could|did|does|do|which
    |that|that's|this|these|those|there|here|i|i've|i'd|i’ve|we|you|he|she|they|me|us|them|him
    |her|use|uses|used|using|set|sets|setting
    |to|as|now|my|our|your|his|their|the|a|an|new|old|current|previous|temporary|temp|default
    |initial|same|still|just|simply
    |really|actually|probably|currently|always|only|also|again|please|try|tried|trying|enter
    |entered|entering|type|typed|typing|got|get|gave
    |given|give|sent|send|says|say|said|told|tell|changed|change|changing|reset|updated|from
    |into|with|and|or|but|like|something
    |called|one|field|box|back|today|yesterday|remember|think|believe|guess|know|note|written
    |wrote|in|on|at|for|of|so|then|ok
    |hi|hello|thanks|above|below|following|follows|provided|assigned|generated|created|chose
    |chosen|picked|put|keep|kept|goes)"""
_OF_WHAT = r"(?:\ (?i:for|to|of|on)(?:\ (?!(?:is|was)\ )[A-Za-z0-9'’._@-]{1,24}){1,5})?"

CHANGED = Rule(
    "password-changed",
    "PASSWORD",
    rx(
        r"(?i:"
        + WORD
        + "|"
        + _ZH_WORD
        + r""")[^\x00-\x1f]{0,16}?(?:[\ (](?i:from|old)\b\)?|[从由旧])[\s:]{0,3}[!-~]{4,64}?
            \s{0,2}(?:(?:改|换|变|更新|重置)[为成到]|,?\s?(?i:(?:now|and|then)\ )?(?i:to|into)\ |->
              |→|,?\ ?\(?(?:(?i:new)\)?|新(?:密码|的)?)[是为]?[\s:]{1,3})\s{0,2}"""
        + VALUE
    ),
    SECRET_WORD,
    catches=(
        "密码从hunter2改为⟦Winter2025⟧",
        "I changed my password from hunter2 to ⟦Winter2025⟧ today",
        "Password (old): hunter2, (new): ⟦Winter2025⟧",
    ),
    spares=(
        "password from page 1234 to 5678",
        "密码从旧版改为新版",
        "the password from Monday to Friday",
    ),
    check=strong_value,
)
PROSE = Rule(
    "password-prose",
    "PASSWORD",
    rx(
        r"(?i:(?<![a-z])pass|"
        + WORD
        + r""")["')]?"""
        + _OF_WHAT
        + r"""(?:\ ?\([A-Za-z\ ]{1,24}\))?
            (?:\s{0,3}[:]\s{0,3}|['’]s\ |\s?[-–—]{1,2}\s
              |\s{1,3}(?i:(?:is|was|to|as|now|should\ be|has\ been|have\ been|will\ be)
                (?:\ (?:now|still|currently|just|simply|set|changed|reset|updated|called
                  |actually|probably|be|to|as)){0,3})
                (?:\s{0,3}[:])?\s{1,3})["'`“(\[]?
            """
        + _SPOKEN
    ),
    SECRET_WORD,
    catches=(
        "my password is ⟦Tr0ub4dor&3⟧.",
        "Password: ⟦hunter2⟧",
        "reset the password to ⟦Winter_2025⟧, thanks",
        'the api key is "⟦q9w8e7r6t5⟧"',
        "the password for my mail account is ⟦xK9#mPq2⟧",
        "the password has been changed to ⟦Blue42Sky⟧.",
        "Her password's ⟦mango77⟧ I think",
        "pw: ⟦Zx81spectrum⟧",
        "password was ⟦abc12345⟧ before",
        "Password (temporary): ⟦x7;Kp'2q⟧",
    ),
    spares=(
        "the password is wrong",
        "Password: required",
        "the password is case-sensitive",
        "my password is 48213",
        "Is the password Safe?",
        "password for the account is not set",
        "the password to the portal was Changed",
        "We pass 3:1 as the ratio",
        "<pre>The password is 465569.</pre></td>",
    ),
    check=strong_value,
)
BARE = Rule(
    "password-bare",
    "PASSWORD",
    rx(
        rf"""(?:(?<![A-Za-z])(?i:password|passwd|passcode|passphrase|pwd|pw)
              (?:[\s,.:;?!"'()\[—–-]{{1,4}}(?i:{_BETWEEN})(?=[\s,.:;?!"'()—–-])){{0,8}}[\s,.:;?!("'\[—–-]{{1,4}}
            |{_ZH_WORD}(?:(?!号|名|账|户|版|型|链接|邮|网|单|步骤|至少|包含|长度|位|超过|使用
            |支持|采用)
              [^\x00-\x7f。]){{0,8}}?[\s(【\[“]{{0,3}})["'“`]?
            """
        + VALUE
    ),
    SECRET_WORD,
    catches=(
        "user bob password ⟦Secret123⟧",
        "用户名admin密码⟦Abc12345⟧",
        "密码 ⟦qwe!2345⟧ 登录",
        "(password ⟦x9-Kq7pL⟧)",
        "the password, which I set yesterday, was ⟦tiger_88x⟧ I believe",
        "What is my password? I think it is ⟦mOnday77⟧.",
        "输入密码⟦Hello2024⟧也登不上",
        "密码我记得写的⟦kitty_99⟧",
    ),
    spares=(
        "password reset v2.0",
        "密码48213",
        "密码reset流程",
        "password policies",
        "Print the admin password now[3].",
        "密码2025年到期",
        "忘记密码，账号是user42",
        "password reset for order A1234567",
        "修改密码后用iPhone15登录",
        "密码至少包含a1组合",
    ),
    check=very_strong_value,
)
LOGIN = Rule(
    "password-login",
    "PASSWORD",
    rx(
        r"""(?:(?<![A-Za-z])(?i:log[io]n|credentials?)(?:\ (?i:details|info|is|are|with|as
          |using|by)){0,3}
              |(?:(?<=账号)|(?<=帐号)|(?<=用户名)|(?<=账号[和与及/])
              |(?<=用户名[和与及/]))密码(?:是|为|分别是|就是)?|账密)
            [\s:,]{0,3}[A-Za-z0-9._@+-]{2,64}(?:\s?[/|,、:]\s?|\ (?i:and
              |with)\ (?i:(?:the\ )?pass(?:word|code)?\ )?|和)["'`“]?
            """
        + VALUE
    ),
    SECRET_WORD,
    catches=(
        "credentials: bob / ⟦Tr0ub4dor⟧",
        "账号密码：admin/⟦Abc12345⟧。",
        "log in as admin, login: root:⟦toor!2024⟧",
        "login with anna and ⟦violet_73⟧",
    ),
    spares=("login at 10:30/11:30", "login: bob / admin", "账号密码：不能为空", "login a/b"),
    check=very_strong_value,
)
BACKWARDS = Rule(
    "password-backwards",
    "PASSWORD",
    rx(
        r"(?<![!-~])[\"'“`(]?"
        + VALUE
        + r"""["'”`)]?(?:(?:\ (?i:is|was|are|not|isn't|no|longer|never|accepted|rejected
          |recognized|working|used|refused|wrong
                |work|works|does|doesn't|did|didn't|still|anymore)){0,5}[,\s–—-]{1,3}(?i:is|as
                |was|for|that's|that\ is|works\ as|being)(?:\ (?i:my|the|your|our|his|her|their
                |a|an|new|old
                |current|temporary|temp|default|admin|root|login|wifi|wi-fi|account|email|mail
                |bank|first|actual|correct|right|master|not)){0,5}
              \ (?i:password|passcode|passphrase|pwd)
            |[,\s]{0,2}(?:就?是|作为|作|当作?|做|为|设[为成]|改[为成]|才是)(?:我的?|你的?|他的?
            |她的?|我们的?|咱们?的?|新的?|旧的?|登录|账户|账号|银行卡|支付|邮箱
                |WiFi|wifi|Wi-Fi|无线|初始|默认|临时|管理员|后台|的|了){0,5}(?:密码|口令))"""
    ),
    BEHIND_WORD,
    catches=(
        "use ⟦Tr0ub4dor&3⟧ as the password",
        "⟦qwe!2345⟧ is my old password",
        "用⟦Abc12345⟧作为密码",
        "⟦Sunny_day9⟧是我的登录密码",
        "I typed `⟦x7Kp2q9L⟧`, that's my password",
        "why is ⟦shadow52171⟧ not accepted as my password",
    ),
    spares=(
        "this is my password",
        "step 2 is the password",
        "把这个作为密码",
        "2FA is the new password",
    ),
    check=very_strong_value,
)
ZH = Rule(
    "password-zh",
    "PASSWORD",
    rx(
        _ZH_WORD
        + r"""(?:(?:[^\x00-\x7f。、]{0,8}?(?:[是为叫成用填写:=]|就是|输入|设的|改的|设了|改了
          |成了|给你|发你)){1,3}
                |[^\x00-\x7f。、]{0,8}?,\s?[我还就依然一直旧老记得应该好像大概可能它]{0,5}[是:]
                |[^\x00-\x7f。、]{0,4}从)
            [\s"'“‘「『【(]{0,3}"""
        + VALUE
    ),
    SECRET_WORD,
    catches=(
        "密码是⟦hunter2⟧，别告诉别人",
        "密碼：⟦hunter2⟧，別告訴別人",
        "我的密码：⟦Abc12345⟧。",
        "WiFi口令为“⟦qwerty99⟧”",
        "密码改成⟦Sunny_day⟧了",
        "登录密码是：⟦p@ss#word⟧",
        "密码我一直用的是⟦abc888888⟧",
        "密码已经重置为⟦Reset#2025⟧，请查收",
        "密码应该是⟦admin⟧吧",
        "密码没变，还是⟦Old_pass1⟧",
        "密码我发你：⟦k9-xPq2⟧",
    ),
    spares=(
        "密码是什么",
        "密码：请输入",
        "密码是 48213",
        "忘记密码怎么办",
        "口令为空",
        "密码是8位",
        "密码忘了，我用iPhone登录",
    ),
    check=secret_value,
)
DIGITS = Rule(
    "password-digits",
    "PASSWORD",
    rx(
        r"""(?:(?:密码|口令)(?:[^\x00-\x7f。、]{0,4}?(?:[是为:=]|设[成为]|改[成为])){1,2}\s{0,3}
          | (?<![A-Za-z])(?i:password|passwd|pwd|passcode|pin)(?:\s{0,3}[:=]\s{0,3}|\s(?i:is)\s))
            (?P<value>[0-9]{4,8})(?![0-9A-Za-z])"""
    ),
    PIN_WORD,
    catches=("密码是⟦123456⟧。", "my PIN is ⟦4821⟧", "password: ⟦12345678⟧"),
    spares=("订单 48213", "密码是 hunter2", "password length is 8"),
    check=short_digits,
)
