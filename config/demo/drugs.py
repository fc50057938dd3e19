"""Drugs of the demonstration: common names, invented codes in the national form, invented prices."""

from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True)
class Sold:
    """A drug as claims charge it (`price` in fen) and as the example catalogue lists it."""

    code: str
    name: str
    specification: str
    category: str
    price: int
    share: str = ""  #: 先行自付比例
    ceiling: str = ""  #: 支付限价, yuan
    diseases: str = ""


def _code(atc: str, number: int) -> str:
    """X, the anatomical class, and serials that no maker has: 23 characters."""
    return f"X{atc}A{number:03d}A0010101999{number:02d}"


#: What ordinary claims of Wenzhou charge, in the order in which they are drawn.
DRUGS = (
    Sold(_code("C08CA", 1), "苯磺酸氨氯地平片", "5mg×28片", "甲类", 1850, ceiling="24.00"),
    Sold(_code("A10BA", 2), "盐酸二甲双胍缓释片", "0.5g×60片", "甲类", 2360, ceiling="30.00"),
    Sold(_code("C09CA", 3), "缬沙坦胶囊", "80mg×28粒", "甲类", 3120, ceiling="40.00"),
    Sold(_code("R03AK", 4), "布地奈德福莫特罗吸入粉雾剂", "60吸", "乙类", 4575, "10%", "60.00"),
    Sold(_code("C10AA", 5), "阿托伐他汀钙片", "20mg×28片", "甲类", 5290, ceiling="66.00"),
    Sold(_code("B01AC", 6), "阿司匹林肠溶片", "100mg×30片", "甲类", 890),
    Sold(_code("N04BA", 7), "多巴丝肼片", "250mg×40片", "乙类", 12800, "5%", "160.00"),
    Sold(_code("C07AB", 8), "富马酸比索洛尔片", "5mg×28片", "甲类", 2745, ceiling="35.00"),
)  # fmt: skip

_OTHERS = (
    ("A10BB", "格列美脲片", "2mg×30片", "甲类", "", "31.50", "M01600"),
    ("A10AE", "甘精胰岛素注射液", "3ml:300单位", "乙类", "5%", "77.98", "M01600"),
    ("A10BF", "阿卡波糖片", "50mg×30片", "甲类", "", "16.20", "M01600"),
    ("A10BH", "磷酸西格列汀片", "100mg×14片", "乙类", "10%", "79.80", "M01600"),
    ("A10BK", "达格列净片", "10mg×14片", "乙类", "10%", "61.10", "M01600"),
    ("C09AA", "马来酸依那普利片", "10mg×32片", "甲类", "", "25.60", "M03900"),
    ("C03BA", "吲达帕胺缓释片", "1.5mg×30片", "甲类", "", "27.80", "M03900"),
    ("C08CB", "硝苯地平控释片", "30mg×7片", "甲类", "", "22.40", "M03900；M04600"),
    ("C09CB", "厄贝沙坦氢氯噻嗪片", "162.5mg×7片", "乙类", "5%", "24.15", "M03900"),
    ("C07AA", "酒石酸美托洛尔片", "25mg×20片", "甲类", "", "7.60", "M03900；M04600"),
    ("C01DA", "单硝酸异山梨酯缓释片", "40mg×24片", "甲类", "", "33.20", "M04600"),
    ("B01AD", "硫酸氢氯吡格雷片", "75mg×7片", "乙类", "5%", "41.30", "M04600；M04803"),
    ("C10AB", "瑞舒伐他汀钙片", "10mg×28片", "乙类", "5%", "58.90", "M04600；M04803"),
    ("N06BX", "胞磷胆碱钠片", "0.1g×24片", "乙类", "15%", "35.70", "M04803"),
    ("R03BB", "噻托溴铵粉雾剂", "18μg×10粒", "乙类", "10%", "118.00", "M05300"),
    ("R03DA", "茶碱缓释片", "0.1g×24片", "甲类", "", "9.80", "M05300；M05400"),
    ("R03DC", "孟鲁司特钠片", "10mg×12片", "乙类", "5%", "46.50", "M05400"),
    ("R03AC", "硫酸沙丁胺醇吸入气雾剂", "100μg×200揿", "甲类", "", "19.90", "M05400；M05300"),
    ("N04BB", "盐酸普拉克索片", "0.25mg×30片", "乙类", "10%", "158.00", "M02300"),
    ("N04BD", "甲磺酸雷沙吉兰片", "1mg×10片", "乙类", "20%", "127.60", "M02300"),
    ("N02BE", "对乙酰氨基酚片", "0.5g×20片", "甲类", "", "5.20", ""),
    ("J01CA", "阿莫西林胶囊", "0.25g×24粒", "甲类", "", "9.10", ""),
    ("A02BC", "奥美拉唑肠溶胶囊", "20mg×14粒", "甲类", "", "13.70", ""),
    ("A11CC", "骨化三醇软胶囊", "0.25μg×10粒", "乙类", "10%", "29.80", ""),
    ("R05CB", "复合维生素咀嚼片", "60片", "丙类", "", "", ""),
)
HEAD = "药品编码,药品名称,规格,计价单位,类别,先行自付比例,支付限价,限定病种"


def sheet(*, without: int = 0, changed: bool = False) -> bytes:
    """The example catalogue as a sheet (GBK, as spreadsheets write it); a later one may differ."""
    listed = (
        (d.code, d.name, d.specification, "盒", d.category, d.share, d.ceiling, d.diseases)
        for d in DRUGS
    )
    others = (
        (_code(atc, 20 + number), name, size, "盒", category, share, ceiling, diseases)
        for number, (atc, name, size, category, share, ceiling, diseases) in enumerate(
            _OTHERS[: len(_OTHERS) - without]
        )
    )
    rows = [list(row) for row in chain(listed, others)]
    if changed:
        rows[10][6], rows[12][5] = "14.50", "5%"
        rows.append([_code("A10BJ", 60), "司美格鲁肽注射液", "1.34mg/ml", "支", "乙类", "20%",
                     "478.50", "M01600"])  # fmt: skip
    text = "\n".join([HEAD, *(",".join(row) for row in rows)])
    return text.encode("gb18030")
