"""Disguises of Chinese characters: 繁简, 拼音, 拆字, 谐音.

Sounds and traditional forms come from pypinyin and OpenCC (the [redteam] extra); how a character is
taken apart is told here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

from errata.errors import BadInput

# Characters that people take apart, and the parts as they are then written.
_PARTS = dict(
    pair.split("=")
    for pair in """
    好=女子 明=日月 码=石马 信=亻言 你=亻尔 们=亻门 他=亻也
    她=女也 妈=女马 姓=女生 如=女口 请=讠青 说=讠兑 话=讠舌
    记=讠己 讲=讠井 认=讠人 订=讠丁 证=讠正 识=讠只 诉=讠斥
    谁=讠隹 池=氵也 泄=氵世 注=氵主 河=氵可 没=氵殳 法=氵去
    清=氵青 洗=氵先 海=氵每 活=氵舌 沙=氵少 打=扌丁 把=扌巴
    扣=扌口 拉=扌立 报=扌𠬝 提=扌是 指=扌旨 按=扌安 拒=扌巨
    接=扌妾 换=扌奂 杀=㐅木 林=木木 村=木寸 样=木羊 板=木反
    相=木目 校=木交 机=木几 权=木又 杯=木不 检=木佥 钱=钅戋
    银=钅艮 铜=钅同 错=钅昔 钥=钅月 锁=钅𧴪 铃=钅令 镜=钅竟
    钟=钅中 吃=口乞 吗=口马 吧=口巴 呢=口尼 叫=口丩 吐=口土
    咳=口亥 哪=口那 骂=口口马 另=口力 加=力口 忙=忄亡 快=忄夬
    性=忄生 情=忄青 惊=忄京 懂=忄董 慢=忄曼 忘=亡心 想=相心
    志=士心 您=你心 给=纟合 红=纟工 级=纟及 结=纟吉 经=纟圣
    绝=纟色 编=纟扁 线=纟戋 约=纟勺 纸=纟氏 的=白勺 是=日疋
    时=日寸 晚=日免 早=日十 昨=日乍 密=宀必山 家=宀豕 安=宀女
    客=宀各 字=宀子 员=口贝 购=贝勾 账=贝长 财=贝才 贵=中一贝
    货=化贝 资=次贝 分=八刀 别=另刂 到=至刂 删=册刂 则=贝刂
    利=禾刂 和=禾口 秘=禾必 私=禾厶 程=禾呈 积=禾只 税=禾兑
    科=禾斗 秒=禾少 取=耳又 邮=由阝 部=咅阝 都=者阝 邻=令阝
    险=阝佥 防=阝方 阳=阝日 随=阝有辶 院=阝完 做=亻故 住=亻主
    作=亻乍 价=亻介 何=亻可 保=亻呆 便=亻更 份=亻分 付=亻寸
    件=亻牛 低=亻氐 行=彳亍 得=彳㝵 往=彳主 德=彳直心 让=讠上
    边=力辶 过=寸辶 近=斤辶 送=关辶 退=艮辶 还=不辶 男=田力
    思=田心 累=田糸 里=田土 重=千里 量=旦里 野=里予 知=矢口
    短=矢豆 告=牛口 否=不口 股=月殳 脏=月庄 胖=月半 脸=月佥
    期=其月 朋=月月 肚=月土 胃=田月 背=北月 能=厶月匕匕
    """.split()  # noqa: SIM905 - a table reads better as lines
)
# From these a sound is spelled again: common characters that look like words of everyday life.
_POOL = (
    "吗马妈骂米秘蜜泌谜号好耗毫浩豪马码玛蚂电店殿垫点典话化画花华回会惠慧绘信新心欣辛星行性姓兴"
    "兴型请青清轻情晴庆口叩扣寇零令领另铃岭玲生声升圣省胜绳钱千前浅欠签牵账帐张章掌胀长户护湖胡虎"
    "互壶说硕朔给几己机鸡及急集级记计技季寄既继济是市事式试室世诗师十石时食实史使始士示员元原圆园远"
    "愿院工公共功供宫弓攻宫打大达答搭单但蛋弹淡担胆当党挡荡地弟第低底抵帝敌的得德告高搞稿糕个各哥歌"
    "割格隔革客科可课克刻颗渴坏怀淮还海害孩寒含汉汗喊和合河何喝核盒贺黑嘿很恨狠红宏洪虹鸿后候厚猴"
    "家加价假架嫁佳夹甲间见件建健减简剪检江讲将奖降交叫教角脚郊骄街接结节解姐借届界今金近进尽紧"
    "京经精惊景静境镜敬九久酒旧救就举句具据距聚决觉绝军君均卡开看康考靠科空控苦酷库哭快块筷"
    "来赖老劳牢乐了类累泪冷离里理力立丽利例历连联脸练两亮量辆料聊刘流六留龙楼漏路露录陆旅绿"
    "买卖满慢忙毛冒没每美门闷梦迷面民名明命母木目牧那拿哪内男南难脑闹能你泥年念鸟您牛农女"
    "怕拍排牌盘判旁跑朋碰皮片票品平评瓶破普七期其奇骑起气汽强墙桥巧亲秦琴球求区取去趣全权却确群"
    "然让热人任认日容肉如入软色杀沙山删闪商伤上少绍社设射身深神什甚收手受书叔输树数双谁水睡顺"
    "司私思死四送苏诉素速酸算虽随岁碎孙所锁他她它台太谈谭探汤糖堂套特疼提题体天田条跳铁听停通同"
    "统头投图土团推退外完晚万王往网忘望为位未味问文闻我握无五午武舞务物误西吸希息习洗喜系细下夏"
    "先鲜闲险现线相香想向象小笑校效些写谢鞋血呀牙压言严研眼演厌羊阳养样要药爷业叶页夜一衣医依"
    "已以意义艺忆因音银引饮印英应影硬用勇友有又右鱼于与雨语玉遇月越云运杂在再早造责怎增站战"
    "找照者这真镇争正证政之支知直值职只纸指至志制治中钟终种重周洲主住注助祝专转装准桌子自字走足组最昨做作坐"
)


@cache
def _library(name: str, what: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        raise BadInput(f"mutators: `{what}` needs {name}: pip install 'errata[redteam]'") from None


@cache
def _converter() -> Callable[[str], str]:
    converter = _library("opencc", "traditional").OpenCC("s2t")
    return lambda text: str(converter.convert(text))


def traditional(text: str) -> str:
    """Simplified characters as traditional ones."""
    return _converter()(text)


def sounds(text: str) -> list[str]:
    """The sound of each character without its tone; what is none as it is."""
    spoken = _library("pypinyin", "pinyin").lazy_pinyin
    return [str(spoken(char)[0]) if _is_chinese(char) else char for char in text]


def pinyin(text: str) -> str:
    """Characters as their sounds in Latin letters."""
    spoken = _library("pypinyin", "pinyin").lazy_pinyin(text)
    return " ".join(str(sound) for sound in spoken)


def parts(text: str) -> str:
    """Characters taken apart, where people do so."""
    return "".join(_PARTS.get(char, char) for char in text)


def homophone(text: str, rng: random.Random) -> str:
    """Two thirds of the characters as others that sound alike."""
    out = []
    for char, sound in zip(text, sounds(text), strict=True):
        others = [other for other in _alike().get(sound, "") if other != char]
        swap = _is_chinese(char) and others and rng.random() < 2 / 3
        out.append(rng.choice(others) if swap else char)
    return "".join(out)


@cache
def _alike() -> dict[str, str]:
    """Sound → characters of the pool that have it."""
    alike: dict[str, str] = {}
    pool = "".join(dict.fromkeys(_POOL))
    for char, sound in zip(pool, sounds(pool), strict=True):
        alike[sound] = alike.get(sound, "") + char
    return alike


def _is_chinese(char: str) -> bool:
    return "\u4e00" <= char <= "\u9fff"
