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
    "institution.correct": "更正身份信息", "office.set": "登记主管与经办机构",
    "regions.load": "载入行政区划",
    "facts.record": "登记机构信息变化", "facts.correct": "更正机构登记",
    "qualification.add": "登记资质", "qualification.replace": "更正资质",
    "qualification.check": "核验资质", "platformconnection.add": "登记平台接入",
    "platformconnection.replace": "调整平台接入", "platformconnection.check": "核验平台接入",
    "bankaccount.set": "登记结算账户", "bankaccount.replace": "结算账户接续",
    "bankaccount.reveal": "查看完整银行账号", "paymentfreeze.start": "暂停拨付",
    "paymentfreeze.end": "恢复拨付", "contact.add": "登记联系人", "contact.end": "停用联系人",
    "contact.reveal": "查看联系电话", "physician.register": "登记医师药师",
    "physician.title": "登记职称", "physician.licence": "执业证书续期",
    "physician.agreement": "登记医师协议", "physician.leave": "登记离职",
    "physician.check": "核验医师登记", "physician.refuse": "医师登记核验未通过",
    "physician.correct": "更正医师登记", "change.open": "提交变更备案",
    "change.return": "退回补正变更备案", "change.resubmit": "重新提交变更备案",
    "change.accept": "核对无误并备案", "change.refuse": "不予备案", "change.withdraw": "撤回变更备案",
    "codemapping.open": "提交对码", "codemapping.return": "退回修改对码",
    "codemapping.resubmit": "重新提交对码", "codemapping.approve": "对码审核通过",
    "codemapping.expire": "对码到期失效", "codemapping.withdraw": "撤回对码",
    "codemapping.end": "停用对码", "document.store": "存入文件", "document.read": "下载文件",
    "registry.watch": "检查到期事项", "registry.export": "导出登记内容",
    "import.check": "校验登记表格", "import.confirm": "确认登记导入", "import.run": "写入登记表格",
    "application.open": "新建申请", "application.state": "填写申请条件",
    "application.judge": "审核申请条件", "application.objection": "登记公示异议",
    "application.objection_answer": "处理公示异议", "application.refresh": "重新计算期限",
    "notice.make": "作出一次性告知书", "notice.deliver": "送达一次性告知书",
    "contract.sign": "电子签署协议", "signing_keys.make": "登记签名证书",
    "agreement.conclude": "协议生效", "agreement.paper": "登记纸质补签",
    "agreement.suspended": "协议中止", "agreement.resumed": "协议恢复",
    "agreement.terminated": "协议解除", "agreement.renew": "协议续签",
    "agreement.expired": "协议到期", "agreement.unchanged": "决定协议不变",
    "assessment.record": "登记年度考核", "waves.make": "生成批次名单", "waves.export": "导出批次看板",
    "waveplace.plan": "修改工作计划", "waveplace.drawn": "倒排工期",
    "formsubmission.open": "新建表格", "formsubmission.fill": "填写表格",
    "formsubmission.seal": "表格盖章", "formsubmission.reveal": "查看表格完整内容",
    "formsubmission.paper": "打印表格", "formsubmission.export": "导出表格",
    "formsubmission.collected": "下载汇总表",
}  # fmt: skip
#: Subjects by the word before the colon.
SUBJECTS: dict[str, str] = {
    "claim": "单据", "encounter": "就诊", "page": "页面",
    "batch": "批次", "release": "政策文本", "user": "账号",
    "institution": "医疗机构", "document": "文件", "calendar": "工作日历",
    "delegation": "委托", "webhook": "回调地址", "trail": "全程留痕", "demo": "演示数据",
    "change": "变更备案", "codemapping": "对码", "qualification": "资质",
    "platformconnection": "平台接入", "bankaccount": "结算账户", "paymentfreeze": "暂停拨付",
    "application": "申请", "agreement": "协议", "assessment": "年度考核", "notice": "告知书",
    "formsubmission": "表格", "waveplace": "批次", "waves": "批次看板", "signing-keys": "签名证书",
    "contact": "联系人", "office": "主管与经办机构", "physician": "医师药师",
    "practitioner": "医师登记核验", "registry": "机构登记", "import": "登记导入",
}  # fmt: skip


def act(action: str) -> str:
    """An action in Chinese."""
    return ACTS.get(action, action)


def subject(text: str) -> str:
    """A subject in Chinese: ``claim:12`` → 单据 12."""
    kind, _, key = text.partition(":")
    return f"{SUBJECTS[kind]} {key}".rstrip() if kind in SUBJECTS else text
