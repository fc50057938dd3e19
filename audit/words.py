"""PURE. What the trail's codes are called on a page; an unknown code is shown as it is."""

#: Acts in the order in which those of one moment can happen.
ACTS: dict[str, str] = {
    "account.login": "登录", "page.refused": "无权操作",
    "claim.receive": "收到申报并结算", "claim.reverse": "冲正",
    "batch.check": "上传文件", "batch.confirm": "确认提交", "batch.start": "确认提交",
    "batch.pause": "暂停", "batch.resume": "继续", "batch.release": "放行隔离分片",
    "batch.checked": "校验文件", "batch.confirmed": "确认提交", "batch.frozen": "清单冻结",
    "batch.chunk": "分片结算完成", "batch.paused": "暂停", "batch.resumed": "继续",
    "batch.released": "放行隔离分片", "batch.quarantined": "分片隔离",
    "batch.closed": "批次完成，总额与明细相符", "batch.failed": "批次失败",
    "release.draft": "起草政策文本", "release.edit": "修改政策文本", "release.publish": "发布政策文本",
    "release.end": "登记政策终止", "evidence.take": "收到就诊凭据", "document.attach": "附正式文件",
    "calendar.import": "导入工作日历", "trail.export": "导出留痕记录", "demo.step": "生成演示数据",
}  # fmt: skip
#: Subjects by the word before the colon.
SUBJECTS: dict[str, str] = {
    "claim": "单据", "encounter": "就诊", "page": "页面",
    "batch": "批次", "release": "政策文本", "user": "账号",
    "institution": "医疗机构", "document": "政策文件", "calendar": "工作日历",
    "trail": "全程留痕", "demo": "演示数据",
}  # fmt: skip


def act(action: str) -> str:
    """An action in Chinese."""
    return ACTS.get(action, action)


def subject(text: str) -> str:
    """A subject in Chinese: ``claim:12`` → 单据 12."""
    kind, _, key = text.partition(":")
    return f"{SUBJECTS[kind]} {key}".rstrip() if kind in SUBJECTS else text
