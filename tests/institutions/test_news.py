"""Telling people: inside the portal, by mail, by webhook; and never into the own network."""

import datetime as dt
import hashlib
import hmac
import http.server
import ipaddress
import json
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core import mail
from django.db import connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit.models import Event, Task
from config.celery import app
from institutions import news, outbox, webhooks
from institutions.models import Dispatch, Institution, Notification, Region, User, Webhook
from institutions.refusals import Refusal
from tests import factories
from tests.factories import ZONE
from tests.settlement.test_batch import until, worker

AT = dt.datetime(2021, 12, 20, 9, tzinfo=ZONE)
TOLD = {
    "text": "补充协议申请已受理",
    "url": "/applications/7/",
    "subject": "application:7",
    "at": AT,
}


def tell(permission: str = "applications.review", **place: str) -> int:
    where = {"region_code": "330381", "institution_code": ""} | place
    return news.tell(permission=permission, **where, **TOLD)


@pytest.fixture
def county(db) -> Region:
    factories.region("wenzhou")
    return Region.objects.create(
        code="330381", name="瑞安市", level="county", policy_region="wenzhou"
    )


def told() -> set[User]:
    return {row.user for row in Notification.objects.select_related("user")}


# --- Whom ---


def test_everybody_with_the_permission_whose_scope_covers_the_place(county: Region) -> None:
    city = factories.region("wenzhou")
    province = Region.objects.create(
        code="330000", name="浙江省", level="province", policy_region="x"
    )
    other = Region.objects.create(code="330382", name="乐清市", level="county", policy_region="x")
    fit = {factories.user("reviewer", place) for place in (county, city, province)}
    factories.user("reviewer", other)
    factories.user("reviewer", factories.region("nantong"))
    factories.user("auditor", county)
    factories.user("reviewer", county, is_active=False)
    assert tell() == 3
    assert told() == fit
    row = Notification.objects.first()
    assert (row.text, row.url, row.subject, row.at) == (
        TOLD["text"], TOLD["url"], TOLD["subject"], AT)  # fmt: skip


def test_an_institution_hears_what_is_its_own_and_nothing_of_the_agency(county: Region) -> None:
    ours, theirs = (factories.institution("wenzhou", agreements=False) for _ in range(2))
    staff = factories.user("hospital", ours)
    factories.user("hospital", theirs)
    for place in (ours, theirs):
        webhooks.register(institution=place, url="https://his.example.cn/x", by="x", at=AT)
    assert tell("applications.apply", institution_code=ours.code) == 1
    assert told() == {staff}
    assert [row.webhook.institution for row in Dispatch.objects.all()] == [ours]
    tell("applications.review", institution_code=ours.code)
    assert Dispatch.objects.count() == 1


def test_news_of_the_whole_portal_reach_every_area(db) -> None:
    people = {factories.user("reviewer", factories.region(name)) for name in factories.REGIONS}
    assert tell(region_code="") == len(factories.REGIONS)
    assert told() == people


def test_telling_costs_the_same_for_one_or_fifty(county: Region, django_assert_num_queries) -> None:
    for _ in range(50):
        factories.user("reviewer", county)
    with django_assert_num_queries(2):
        assert tell() == 50


def test_long_words_are_cut(county: Region) -> None:
    factories.user("reviewer", county)
    place = {"permission": "applications.review", "region_code": "330381", "institution_code": ""}
    news.tell(**place, **(TOLD | {"text": "很长" * 400}))
    assert Notification.objects.get().text.endswith("很…")


# --- In the portal ---


def test_the_bell_counts_and_messages_are_opened_by_their_owner(county: Region) -> None:
    mine, other = factories.user("reviewer", county), factories.user("reviewer", county)
    tell()
    tell()
    client = factories.log_in(Client(), mine)
    shown = client.get(reverse("notifications")).content.decode()
    assert 'class="bell__count" aria-hidden="true">2<' in shown
    row, foreign = (Notification.objects.filter(user=user).first() for user in (mine, other))
    assert client.post(reverse("notification", args=[foreign.pk])).status_code == 404
    assert client.post(reverse("notification", args=[row.pk]))["Location"] == TOLD["url"]
    assert 'aria-hidden="true">1<' in client.get(reverse("inbox")).content.decode()
    client.post(reverse("notifications-read"))
    assert "bell__count" not in client.get(reverse("notifications")).content.decode()
    assert news.unread(other).count() == 2
    Notification.objects.filter(user=mine).update(url="https://evil.example.com/")
    assert client.post(reverse("notification", args=[row.pk]))["Location"] == "/notifications/"
    empty = factories.log_in(Client(), factories.user("auditor", county))
    assert "没有通知" in empty.get(reverse("notifications")).content.decode()


