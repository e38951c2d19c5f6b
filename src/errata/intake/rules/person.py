"""Chinese names and addresses: a surname, or a house number, and the words that speak for it.

English names, and Chinese ones that nothing announces, are the work of a model: see ner.py."""

from __future__ import annotations

from errata.intake.checks import address, person_name
from errata.intake.rules.rule import ADDRESS_WORD, NAME_WORD, TITLE, Rule, rx

# The hundred most frequent surnames, about 85 in 100 people, and the compound ones.
SURNAMES = (
    "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董潘袁蔡蒋余于杜叶程魏苏吕丁任卢姚沈钟姜"
    "崔谭陆范汪廖石金韦贾夏付方邹熊白孟秦邱侯江尹薛闫段雷龙黎史陶贺毛郝顾龚邵万覃武钱戴严莫孔向常汤"
)
# Rarer ones: a name only where a word announces it.
RARER = (
    "傅褚俞温聂庄柴喻柏窦章葛奚郎鲁苗柳鲍费岑倪滕殷毕邬卞康伍卜穆萧祁狄臧庞纪舒屈项祝阮蓝闵席季麻路娄童颜梅盛刁骆樊凌霍虞柯管"
    "房裘缪解宣郁单杭洪诸左吉邢裴荣翁荀甄曲封储靳焦巴谷车班仲伊宫宁仇栾甘符景詹司薄蒲赖卓蔺屠蒙池乔翟申冉桑桂牛边燕尚农晏瞿阎艾"
    "容古易戈居耿满匡寇饶辛简沙鞠丰关查荆游权桓涂佘兰楼邝苟岳冼鹿迟花米连谌"
)
COMPOUND = "欧阳|上官|司马|诸葛|司徒|东方|独孤|皇甫|慕容|尉迟|令狐|夏侯|公孙|端木|轩辕"
_SURNAME = f"(?:{COMPOUND}|[{SURNAMES}])"
_ANY_SURNAME = f"(?:{COMPOUND}|[{SURNAMES}{RARER}])"
_HAN = r"[\u4e00-\u9fff]"
# What follows a name that ends here: no Chinese character, or a word that begins the next thought.
_ENDS = r"""(?=[^\u4e00-\u9fff]|\Z|(?:的|是|在|住|说|和|与|跟|有|想|要|来自|电话|手机|身份|地址
  |邮箱|联系|您好|你好|先生|女士|小姐|老师|经理|本人|今年|今天|昨天|已|于|被|请|先|，))"""
NAME_TOLD = Rule(
    "name-told",
    "PERSON",
    rx(
        r"""(?:我叫做?|名叫|姓名(?:是|为)?|名字(?:是|叫|为)|联系人(?:是|为)?|(?:收|寄)件人(?:是
          |为)?|收货人(?:是|为)?|持卡人(?:是|为)?
            |户名(?:是|为)?|经办人|负责人(?:是|为)?|申请人|投保人|患者(?:是|为)?|客户姓名
            |我是(?!高中|高级|马上|马来|程序|方便|常|白领|金融|江西|江苏|安徽|万分|向|任何|何
            |于|高兴|黄牛|白|单|武汉|石家庄|龙))
            \s?[:：]?\s?(?P<value>"""
        + _ANY_SURNAME
        + rf"{_HAN}{{1,2}}?(?:[·•]{_HAN}{{1,8}})?)"
        + _ENDS
    ),
    NAME_WORD,
    catches=(
        "我叫⟦张伟⟧，手机是",
        "姓名：⟦欧阳娜娜⟧",
        "收件人⟦李小红⟧电话13812345678",
        "联系人：⟦王芳⟧。",
        "您好，我是⟦陈思远⟧，想退货",
    ),
    spares=(
        "我叫外卖了",
        "姓名不能为空",
        "我是高中生",
        "我是程序员",
        "我叫小明",
        "联系人列表",
        "我是马来西亚人",
    ),
    check=person_name,
)
NAME_TITLED = Rule(
    "name-titled",
    "PERSON",
    rx(
        rf"(?<!{_HAN})(?:请|麻烦|帮我|联系|转告|转接|感谢|谢谢|通知|给|找|和|与|跟|向|对|是|问|让){{0,3}}(?P<value>"
        + _ANY_SURNAME
        + rf"{_HAN}{{1,2}}?)(?=(?:先生|女士|小姐|老师|经理|医生|师傅|同学|律师|主任|阿姨))"
    ),
    TITLE,
    catches=("请联系⟦张建国⟧先生", "⟦李小红⟧女士您好", "，⟦王芳⟧经理说的"),
    spares=("王女士您好", "各位老师", "尊敬的先生", "高级经理", "万能师傅"),
    check=person_name,
)
_NUMERAL = "[0-9零〇一二三四五六七八九十百]"
ADDRESS = Rule(
    "address-zh",
    "ADDRESS",
    rx(
        rf"""(?:(?<=[住在到址寄至于])|(?<!{_HAN})(?:{_HAN}{{0,6}}?(?:[住在到址寄至于]{{1,3}}
          |地址[是为]))?)
            (?P<value>(?![住在到址寄至于]){_HAN}{{2,28}}?
              (?:路|街|大道|巷|胡同|里|弄|道|苑|园|小区|花园|公寓|大厦|广场
                |村)(?:[东西南北中一二三]段)?
              {_NUMERAL}{{1,5}}(?:-[0-9]{{1,4}})?(?:号院|号楼|号|弄|栋|幢|座)
              (?:[0-9A-Za-z\u4e00-\u9fff-]{{0,12}}?(?:号楼|单元|层|楼|栋|幢|座|室|号|户)){{0,5}}
              (?:[0-9A-Za-z-]{{1,6}}(?:室|户)?)?)"""
    ),
    ADDRESS_WORD,
    catches=(
        "我住在⟦北京市海淀区中关村大街27号1101室⟧",
        "地址：⟦上海市浦东新区世纪大道100号⟧。",
        "寄到⟦杭州市西湖区文三路398号3栋2单元501⟧，谢谢",
        "地址：⟦幸福小区3号楼2单元501室⟧",
        "请送到⟦广州市天河区体育西路一百零三号⟧",
    ),
    spares=("订单48213号", "3号线到了", "第2号窗口", "路上遇到10号", "二楼有货", "12号发货"),
    check=address,
)
