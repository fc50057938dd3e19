"""全程留痕摘录: events of a span with their place in the sealed log and the proof of inclusion.

Every proof leads from the leaf to the root of the printed checkpoint. The sealed entries travel in the
paper as a bundle (bundle.jsonl) that audit/verify.py checks without the portal.
(RFC 9162；通医保发〔2020〕25号 三（四）)
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from audit import bundles, clock, proofs, words
from audit import trail as log
from audit.forms import about
from audit.models import Checkpoint, Event, Leaf
from institutions.models import User
from institutions.refusals import refused
from supervision.reports.book import Book, Column
from supervision.reports.wish import Wish

MOST = 5_000  #: entries of one extract
PROVEN = 1_000  #: proofs asked for at once
SHOWN = 8  #: letters of a hash in the register


def gather(wish: Wish, user: User) -> dict[str, Any]:
    """The events in the order of their time, with their leaves; proofs under the newest checkpoint."""
    rows = _events(wish, user)
    count = rows.count()
    if count > MOST:
        raise refused("until", "TOO_MANY", f"期间内有{count:,}条，超过{MOST:,}条，请缩短期间",
                      "too many entries")  # fmt: skip
    events = list(rows.order_by("at", "id"))
    checkpoint = log.checkpoint()
    places = dict(
        Leaf.objects.filter(event__in=[row.pk for row in events]).values_list("event", "seq")
    )
    sealed = checkpoint.size if checkpoint else 0
    proven = [(row, places[row.pk]) for row in events if places.get(row.pk, sealed) < sealed]
    paths = _paths([seq for _, seq in proven], checkpoint)
    return {
        "size": sealed, "root": bytes(checkpoint.root).hex() if checkpoint else "",
        "checkpoint": checkpoint.text if checkpoint else "", "example": False,
        "bundle": _bundle([seq for _, seq in proven], checkpoint, user),
        "rows": [_row(row, places.get(row.pk), paths) for row in events],
    }  # fmt: skip


def _events(wish: Wish, user: User) -> Any:
    begin, end = (
        dt.datetime.combine(day, dt.time.min, tzinfo=clock.ZONE)
        for day in (wish.since, wish.until + dt.timedelta(days=1))
    )
    rows = wish.within(Event.objects.visible_to(user)).filter(at__gte=begin, at__lt=end)
    return rows.filter(about(wish.subject)) if wish.subject else rows


def _paths(seqs: Sequence[int], checkpoint: Checkpoint | None) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for first in range(0, len(seqs), PROVEN):
        part = seqs[first : first + PROVEN]
        if checkpoint is not None and part:
            try:
                kept = proofs.inclusions(part, checkpoint.size, alg=checkpoint.alg)
            except proofs.MissingNodeError as error:
                detail = "留痕日志缺少计算证明所需的哈希，请报告审计管理员"
                raise refused(
                    "until", "LOG_BROKEN", detail, "a hash is gone", status=409
                ) from error
            found |= {
                seq: [node.hex() for node in path] for seq, path in zip(part, kept, strict=True)
            }
    return found


def _bundle(seqs: Sequence[int], checkpoint: Checkpoint | None, user: User) -> str:
    """The sealed entries as verify.py reads them; dated as the checkpoint, so that it stays the same."""
    if checkpoint is None:
        return ""
    lines = bundles.selection(seqs=seqs, top=checkpoint, by=user.username, at=checkpoint.at)
    return "".join(lines)


def _row(row: Event, seq: int | None, paths: Mapping[int, list[str]]) -> dict[str, Any]:
    path = paths.get(seq) if seq is not None else None
    return {
        "id": str(row.pk), "at": f"{clock.local(row.at):%Y-%m-%d %H:%M:%S}", "actor": row.actor,
        "action": row.action, "subject": row.subject, "outcome": row.outcome, "alg": row.alg,
        "leaf": bytes(row.leaf).hex(), "seq": seq, "proof": path,
    }  # fmt: skip


def lay(figures: Mapping[str, Any], book: Book) -> None:
    """How many and by whom, how to check, then every entry."""
    rows = figures["rows"]
    proven = sum(1 for row in rows if row["proof"] is not None)
    book.heading("摘录说明")
    book.text(
        f"本摘录共{len(rows):,}条事件，其中{proven:,}条已封存并附包含证明；检查点条数"
        f"{figures['size']:,}。尚未封存的事件以“待封存”标注，下一检查点后可再次摘录。"
    )
    book.text(
        "每条事件的叶子摘要为SM3（0x00‖事件正文），包含证明自叶子逐级计算至检查点树根（RFC 9162）。"
        "已封存的事件连同证明和签名检查点作为 bundle.jsonl 内嵌于本文件，取出后可用门户提供的核验程序"
        "（verify.py）离线核验。"
    )
    book.heading("事件分布")
    counted: dict[str, int] = {}
    for row in rows:
        counted[row["action"]] = counted.get(row["action"], 0) + 1
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    book.grid(
        "按动作统计", ["动作", "代码", "条数"],
        [[words.act(action), action, f"{number:,}"] for action, number in ordered],
        align="lxr", unit="单位：条",
    )  # fmt: skip
    book.list_rows(
        "事件与包含证明",
        [Column("序号", 14, "c"), Column("时间", 32, "c"), Column("操作人", 28), Column("动作", 34),
         Column("对象", 44), Column("结果", 14, "c"), Column("日志位置", 20, "r"),
         Column("叶子摘要（SM3）前后各八位", 44, "x"), Column("证明", 18, "c")],
        [[str(number), row["at"], row["actor"], words.act(row["action"]), words.subject(row["subject"]),
          "成功" if row["outcome"] == "ok" else "未成功",
          f"{row['seq']:,}" if row["seq"] is not None else "待封存",
          f"{row['leaf'][:SHOWN]}…{row['leaf'][-SHOWN:]}",
          f"{len(row['proof'])}级" if row["proof"] is not None else "—"]
         for number, row in enumerate(rows, 1)],
    )  # fmt: skip