# --- Mail ---


def test_mail_only_to_whoever_has_an_address_and_wants_it(county: Region, settings) -> None:
    settings.PORTAL_URL = "https://portal.example.cn"
    wants = factories.user("reviewer", county, email="a@example.cn", mail_news=True)
    factories.user("reviewer", county, email="b@example.cn")
    factories.user("reviewer", county, mail_news=True)
    tell()
    assert mail.outbox == []  # never inside of a command
    assert outbox.deliver(at=AT) == 1
    (sent,) = mail.outbox
    assert (sent.to, sent.subject) == ([wants.email], TOLD["text"])
    assert sent.body == f"{TOLD['text']}\n\nhttps://portal.example.cn/applications/7/"
    assert outbox.deliver(at=AT) == 0
    settings.MAIL_LEAVES = False
    tell()
    assert Dispatch.objects.count() == 1


def test_a_mail_server_that_refuses_is_asked_again(county: Region, settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", 1, False
    factories.user("reviewer", county, email="a@example.cn", mail_news=True)
    tell()
    assert outbox.deliver(at=AT) == 0
    row = Dispatch.objects.get()
    assert row.next_at == AT + outbox.FIRST_PAUSE
    assert "ConnectionRefusedError" in row.error


def test_each_chooses_mail_by_a_form(county: Region) -> None:
    user = factories.user("reviewer", county)
    client = factories.log_in(Client(), user)
    assert "没有登记邮箱" in client.get(reverse("notifications")).content.decode()
    User.objects.filter(pk=user.pk).update(email="a@example.cn")
    for sent, wanted in (({"mail": "1"}, True), ({}, False)):
        client.post(reverse("notifications-mail"), sent)
        assert User.objects.get(pk=user.pk).mail_news is wanted
    assert Event.objects.filter(action="news.mail").count() == 2


# --- Webhooks ---


class Receiver(http.server.BaseHTTPRequestHandler):
    """A hospital's system on this machine."""

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.server.calls.append((self.path, dict(self.headers), self.rfile.read(length)))
        status = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def receiver() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.calls, server.answers = [], []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def here(settings) -> None:
    """The operator allows this machine's own network, as for 医保专网."""
    settings.WEBHOOK_NETWORKS = ["127.0.0.0/8"]


def hook(server: http.server.HTTPServer, place: Institution) -> tuple[Webhook, str]:
    url = f"http://127.0.0.1:{server.server_port}/events?from=portal"
    return webhooks.register(institution=place, url=url, by="hospital", at=AT)


@pytest.fixture
def hospital(db) -> Institution:
    factories.region("wenzhou")
    return factories.institution("wenzhou", agreements=False)


def test_a_call_is_signed_over_time_and_body(hospital, receiver, here) -> None:
    made, secret = hook(receiver, hospital)
    assert tell("applications.apply", region_code="330300", institution_code=hospital.code) == 0
    moment = timezone.now()
    assert outbox.deliver(at=moment) == 1
    ((path, headers, body),) = receiver.calls
    assert path == "/events?from=portal"
    assert headers["Host"] == f"127.0.0.1:{receiver.server_port}"
    row = Dispatch.objects.get()
    assert json.loads(body) == {
        "id": row.pk, "event": "news", "text": TOLD["text"], "url": TOLD["url"],
        "subject": TOLD["subject"], "at": AT.isoformat(),
    }  # fmt: skip
    seconds, digests = headers["X-Portal-Signature"].split(", ", 1)
    signed = f"{seconds.removeprefix('t=')}.".encode() + body
    for text in digests.split(", "):
        name, _, digest = text.partition("=")
        assert hmac.new(secret.encode(), signed, name).hexdigest() == digest
    assert seconds == f"t={int(moment.timestamp())}"
    assert (row.sent_at, row.attempts, row.error) == (moment, 1, "")
    assert secret.encode() not in bytes(made.secret_encrypted)


def test_failures_are_tried_again_with_growing_pauses_and_end(hospital, receiver, here) -> None:
    made, _ = hook(receiver, hospital)
    webhooks.try_out(webhook=made, by="hospital", at=AT)
    receiver.answers = [500] * outbox.MOST_ATTEMPTS
    moment, pauses = AT, []
    for number in range(outbox.MOST_ATTEMPTS):
        assert outbox.deliver(at=moment) == 0
        row = Dispatch.objects.get()
        assert (row.attempts, "500" in row.error) == (number + 1, True)
        if row.next_at is not None:
            pauses.append(row.next_at - moment)
            assert outbox.deliver(at=row.next_at - dt.timedelta(seconds=1)) == 0
            moment = row.next_at
    assert row.next_at is None
    assert pauses == [outbox.FIRST_PAUSE * 2**n for n in range(outbox.MOST_ATTEMPTS - 1)]
    assert outbox.deliver(at=moment + dt.timedelta(days=9)) == 0
    assert len(receiver.calls) == outbox.MOST_ATTEMPTS


def test_no_redirect_is_followed(hospital, receiver, here) -> None:
    made, _ = hook(receiver, hospital)
    webhooks.try_out(webhook=made, by="hospital", at=AT)
    receiver.answers = [302]
    assert outbox.deliver(at=AT) == 0
    assert [call[0] for call in receiver.calls] == ["/events?from=portal"]
    assert "302" in Dispatch.objects.get().error


def test_a_silent_receiver_does_not_hold_the_worker(hospital, here, monkeypatch) -> None:
    monkeypatch.setattr(outbox, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        made, _ = webhooks.register(institution=hospital, url=url, by="x", at=AT)
        webhooks.try_out(webhook=made, by="x", at=AT)
        assert outbox.deliver(at=AT) == 0
    assert "没有答复" in Dispatch.objects.get().error


def test_a_wrong_certificate_or_no_tls_is_no_delivery(hospital, receiver, here) -> None:
    url = f"https://127.0.0.1:{receiver.server_port}/"
    made, _ = webhooks.register(institution=hospital, url=url, by="x", at=AT)
    webhooks.try_out(webhook=made, by="x", at=AT)
    assert outbox.deliver(at=AT) == 0
    assert "TLS" in Dispatch.objects.get().error
    assert receiver.calls == []


INNER = (
    "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001::1",
)  # fmt: skip


@pytest.mark.parametrize("text", INNER)
def test_no_call_into_inner_networks(hospital, receiver, monkeypatch, text: str) -> None:
    """Also when a public name leads there, and when only one of its addresses does."""
    assert not outbox.may_call(ipaddress.ip_address(text))
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    answers = [(socket.AF_INET, 1, 6, "", ("93.184.216.34", 80)), (family, 1, 6, "", (text, 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    made, _ = webhooks.register(institution=hospital, url="http://his.example.cn/", by="x", at=AT)
    webhooks.try_out(webhook=made, by="x", at=AT)
    assert outbox.deliver(at=AT) == 0
    assert "内部或保留网络" in Dispatch.objects.get().error


@pytest.mark.parametrize("text", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34"])
def test_public_addresses_may_be_called(text: str) -> None:
    assert outbox.may_call(ipaddress.ip_address(text))


def test_the_address_that_was_checked_is_the_one_that_is_called(
    hospital, receiver, here, monkeypatch
) -> None:
    """A name that answers differently the second time changes nothing."""
    answers = [[(socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers.pop(0))
    connected = []

    def connect(address: tuple[str, int], *_: object) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(outbox.Undelivered):
        outbox.post("http://his.example.cn:8080/x", b"{}", "")
    assert connected == [("127.0.0.1", 8080)]


@pytest.mark.parametrize("url", [
    "ftp://a.example.cn/", "https://", "https://user:word@a.example.cn/", "https://a.example.cn/#x",
    "https://a.example.cn:99999/", "https://a.example.cn/a b", "https://医院.example.cn/", "javascript:1",
])  # fmt: skip
def test_addresses_that_cannot_be_registered(hospital, url: str) -> None:
    with pytest.raises(Refusal, match="WEBHOOK_URL"):
        webhooks.register(institution=hospital, url=url, by="x", at=AT)


def test_production_calls_by_https_only(hospital, settings) -> None:
    settings.PRODUCTION = True
    with pytest.raises(Refusal, match="WEBHOOK_URL"):
        webhooks.register(institution=hospital, url="http://a.example.cn/", by="x", at=AT)
    webhooks.register(institution=hospital, url="https://a.example.cn/", by="x", at=AT)


def test_an_unknown_host_is_told_as_such(hospital, monkeypatch) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(outbox.Undelivered, match="无法解析主机名"):
        outbox.post("https://nowhere.example.cn/", b"{}", "")


def test_the_hospitals_page(hospital, receiver, here) -> None:
    staff = factories.user("hospital", hospital)
    client = factories.log_in(Client(), staff)
    url = f"http://127.0.0.1:{receiver.server_port}/events"
    assert client.post(reverse("webhooks"), {"url": "ftp://x"}).status_code == 422
    shown = client.post(reverse("webhooks"), {"url": url}).content.decode()
    secret = re.search(r'class="secret code">([\w-]{43})<', shown)[1]
    row = Webhook.objects.get()
    assert outbox.secret_of(row) == secret
    assert secret not in client.get(reverse("webhooks")).content.decode()
    assert client.post(reverse("webhooks"), {"url": url}).status_code == 409
    client.post(reverse("webhook-test", args=[row.pk]))
    assert "排队中" in client.get(reverse("webhooks")).content.decode()
    outbox.deliver(at=timezone.now())
    assert "已送达" in client.get(reverse("webhooks")).content.decode()
    assert json.loads(receiver.calls[0][2])["event"] == "test"
    other = factories.log_in(Client(), factories.user("hospital", factories.institution("wenzhou")))
    for name in ("webhook-test", "webhook-end"):
        assert other.post(reverse(name, args=[row.pk])).status_code == 404
    client.post(reverse("webhook-test", args=[row.pk]))
    client.post(reverse("webhook-end", args=[row.pk]))
    assert outbox.deliver(at=timezone.now()) == 0
    shown = client.get(reverse("webhooks")).content.decode()
    assert "已停用" in shown
    assert "未送达" in shown
    again = client.post(reverse("webhook-test", args=[row.pk]), follow=True)
    assert "该回调地址已停用" in again.content.decode()
    agency = factories.log_in(Client(), factories.user("reviewer", factories.region("wenzhou")))
    assert agency.get(reverse("webhooks")).status_code == 403
    actions = Event.objects.filter(subject=f"webhook:{row.pk}").values_list("action", flat=True)
    assert sorted(actions) == ["webhook.end", "webhook.register", "webhook.test", "webhook.test"]


def test_an_institution_has_few_addresses(hospital) -> None:
    for number in range(webhooks.MOST):
        url = f"https://a.example.cn/{number}"
        webhooks.register(institution=hospital, url=url, by="x", at=AT)
    with pytest.raises(Refusal, match="WEBHOOK_MANY"):
        webhooks.register(institution=hospital, url="https://a.example.cn/9", by="x", at=AT)


# --- Workers ---


def _deliver(at: dt.datetime) -> int:
    try:
        return outbox.deliver(at=at)
    finally:
        connections.close_all()


def test_workers_at_once_send_each_message_once(committed_db: str, receiver, here) -> None:
    factories.region("wenzhou")
    made, _ = hook(receiver, factories.institution("wenzhou", agreements=False))
    outbox.queue([
        outbox.call(made, text=str(number), url="", subject="", at=AT) for number in range(24)
    ])  # fmt: skip
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(_deliver, [AT] * 4)) == 24
    texts = [json.loads(call[2])["text"] for call in receiver.calls]
    assert sorted(texts, key=int) == [str(number) for number in range(24)]


def test_a_real_worker_delivers_and_reports_what_is_overdue(
    committed_db: str, broker: str, receiver, monkeypatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WEBHOOK_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("DEMO_TODAY", "2021-12-20")
    place = factories.region("wenzhou")
    overseer = factories.user("supervisor", place)
    made, secret = hook(receiver, factories.institution("wenzhou", agreements=False))
    Task.objects.create(
        subject="application:1", title="材料待审核", permission="applications.review",
        region_code=place.code, due=dt.date(2021, 12, 17), created_at=AT,
    )  # fmt: skip
    with worker(broker, tmp_path / "worker.log"):
        webhooks.try_out(webhook=made, by="x", at=AT)  # rings after its commit
        with app.connection_for_write() as connection:
            app.send_task("institutions.watch_overdue", connection=connection)
        until(lambda: receiver.calls and Notification.objects.filter(user=overseer).exists())
        until(lambda: Dispatch.objects.filter(sent_at__isnull=False).exists())
    assert Task.objects.filter(permission="tasks.oversee", state="open").count() == 1
    _, headers, body = receiver.calls[0]
    seconds = re.match(r"t=(\d+)", headers["X-Portal-Signature"])[1]
    signed = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert f"sha256={signed}" in headers["X-Portal-Signature"]
    assert abs(int(seconds) - timezone.now().timestamp()) < 120


def test_a_dead_broker_loses_nothing(committed_db: str, broker: str, receiver, here) -> None:
    app.conf.broker_write_url = "redis://127.0.0.1:1/0"
    factories.region("wenzhou")
    made, _ = hook(receiver, factories.institution("wenzhou", agreements=False))
    webhooks.try_out(webhook=made, by="x", at=AT)
    assert outbox.deliver(at=AT) == 1
