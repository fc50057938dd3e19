"""Pictures of spans along time and of ties: where everything stands, and what those read who see no picture."""

from django.template.loader import render_to_string

from audit.drawings import bipartite, spans


def test_spans_stand_where_their_time_is_and_overlaps_are_marked() -> None:
    rows = [
        {"label": "甲", "start": 540, "end": 600, "text": "09:00–10:00"},
        {"label": "乙", "start": 590, "end": 640, "text": "09:50–10:40", "tone": "d"},
    ]
    chart = spans(
        title="诊疗时间", rows=rows, ticks=[(540, "09:00"), (640, "10:40")], marks=[(590, 600)],
        legend=[{"label": "重叠", "tone": "d"}], description="10分钟重叠",
    )  # fmt: skip
    drawn = [(row["x"], row["width"], row["tone"]) for row in chart["rows"]]
    assert drawn == [("0%", "60%", "a"), ("50%", "50%", "d")]
    assert chart["marks"] == [{"x": "50%", "width": "10%"}]
    assert [tick["anchor"] for tick in chart["ticks"]] == ["start", "end"]
    page = render_to_string("components/spans.html", {"chart": chart})
    assert "style=" not in page
    assert "<title>诊疗时间</title>" in page
    assert "<desc>10分钟重叠</desc>" in page
    assert '<th scope="row">乙</th><td>09:50–10:40</td>' in page
    assert "没有可以画出的记录" in render_to_string(
        "components/spans.html", {"chart": spans(title="x", rows=[], ticks=[])}
    )


def test_ties_are_thicker_where_people_met_more_often() -> None:
    ties = {("张*", "医师一"): 6, ("李*", "医师一"): 1, ("李*", "医师二"): 3}
    chart = bipartite(
        title="就诊关系", ties=ties, sides=("参保人员", "医师"), description="两人两医师"
    )
    assert {(tie["left"], tie["right"]): tie["width"] for tie in chart["ties"]} == {
        ("张*", "医师一"): 6, ("李*", "医师一"): 1, ("李*", "医师二"): 3,
    }  # fmt: skip
    assert [node["y"] for node in chart["lefts"]] == [17, 51]
    page = render_to_string("components/bipartite.html", {"chart": chart})
    assert "style=" not in page
    assert "<desc>两人两医师</desc>" in page
    assert '<th scope="row">李*</th><td>医师二</td><td>3次</td>' in page
