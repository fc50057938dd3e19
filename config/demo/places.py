"""Regions of the demonstration: real area codes of GB/T 2260 in force at the end of 2021."""

from institutions.models import Region

PROVINCE, PREFECTURE, COUNTY = "province", "prefecture", "county"
#: A province without a policy of its own: its rules come from the pooling areas below it.
NO_POLICY = ""

#: area code → (name, policy region); level and parent follow from the code.
AREAS: dict[str, tuple[str, str]] = {
    "320000": ("江苏省", NO_POLICY),
    "320600": ("南通市", "nantong"),
    "320612": ("通州区", "nantong"),
    "320613": ("崇川区", "nantong"),
    "320614": ("海门区", "nantong"),
    "320623": ("如东县", "nantong"),
    "320681": ("启东市", "nantong"),
    "320682": ("如皋市", "nantong"),
    "320685": ("海安市", "nantong"),
    "330000": ("浙江省", NO_POLICY),
    "330300": ("温州市", "wenzhou"),
    "330302": ("鹿城区", "wenzhou"),
    "330303": ("龙湾区", "wenzhou"),
    "330304": ("瓯海区", "wenzhou"),
    "330305": ("洞头区", "wenzhou"),
    "330324": ("永嘉县", "wenzhou"),
    "330326": ("平阳县", "wenzhou"),
    "330327": ("苍南县", "wenzhou"),
    "330328": ("文成县", "wenzhou"),
    "330329": ("泰顺县", "wenzhou"),
    "330381": ("瑞安市", "wenzhou"),
    "330382": ("乐清市", "wenzhou"),
    "330383": ("龙港市", "wenzhou"),
    "220000": ("吉林省", "jilin"),
    "220100": ("长春市", "jilin"),
    "220200": ("吉林市", "jilin"),
    "220300": ("四平市", "jilin"),
    "220400": ("辽源市", "jilin"),
    "220500": ("通化市", "jilin"),
    "220600": ("白山市", "jilin"),
    "220700": ("松原市", "jilin"),
    "220800": ("白城市", "jilin"),
    "222400": ("延边朝鲜族自治州", "jilin"),
    "222401": ("延吉市", "jilin"),
    "640000": ("宁夏回族自治区", "ningxia"),
    "640100": ("银川市", "ningxia"),
    "640121": ("永宁县", "ningxia"),
    "640122": ("贺兰县", "ningxia"),
    "640181": ("灵武市", "ningxia"),
    "640200": ("石嘴山市", "ningxia"),
    "640205": ("惠农区", "ningxia"),
    "640221": ("平罗县", "ningxia"),
    "640300": ("吴忠市", "ningxia"),
    "640303": ("红寺堡区", "ningxia"),
    "640323": ("盐池县", "ningxia"),
    "640324": ("同心县", "ningxia"),
    "640381": ("青铜峡市", "ningxia"),
    "640400": ("固原市", "ningxia"),
    "640402": ("原州区", "ningxia"),
    "640422": ("西吉县", "ningxia"),
    "640423": ("隆德县", "ningxia"),
    "640424": ("泾源县", "ningxia"),
    "640425": ("彭阳县", "ningxia"),
    "640500": ("中卫市", "ningxia"),
    "640502": ("沙坡头区", "ningxia"),
    "640521": ("中宁县", "ningxia"),
    "640522": ("海原县", "ningxia"),
}


def level_of(code: str) -> str:
    """The administrative level of an area code."""
    if code.endswith("0000"):
        return PROVINCE
    return PREFECTURE if code.endswith("00") else COUNTY


def parent_of(code: str) -> str | None:
    """The area code one level up; None for a province."""
    parents = {COUNTY: f"{code[:4]}00", PREFECTURE: f"{code[:2]}0000"}
    return parents.get(level_of(code))


def make_regions() -> int:
    """Store the regions, provinces first; regions that exist stay as they are."""
    codes = sorted(
        AREAS, key=lambda code: ((PROVINCE, PREFECTURE, COUNTY).index(level_of(code)), code)
    )
    Region.objects.bulk_create(
        (
            Region(
                code=code,
                name=AREAS[code][0],
                level=level_of(code),
                parent_id=parent_of(code),
                policy_region=AREAS[code][1],
            )
            for code in codes
        ),
        ignore_conflicts=True,
    )
    return len(codes)
