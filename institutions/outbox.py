"""What leaves the portal: mail and webhooks. The table `Dispatch` is the queue, Celery the doorbell.

A row is taken with SKIP LOCKED and a lease, sent outside of any transaction, and tried again with
growing pauses. It may arrive twice (a worker died after sending): its `id` tells a receiver so.
A webhook is one POST without redirects to an address that was resolved and checked just before, and
connected to as checked: never into the portal's own network. (GB/T 22239 8.1.3 边界防护)
"""

import datetime as dt
import hmac
import http.client
import ipaddress
import json
import logging
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction

from audit import doorbell
from institutions import crypto
from institutions.models import Dispatch, Webhook

log = logging.getLogger("portal.outbox")
TASK = "institutions.deliver"
MOST_ATTEMPTS = 8
FIRST_PAUSE = dt.timedelta(minutes=1)  #: doubled after each failure: the eighth is two hours later
LEASE = dt.timedelta(minutes=2)
TIMEOUT = 5.0
AT_ONCE = 20
BODY_READ = 1024
SENDING = "正在发送，尚无结果"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Undelivered(Exception):
    """A message did not arrive; the text says why, for whoever registered the address."""


@dataclass(frozen=True)
class Target:
    """A webhook's address in parts."""

    secure: bool
    host: str
    port: int
    path: str


# --- Queueing ---


def mail(
    address: str, *, text: str, url: str, subject: str, at: dt.datetime
) -> Dispatch:  # fmt: skip
    """A mail that waits, not stored yet."""
    return Dispatch(
        channel=Dispatch.Channel.EMAIL, address=address, body=_body(text, url, subject, at),
        created_at=at, next_at=at,
    )  # fmt: skip


def call(
    hook: Webhook, *, text: str, url: str, subject: str, at: dt.datetime, event: str = "news"
) -> Dispatch:
    """A call of a webhook that waits, not stored yet."""
    return Dispatch(
        channel=Dispatch.Channel.WEBHOOK, webhook=hook, address=hook.url,
        body=_body(text, url, subject, at) | {"event": event}, created_at=at, next_at=at,
    )  # fmt: skip


def queue(rows: Sequence[Dispatch]) -> None:
    """Store what is to be sent; after the commit a worker is rung for."""
    if rows:
        Dispatch.objects.bulk_create(rows)
        transaction.on_commit(ring)


def ring() -> None:
    """Wake a worker."""
    doorbell.ring(TASK)


def _body(text: str, url: str, subject: str, at: dt.datetime) -> dict[str, str]:
    address = f"{settings.PORTAL_URL}{url}" if url else ""
    return {"subject": subject, "text": text, "url": address, "at": at.isoformat()}


# --- Sending ---


def deliver(*, at: dt.datetime, limit: int = AT_ONCE) -> int:
    """Send what waits, at most `limit` messages; how many arrived."""
    arrived = 0
    for _ in range(limit):
        row = _take(at)
        if row is None:
            break
        try:
            _send(row, at)
        except Undelivered as error:
            _failed(row, str(error), at)
        else:
            Dispatch.objects.filter(pk=row.pk).update(sent_at=at, next_at=None, error="")
            arrived += 1
    return arrived


def _take(at: dt.datetime) -> Dispatch | None:
    """The next message that waits, leased: nobody else takes it while it is sent."""
    with transaction.atomic():
        row = (
            Dispatch.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("webhook")
            .filter(sent_at=None, next_at__lte=at)
            .order_by("next_at", "pk")
            .first()
        )
        if row is None:
            return None
        row.attempts += 1
        row.next_at = at + LEASE if row.attempts < MOST_ATTEMPTS else None
        row.error = SENDING
        row.save(update_fields=["attempts", "next_at", "error"])
        return row


def _failed(row: Dispatch, reason: str, at: dt.datetime) -> None:
    last = row.attempts >= MOST_ATTEMPTS
    pause = FIRST_PAUSE * 2 ** (row.attempts - 1)
    Dispatch.objects.filter(pk=row.pk).update(
        next_at=None if last else at + pause, error=reason[:300]
    )
    log.warning("message %s was not delivered (attempt %s)", row.pk, row.attempts)


def _send(row: Dispatch, at: dt.datetime) -> None:
    if row.channel == Dispatch.Channel.EMAIL:
        _send_mail(row)
    elif row.webhook is None or not row.webhook.active:
        raise Undelivered("回调地址已停用")
    else:
        body = json.dumps(row.body | {"id": row.pk}, ensure_ascii=False, sort_keys=True).encode()
        post(row.address, body, signature(secret_of(row.webhook), body, at))


