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
    "task.take": "领取待办", "task.return": "退回待办", "task.assign": "分派待办",
    "task.escalate": "逾期上报督办", "delegation.give": "登记委托", "delegation.end": "结束委托",
    "webhook.register": "登记回调地址", "webhook.test": "测试回调地址", "webhook.end": "停用回调地址",
    "news.mail": "设置邮件提醒",
    "institution.register": "登记机构", "institution.rename": "机构更名生效",
    "facts.record": "登记机构信息变化", "facts.correct": "更正机构登记",
    "qualification.add": "登记资质", "qualification.replace": "更正资质",
    "qualification.check": "核验资质", "platformconnection.add": "登记平台接入",
    "platformconnection.replace": "调整平台接入", "platformconnection.check": "核验平台接入",
    "bankaccount.set": "登记结算账户", "bankaccount.replace": "结算账户接续",
    "bankaccount.reveal": "查看完整银行账号", "paymentfreeze.start": "暂停拨付",
    "paymentfreeze.end": "恢复拨付", "contact.add": "登记联系人", "contact.end": "停用联系人",
    "contact.reveal": "查看联系电话", "physician.register": "登记医师药师",
    "physician.title": "登记职称", "physician.licence": "执业证书续期",
    "physician.agreement": "登记医师协议", "physician.leave": "登记离职", "change.open": "提交变更备案",
    "change.return": "退回补正变更备案", "change.resubmit": "重新提交变更备案",
    "change.accept": "核对无误并备案", "change.refuse": "不予备案", "change.withdraw": "撤回变更备案",
    "codemapping.open": "提交对码", "codemapping.return": "退回修改对码",
    "codemapping.resubmit": "重新提交对码", "codemapping.approve": "对码审核通过",
    "codemapping.expire": "对码到期失效", "codemapping.withdraw": "撤回对码",
    "codemapping.end": "停用对码", "document.store": "存入文件", "document.read": "下载文件",
    "registry.watch": "检查到期事项", "registry.export": "导出登记内容",
    "import.check": "校验登记表格", "import.confirm": "确认登记导入", "import.run": "写入登记表格",
}  # fmt: skip
#: Subjects by the word before the colon.
SUBJECTS: dict[str, str] = {
    "claim": "单据", "encounter": "就诊", "page": "页面",
    "batch": "批次", "release": "政策文本", "user": "账号",
    "institution": "医疗机构", "document": "文件", "calendar": "工作日历",
    "delegation": "委托", "webhook": "回调地址", "trail": "全程留痕", "demo": "演示数据",
    "change": "变更备案", "codemapping": "对码", "qualification": "资质",
    "platformconnection": "平台接入", "bankaccount": "结算账户", "paymentfreeze": "暂停拨付",
    "contact": "联系人", "physician": "医师药师", "registry": "机构登记", "import": "登记导入",
}  # fmt: skip


def act(action: str) -> str:
    """An action in Chinese."""
    return ACTS.get(action, action)


def subject(text: str) -> str:
    """A subject in Chinese: ``claim:12`` → 单据 12."""
    kind, _, key = text.partition(":")
    return f"{SUBJECTS[kind]} {key}".rstrip() if kind in SUBJECTS else text
