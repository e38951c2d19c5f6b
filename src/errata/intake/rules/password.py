"""Passwords as people write them: in settings, in prose, in Chinese and English, either way round."""

from __future__ import annotations

from errata.intake.checks import secret_value, short_digits, strong_value, very_strong_value
from errata.intake.rules.rule import PIN_WORD, SECRET_WORD, Rule, rx

# A password as people type one: printable ASCII without quotes, commas and angle brackets, and not
# ending in the punctuation of the sentence around it.
_TYPED = r"[!#-&(-+\--:=?-_a-~]{3,127}[#-&*+\-/-9=@-Z^_a-z~]"
VALUE = rf"(?P<value>{_TYPED})"
_WORD = r"""(?:pass(?:word|phrase|wd|code)s?|pwd|psw|pw|credentials?
            |(?:api|secret|access|auth|encryption|recovery|private)[\ _-]?(?:key|token|code|phrase))"""
_ZH_WORD = "(?:密码|口令|密钥|秘钥|暗号|令牌)"

PAIR = Rule(
    "password-pair",
    "PASSWORD",
    rx(
        r"""(?<![A-Za-z])(?i:[a-z]{0,16}[_-]?(?:password|passwd|passphrase|pwd|secret|token|
            (?:api|access|account|private|secret|shared)[_-]?(?:access[_-]?)?key))["']?\s{0,3}(?:=|＝|:=|=>)\s{0,3}["']?
            """
        + VALUE
    ),
    SECRET_WORD,
    catches=(
        "password=⟦hunter2⟧",
        "db_password = '⟦correcthorse⟧'",
        '{"api_key"=⟦q9w8e7r6t5y4⟧}',
        "日志里有pwd=⟦Abcd!2345⟧。",
        "client_secret=⟦aB3-xyz⟧;",
        "Server=db;User Id=sa;Password=⟦S3cret-9⟧;",
        "AccountKey=⟦Zm9vYmFyYmF6cXV4⟧;",
    ),
    spares=("password=", "password = none", "token=48213", "pwd=****", "passwords = a list"),
    check=secret_value,
)
QUOTED = Rule(
    "password-quoted",
    "PASSWORD",
    rx(
        r"(?<![A-Za-z])(?i:[a-z]{0,16}[_-]?"
        + _WORD
        + r"""|secret|token)(?:["']?\s{0,3}[:=]|\ (?i:is|was|to|of))\s{0,3}
            ["'`“](?P<value>[^\s"'`”<>\x00-\x1f]{4,128})["'`”]"""
    ),
    SECRET_WORD,
    catches=('{"password": "⟦letmein⟧"}', "the password is “⟦sunshine⟧”", "secret: '⟦opensesame⟧'"),
    spares=('"password": "required"', 'password: "***"', "the password is “48213”"),
    check=secret_value,
)
PROSE = Rule(
    "password-prose",
    "PASSWORD",
    rx(
        r"(?<![A-Za-z])(?i:"
        + _WORD
        + r""")["')]?
            (?:\ (?i:for|to|of|on)(?:\ (?!(?:is|was)\ )[A-Za-z0-9'._@-]{1,24}){1,5})?
            (?:\s{0,3}:\s{0,3}|'s\ |\s?[-–—]\s
              |\s{1,3}(?i:(?:is|was|to|as|now|should\ be|has\ been|have\ been|will\ be|i\ (?:use|set|have)\ is)
                (?:\ (?:now|still|currently|just|simply|set|changed|reset|updated|called|actually|probably|be|to|as)){0,3})
                (?:\s{0,3}:)?\s{1,3})["'`“(\[]?
            """
        + VALUE
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
    ),
    spares=(
        "the password is wrong",
        "Password: required",
        "the password is case-sensitive",
        "my password is 48213",
        "Is the password Safe?",
        "password for the account is not set",
        "the password to the portal was Changed",
    ),
    check=strong_value,
)
BARE = Rule(
    "password-bare",
    "PASSWORD",
    rx(
        r"""(?:(?<![A-Za-z])(?i:password|passwd|passcode|passphrase|pwd|pw)[\ (\[]{1,2}
              |"""
        + _ZH_WORD
        + r"""[\s(（【\[]{0,2})["'“]?"""
        + VALUE
    ),
    SECRET_WORD,
    catches=(
        "user bob password ⟦Secret123⟧",
        "用户名admin密码⟦Abc12345⟧",
        "密码 ⟦qwe!2345⟧ 登录",
        "(password ⟦x9-Kq7pL⟧)",
    ),
    spares=(
        "password reset v2.0",
        "密码48213",
        "密码reset流程",
        "password policies",
        "密码2025年到期",
    ),
    check=very_strong_value,
)
BACKWARDS = Rule(
    "password-backwards",
    "PASSWORD",
    rx(
        r"(?<![!-~])[\"'“]?"
        + VALUE
        + r"""["'”]?(?:\ (?i:is|as|was|for)\ (?i:(?:my|the|your|our|his|her|their|a|an|new|old|current|temporary|default|admin|login|wifi|wi-fi|account|email)\ ){1,4}
              (?i:password|passcode|passphrase|pwd)
            |\s?(?:就?是|作为|当作?|做|设[为成]|改[为成])(?:我的?|你的?|他的?|她的?|新的?|登录|账户|账号|银行卡|支付|邮箱|WiFi|wifi|初始|默认|的){0,4}密码)"""
    ),
    SECRET_WORD,
    catches=(
        "use ⟦Tr0ub4dor&3⟧ as the password",
        "⟦qwe!2345⟧ is my old password",
        "用⟦Abc12345⟧作为密码",
        "⟦Sunny_day9⟧是我的登录密码",
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
        + r"""(?:[^\x00-\x7f，。！？；、]{0,6}?(?:[是为叫成用填:：=＝]|就是|输入|设的|改的)){1,2}[\s"'“‘「『【(（]{0,3}"""
        + VALUE
    ),
    SECRET_WORD,
    catches=(
        "密码是⟦hunter2⟧，别告诉别人",
        "我的密码：⟦Abc12345⟧。",
        "WiFi口令为“⟦qwerty99⟧”",
        "密码改成⟦Sunny_day⟧了",
        "登录密码是：⟦p@ss#word⟧",
        "密码我一直用的是⟦abc888888⟧",
        "密码已经重置为⟦Reset#2025⟧，请查收",
        "密码应该是⟦admin⟧吧",
    ),
    spares=(
        "密码是什么",
        "密码：请输入",
        "密码是 48213",
        "忘记密码怎么办",
        "口令为空",
        "密码是8位",
    ),
    check=secret_value,
)
DIGITS = Rule(
    "password-digits",
    "PASSWORD",
    rx(
        r"""(?:(?:密码|口令)(?:[^\x00-\x7f，。！？；、]{0,4}?(?:[是为:：=＝]|设[成为]|改[成为])){1,2}\s{0,3}
          | (?<![A-Za-z])(?i:password|passwd|pwd|passcode|pin)(?:\s{0,3}[:=]\s{0,3}|\s(?i:is)\s))
            (?P<value>[0-9]{4,8})(?![0-9A-Za-z])"""
    ),
    PIN_WORD,
    catches=("密码是⟦123456⟧。", "my PIN is ⟦4821⟧", "password: ⟦12345678⟧"),
    spares=("订单 48213", "密码是 hunter2", "password length is 8"),
    check=short_digits,
)
