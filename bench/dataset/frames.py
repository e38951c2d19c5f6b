"""Sentences that values stand in, by kind and language; `{}` is the value."""

from __future__ import annotations

ANY_EN = """You can reach me with {} if needed.|{}|Hi, it's {} again, any news?|I wrote {} on the form, is that right?
Please remove {} from your records.|they keep asking me for {} and I don't know why|My details: {}, thanks.
The form shows "{}" although I changed it.|{} is what I have on file.|Could you check ({}) for me?
I'd like to update it from {} to the new one.|re: {} - still waiting|Is {} correct?|it was {}.|->{}<-
Can you confirm that {}, which I sent you before, is in the system?|Name: J. Doe; data: {}; status: open
I entered {}, but it says invalid.|see {}/ok|My colleague's is {}, mine is different.|* {} *""".replace(
    "\n", "|"
).split("|")
ANY_ZH = """麻烦帮我查一下{}这个|{}|我的信息是{}，请核实|登记的是{}吗？|之前填写的{}不对|请把{}删掉，谢谢|客服你好{}帮我看看
系统里显示“{}”，但是我改过了|（{}）|资料：{}；状态：待审核|为什么一直提示{}无效|我朋友的是{}，我的不一样|从{}改成新的可以吗
你看下{}、还有别的吗|{}收到了吗|已发{}过去了|就是{}啦|刚才那个{}是我的|备注写{}就行|提交的时候填了{}结果报错了""".replace(
    "\n", "|"
).split("|")
# What people write around it: support messages have 85 characters in English, 40 in Chinese.
AROUND_EN = """Hello, I have a question about my last purchase.|Thanks for your help so far!|I have been waiting since Monday.
The app keeps showing the old one.|Please get back to me as soon as possible.|This is the second time that I write to you.
Your colleague told me it would be fixed by now.|I am not happy with how this was handled.|Best regards, and have a nice day.
I tried it on my phone and on my laptop.|Nothing has changed since we talked.|Is there anything else you need from me?""".replace(
    "\n", "|"
).split("|")
AROUND_ZH = """你好，我想咨询一下上次买的东西。|麻烦尽快处理，谢谢！|从周一等到现在还没有消息。|软件里显示的还是旧的。|这是我第二次联系你们了。
之前的客服说已经改好了。|对这次的服务不太满意。|在手机和电脑上都试过了。|还需要我提供什么吗？|请帮忙看看是什么原因。""".replace(
    "\n", "|"
).split("|")
_TOLD = {
    "en": {
        "PHONE": "Call me at {} after six.|my cell is {}|phone: {}|Tel. {}|You can text {} any time.|Ring {} and ask for Anna.|My number is {}, please call back.|WhatsApp {}|fax {} please|I can be reached on {} or by mail.",
        "CARD": "My card {} was charged twice.|The card number is {}, exp 09/27.|I paid with {} yesterday|please block {} now|Visa {} declined|card no. {}|refund to {} please",
        "EMAIL": "write to {}|my e-mail is {}.|send it to {}, please|contact: {}|<{}>|mailto:{}|cc {} and bcc nobody",
        "SSN": "My SSN is {}.|social security number: {}|SSN {} was leaked|ssn={}",
        "IBAN": "Transfer it to {}.|IBAN: {}|my account {} at the bank|refund goes to {} please",
        "IP": "The server {} is down.|ping {} fails|login from {} was blocked|host={} port=22|blocked {} in the firewall",
        "MAC": "My router's MAC is {}.|device {} offline|mac={}|wake {} on lan",
    },
    "zh": {
        "PHONE": "我的手机是{}谢谢|打{}找我|电话{}没人接|联系方式：{}|微信同号{}|手机号{}收不到验证码|请回拨{}，谢谢|我号码换成{}了|快递员让我留{}|座机{}一直占线|收货人电话{}请核对",
        "CN_ID": "身份证号{}请核对|我的身份证是{}|证件号码：{}|实名认证{}不通过|身份证{}，姓名一致|办理人证件{}已过期",
        "CARD": "卡号{}请核对|银行卡{}被扣了两次|退到{}这张卡|工行卡{}余额不对|绑定{}失败|我的卡是{}，开户行北京|用{}付款的",
        "EMAIL": "邮箱{}收不到邮件|请发到{}谢谢|联系{}即可|我的邮箱是{}。|抄送{}一份|注册邮箱：{}",
        "PLATE": "车牌{}停在门口|我的车是{}|车号{}违章查询|{}这辆车挡住我了|登记车牌：{}|出租车{}绕路",
        "ORG_ID": "税号{}开票|统一社会信用代码：{}|信用代码{}查不到|发票抬头税号{}谢谢|我们公司代码是{}。",
        "PASSPORT": "护照{}已过期|护照号码是{}|我的护照{}丢了|护照：{}|用护照{}买的票",
        "IP": "服务器{}连不上|IP是{}的机器|来自{}的请求|登录地址{}异常",
        "IBAN": "请汇到{}谢谢|国际账户{}|IBAN是{}。",
        "MAC": "网卡{}掉线|设备{}连不上|MAC地址：{}",
        "PERSON": "我叫{}，想退货|姓名：{}|收件人{}电话不对|联系人：{}。|请联系{}先生|{}女士您好|您好，我是{}，查一下订单|户名{}有误|找{}经理|持卡人：{}",
        "ADDRESS": "我住在{}|地址：{}。|寄到{}，谢谢|请送到{}|收货地址是{}|快递放{}门口|家庭住址{}，没变过",
    },
}  # fmt: skip


def frames(kind: str, language: str) -> list[str]:
    """What is said of values of the kind, and what may be said of any value.

    A name or an address that nothing announces is the work of a model, so they stand in their own
    frames alone.
    """
    own = _TOLD[language].get(kind, "")
    shared = ANY_EN if language == "en" else ANY_ZH
    return [*filter(None, own.split("|")), *(() if kind in ("PERSON", "ADDRESS") else shared)]