def _send_mail(row: Dispatch) -> None:
    text = "\n\n".join(part for part in (row.body["text"], row.body["url"]) if part)
    title = " ".join(str(row.body["text"]).split())[:80]
    try:
        send_mail(title, text, None, [row.address])
    except OSError as error:  # smtplib's errors are OSErrors
        raise Undelivered(f"邮件服务器未接收：{type(error).__name__}") from None


def secret_of(hook: Webhook) -> str:
    """The key of a webhook's signatures."""
    return crypto.decrypt(
        bytes(hook.secret_encrypted), bound_to=bound_to(hook.institution_id, hook.url)
    )


def bound_to(institution_code: str, url: str) -> str:
    """The row and field that a secret's ciphertext belongs to."""
    return f"webhook:{institution_code}:{url}"


def signature(secret: str, body: bytes, at: dt.datetime) -> str:
    """`t=…, sm3=…, sha256=…`: HMAC over the time in seconds, a full stop, and the body.

    Receivers take the digest that they know and refuse times that are not near their own.
    """
    seconds = int(at.timestamp())
    signed = b"%d.%b" % (seconds, body)
    digests = (f"{name}={hmac.new(secret.encode(), signed, name).hexdigest()}"
               for name in ("sm3", "sha256"))  # fmt: skip
    return ", ".join((f"t={seconds}", *digests))


# --- One call ---


def target(url: str) -> Target:
    """The parts of an address that may be called; Undelivered says what is wrong with it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Undelivered("地址格式不正确") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or not url.isascii():
        raise Undelivered("地址应以 https:// 开头，并且只含 ASCII 字符")
    if parts.scheme == "http" and settings.PRODUCTION:
        raise Undelivered("回调地址须使用 HTTPS")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Undelivered("地址不能包含账号、口令或片段")
    secure = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if any(c.isspace() or not c.isprintable() for c in path):
        raise Undelivered("地址不能包含空白或控制字符")
    return Target(secure, parts.hostname, port or (443 if secure else 80), path)


def resolve(place: Target) -> Address:
    """The network address of a host, refused when any of its addresses is not public.

    Networks of WEBHOOK_NETWORKS (the operator's, e.g. 医保专网) are allowed besides.
    """
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Undelivered(f"无法解析主机名{place.host}") from None
    addresses = [ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in found]
    if not addresses or not all(map(may_call, addresses)):
        raise Undelivered("地址指向内部或保留网络，不予发送")
    return addresses[0]


def may_call(address: Address) -> bool:
    """Whether an address is public, looked at through the wrappings of IPv6, or expressly allowed."""
    inner: Address = address
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or address
        if address.teredo is not None or address in NAT64:
            return False
    allowed = (ipaddress.ip_network(text) for text in settings.WEBHOOK_NETWORKS)
    if any(inner in network for network in allowed):
        return True
    return inner.is_global and not inner.is_multicast and not inner.is_reserved


NAT64 = ipaddress.ip_network("64:ff9b::/96")


def post(url: str, body: bytes, signed: str) -> None:
    """One POST; any answer but 2xx, and none within the time, is Undelivered."""
    place = target(url)
    address = resolve(place)
    connection = _Checked(place, str(address))
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "portal-webhook/1",
        "X-Portal-Signature": signed,
    }
    began = time.monotonic()
    try:
        connection.request("POST", place.path, body=body, headers=headers)
        answer = connection.getresponse()
        answer.read(BODY_READ)
    except TimeoutError:
        raise Undelivered(f"{round(time.monotonic() - began)}秒内没有答复") from None
    except ssl.SSLError:
        raise Undelivered("TLS证书或握手不正确") from None
    except (OSError, http.client.HTTPException) as error:
        raise Undelivered(f"无法连接或答复不合规：{type(error).__name__}") from None
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        raise Undelivered(f"对方答复状态码{answer.status}，不跟随跳转")


class _Checked(http.client.HTTPConnection):
    """A connection to the very address that was checked, under the host's name."""

    def __init__(self, place: Target, address: str) -> None:
        super().__init__(place.host, place.port, timeout=TIMEOUT)
        self._address, self._secure = address, place.secure
        if place.secure:
            self.default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), TIMEOUT)
        self.sock = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
            if self._secure
            else plain
        )
