"""Report a claim over REST, with nothing but Python's own library.

    python report.py HOST_OF_THE_PORTAL CLIENT_ID CLIENT_SECRET claim.json

The same Idempotency-Key may be sent again after a broken connection: the claim is taken once.
"""

import json
import sys
from http.client import HTTPSConnection
from pathlib import Path
from urllib.parse import urlencode


def post(host: str, path: str, body: bytes, headers: dict[str, str]) -> dict:
    """POST and read JSON; a refusal is read, too: it is a problem (RFC 9457)."""
    connection = HTTPSConnection(host, timeout=30)
    connection.request("POST", path, body, headers)
    return json.load(connection.getresponse())


def token_of(host: str, client_id: str, client_secret: str) -> str:
    """A token for claims; ask again when it has expired."""
    grant = {
        "grant_type": "client_credentials", "scope": "claims:write",
        "client_id": client_id, "client_secret": client_secret,
    }  # fmt: skip
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    return post(host, "/api/v1/oauth/token", urlencode(grant).encode(), kind)["access_token"]


def report(host: str, token: str, claim: dict) -> dict:
    """Report one claim; its answer holds decision, reason, amounts and clauses of every line."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Idempotency-Key": claim["claim_no"],
        "Content-Type": "application/json",
    }
    return post(host, "/api/v1/claims", json.dumps(claim).encode(), headers)


if __name__ == "__main__":
    host, name, secret, file = sys.argv[1:]
    given = json.loads(Path(file).read_text(encoding="utf-8"))
    answer = report(host, token_of(host, name, secret), given)
    sys.stdout.write(json.dumps(answer, ensure_ascii=False, indent=1) + "\n")
