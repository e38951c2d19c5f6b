"""Passwords as people tell them, in sentences of both languages."""

from __future__ import annotations

from random import Random

EN = """my password is {}|My password is {}.|the password: {}|Password: {}|password = {}|pwd: {}|pw {}|passcode is {}
I set my password to {} yesterday|I changed my password from {} to something new|you can log in with the password {}
the wifi password is {}, right?|the password for my account is {}|It says my password {} is wrong.|{} is my password
I use {} as my password everywhere|use {} as the password|My login is bob and the password is {}|username: anna, password: {}
user anna / password {}|temporary password {} does not work|your temporary password is {}|the new password will be {}
password should be {} I think|the password I chose is {}|password, which is {}, expired|what's wrong? my password's {}
The admin password was {} before|root password {}|passphrase: {}|credentials: bob / {}|Please reset it, the old password was {}
I typed password {} three times|my password ({}) is rejected|"password": "{}"|The password has been changed to {}.
My email password is still {}|can you check why {} is not accepted as my password|password - {}|the password to the server is {}
Her password is "{}"|set the password to '{}'|I keep using the same password {} for everything|My password was reset to {}, thanks
api key is {}|the default password is {} according to the manual|I think my password is {} but not sure|pass: {}""".replace(
    "\n", "|"
).split("|")
ZH = """我的密码是{}|密码是{}，登不上去|密码：{}|密码:{}|密码为{}|登录密码{}不对|密码{}|我把密码改成{}了|密码设置成{}可以吗
密码就是{}啊|密码一直用的{}|我用{}当密码|{}是我的密码|WiFi密码是{}吗|账号admin密码{}|用户名admin，密码{}|账号：bob 密码：{}
初始密码是{}|默认密码为“{}”|口令是{}|管理员密码：{}，请保密|支付密码我设的是{}|密码没变，还是{}|密码应该是{}吧|输入密码{}也提示错误
密码从{}改了|旧密码是{}|新密码是：{}|我记得密码是{}|系统给的临时密码是{}|邮箱密码为{}，麻烦看下|密码填的{}|密码写的是{}
帮我重置，原来的密码是{}|后台密码{}登录失败|数据库口令：{}|密码我发你：{}|老密码{}不能用了|密码叫{}|我的登录口令为{}，谢谢
你试试密码{}行不行|密码（{}）一直报错|用密码{}登录|路由器密码改为{}|密码：「{}」|他的密码好像是{}""".replace(
    "\n", "|"
).split("|")
_WORDS = [
    "tiger",
    "sunny",
    "mango",
    "river",
    "cloud",
    "happy",
    "dragon",
    "winter",
    "purple",
    "silver",
    "monkey",
    "coffee",
    "rocket",
    "garden",
    "banana",
    "yellow",
    "summer",
    "shadow",
    "hunter",
]
_SIGNS = "!@#$%^&*_-+=?."


def value(random: Random) -> str:
    """A random mix, words with digits, or either with signs in it."""
    lower, upper, digits = "abcdefghjkmnpqrstuvwxyz", "ABCDEFGHJKMNPQRSTUVWXYZ", "0123456789"
    kind = random.randrange(5)
    if kind == 0:
        chars = [random.choice(lower + upper + digits) for _ in range(random.randint(6, 14))]
        return "".join([*chars, random.choice(digits), random.choice(upper)])
    if kind == 1:
        word = random.choice([str.lower, str.title])(random.choice(_WORDS))
        return word + str(random.randint(1, 99999))
    if kind == 2:
        return "".join(
            random.choice([str.title, str.lower])(random.choice(_WORDS)) for _ in "12"
        ) + (str(random.randint(1, 999)) + random.choice(["", *_SIGNS[:9]]))
    if kind == 3:
        chars = [
            random.choice(lower + upper + digits + _SIGNS) for _ in range(random.randint(7, 14))
        ]
        return random.choice(lower) + "".join(chars) + random.choice(digits)
    word = random.choice(_WORDS).title()
    return random.choice(["P@ssw0rd", word + "@", word + "#", "Qwe!"]) + str(
        random.randint(1, 9999)
    )
