"""Starting and stopping: private servers, `make run`, production, the compose services."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

import jsonschema
import psycopg2
import pytest
import redis
import yaml
from django.core.exceptions import ImproperlyConfigured

from config import embedded
from config import settings as settings_module
from config.embedded import Servers

# One process of xdist: these tests share servers.
pytestmark = pytest.mark.xdist_group("ops")

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 90  # seconds; generous, machines of tests are slow and shared
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SECRETS = {
    "SECRET_KEY": "aB3-dE5f" * 8,
    "FIELD_KEY": "xY7-vW9u" * 8,
    "ALLOWED_HOSTS": "portal.example",
    "POSTGRES_PASSWORD": "p1",
    "OWNER_PASSWORD": "p2",
    "APP_PASSWORD": "p3",
    "SETTLER_PASSWORD": "p4",
    "BROKER_PASSWORD": "p5",
}
PRODUCTION = {"DJANGO_ENV": "production", **{name: SECRETS[name] for name in list(SECRETS)[:3]}}
NAMED_SERVERS = ("DATABASE_URL", "DATABASE_OWNER_URL", "DATABASE_SETTLER_URL", "REDIS_URL")


def environment(**changes: str) -> dict[str, str]:
    """This environment without servers of its own, the programs of this Python first."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMED_SERVERS}
    return kept | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | changes


def run(*command: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """A command of the project run to its end; never raises."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def eventually(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_of(var: Path) -> dict[int, str]:
    """Living processes that carry this VAR_DIR or work inside it."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            inside = Path(os.readlink(entry / "cwd")).is_relative_to(var)
            carries = f"VAR_DIR={var}".encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if state != "Z" and (inside or carries):
            found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
    return found


def page(port: int) -> int:
    """Status of the health page, 0 when nobody listens."""
    request = Request(f"http://127.0.0.1:{port}/healthz", headers={"Host": "portal.example"})
    try:
        with urlopen(request, timeout=10) as answer:
            return answer.status
    except OSError:
        return 0


# --- Private servers ---


def ask(servers: Servers, role: str, question: str) -> object:
    connection = psycopg2.connect(servers.url(role))
    try:
        with connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchone()[0]
    finally:
        connection.close()


def test_two_copies_run_side_by_side_and_start_twice(tmp_path: Path) -> None:
    deep = tmp_path / ("a long name, with a comma and 汉字 " + "x" * 60)
    with Servers(tmp_path / "one") as one, Servers(deep) as other:
        one.start()
        assert one.running()
        assert other.running()
        assert one.sockets != other.sockets
        assert len(os.fsencode(other.postgres_socket)) < 107
        assert ask(one, "mip_owner", "SHOW synchronous_commit") == "on"
        assert ask(other, "mip_app", "SHOW listen_addresses") == ""
        bypass = "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolbypassrls AND NOT rolsuper"
        assert ask(one, "mip_settler", bypass) == "mip_settler"
    assert not one.running()
    assert not other.running()


def test_servers_start_again_after_kill_9(tmp_path: Path) -> None:
    servers = Servers(tmp_path / "var")

    def embedded(word: str) -> str:
        return run(sys.executable, "-m", "config.embedded", word, VAR_DIR=str(servers.var)).stdout

    assert embedded("start").startswith("running")
    for pid_file in (servers.data / "postmaster.pid", servers.queue / "valkey.pid"):
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
    assert embedded("start").startswith("running")
    assert embedded("status").startswith("running")
    assert embedded("stop").startswith("stopped")
    eventually(lambda: processes_of(servers.var) == {}, "no process is left")


def test_commands_lend_the_servers_and_the_last_one_stops_them(tmp_path: Path) -> None:
    servers = Servers(tmp_path / "var")
    with servers.lent(), Servers(servers.var).lent():
        command = (sys.executable, "manage.py", "showmigrations", "audit")
        shown = run(*command, VAR_DIR=str(servers.var), DJANGO_ENV="test")
        assert "0001_initial" in shown.stdout, shown.stderr
        assert servers.running()
    assert not servers.running()


# --- What the settings refuse ---


@pytest.mark.parametrize("word", ["maybe", "2", "Flase"])
def test_a_boolean_that_is_neither_is_refused(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANY_FLAG", word)
    with pytest.raises(ImproperlyConfigured, match="ANY_FLAG must be true or false"):
        settings_module.flag("ANY_FLAG", default=False)


@pytest.mark.parametrize(
    ("word", "value"), [("False", False), ("0", False), ("yes", True), ("", True)]
)
def test_booleans_mean_what_they_say(
    word: str, value: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANY_FLAG", word)
    assert settings_module.flag("ANY_FLAG", default=True) is value


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"DEBUG": "true"}, "Production refuses DEBUG"),
        ({"SECRET_KEY": ""}, "its own random SECRET_KEY"),
        ({"SECRET_KEY": "short"}, "its own random SECRET_KEY"),
        ({"FIELD_KEY": ""}, "its own random FIELD_KEY"),
        ({"FIELD_KEY": SECRETS["SECRET_KEY"]}, "a FIELD_KEY that differs"),
        ({"ALLOWED_HOSTS": ""}, "Production needs ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "*"}, "Production needs ALLOWED_HOSTS"),
        ({"DJANGO_ENV": "prod"}, "DJANGO_ENV must be"),
    ],
)
def test_production_refuses(changes: dict[str, str], sentence: str, var_dir: Path) -> None:
    refused = run(sys.executable, "-c", "import config.settings", **PRODUCTION | changes)
    assert refused.returncode != 0
    assert sentence in refused.stderr


# --- The compose services, outside containers ---


def interpolated(value: object, variables: Mapping[str, str]) -> object:
    """`${NAME:-default}` and `${NAME:?message}` filled in as docker compose does."""
    if isinstance(value, dict):
        return {key: interpolated(entry, variables) for key, entry in value.items()}
    if isinstance(value, list):
        return [interpolated(entry, variables) for entry in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        name, kind, text = match.groups()
        assert name in variables or kind == "-", f"{name}: {text}"
        return variables.get(name, text)

    return re.sub(r"(?<!\$)\$\{(\w+):([-?])([^}]*)\}", fill, value).replace("$$", "$")


class Deployment:
    """The compose file with its addresses turned into sockets of private servers."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.port = free_port()
        self.services = interpolated(COMPOSE["services"], {**SECRETS, "PORT": str(self.port)})

    def outside(self, text: str) -> str:
        sockets = quote(str(self.servers.sockets), safe="")
        text = text.replace("@postgres:5432/", f"@{sockets}/")
        text = re.sub(r"redis://.*@redis:6379/0", f"unix://{self.servers.valkey_socket}", text)
        return text.replace("/var/lib/portal", str(self.servers.var))

    def environment(self, service: str) -> dict[str, str]:
        named = self.services[service]["environment"]
        return {name: self.outside(value) for name, value in named.items()} | {
            "VAR_DIR": str(self.servers.var)
        }

    def healthy(self, service: str) -> bool:
        kind, *test = self.services[service]["healthcheck"]["test"]
        command = [self.outside(word) for word in test]
        command = ["sh", "-c", *command] if kind == "CMD-SHELL" else command
        return run(*command, **self.environment(service)).returncode == 0

    @contextmanager
    def process(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        child = subprocess.Popen(
            self.services[service]["command"],
            cwd=ROOT,
            env=environment(**self.environment(service)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield child
        finally:
            child.terminate()
            child.wait(PATIENCE)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with Servers(tmp_path_factory.mktemp("deployment") / "var") as servers:
        made = Deployment(servers)
        migrate = run(*made.services["migrate"]["command"], **made.environment("migrate"))
        assert migrate.returncode == 0, migrate.stderr
        yield made


def test_compose_file_obeys_the_compose_specification() -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(COMPOSE)


def test_every_service_is_watched_and_secrets_have_no_default() -> None:
    services = COMPOSE["services"]
    assert set(services) == {"postgres", "redis", "migrate", "web", "worker", "printer", "beat"}
    assert {name for name, service in services.items() if "healthcheck" not in service} == {
        "migrate"
    }
    text = (ROOT / "docker-compose.yml").read_text()
    for name in SECRETS:
        assert re.search(rf"\$\{{{name}:\?[^}}]", text), name
        assert f"${{{name}:-" not in text
    assert re.search(r"^USER portal$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("service", ["web", "worker", "printer", "beat"])
def test_service_runs_and_its_own_health_check_passes(service: str, deployment: Deployment) -> None:
    with deployment.process(service) as child:
        eventually(lambda: child.poll() is not None or deployment.healthy(service), service)
        assert child.poll() is None
    assert child.returncode == 0


def test_the_stores_run_by_their_own_commands(tmp_path: Path) -> None:
    """PostgreSQL and Valkey of the wheels, started with the words of the compose file."""
    with Servers(tmp_path / "var") as prepared:
        pass  # the cluster is made; the servers are stopped again
    port, services = free_port(), interpolated(COMPOSE["services"], SECRETS)
    store = [str(embedded._postgres_bin() / "postgres"), *services["postgres"]["command"][1:]]
    place = ["-D", str(prepared.data), "-h", "", "-k", str(prepared.sockets)]
    shell, dash, broker = services["redis"]["command"]
    broker = f"{broker} --port {port} --bind 127.0.0.1 --dir {prepared.queue}"
    programs = {"PATH": f"{embedded._valkey_binary().parent}:{os.environ['PATH']}"}
    account = embedded._account() if os.geteuid() == 0 else None
    children = [
        subprocess.Popen(
            command,
            cwd=prepared.data,
            env=os.environ | programs | services["redis"]["environment"],
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
        for command in ([*store, *place], [shell, dash, broker])
    ]
    try:
        eventually(prepared._postgres_accepts, "postgres")
        assert ask(prepared, "postgres", "SHOW synchronous_commit") == "on"
        assert ask(prepared, "postgres", "SHOW max_locks_per_transaction") == "256"
        with redis.Redis(port=port, password=SECRETS["BROKER_PASSWORD"]) as client:
            eventually(lambda: answers(client), "redis")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
        with pytest.raises(redis.AuthenticationError), redis.Redis(port=port) as stranger:
            stranger.ping()
    finally:
        for child in children:
            child.send_signal(signal.SIGINT)
            child.wait(PATIENCE)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def losing(deployment: Deployment, service: str) -> dict[str, str]:
    """A service's environment with a database that may lose acknowledged commits."""
    named = deployment.environment(service)
    return named | {
        "DATABASE_URL": named["DATABASE_URL"] + "?options=-c%20synchronous_commit%3Doff"
    }


@pytest.mark.parametrize("service", ["web", "worker"])
def test_service_refuses_a_database_that_loses_commits(
    service: str, deployment: Deployment
) -> None:
    refused = run(*deployment.services[service]["command"], **losing(deployment, service))
    assert refused.returncode != 0
    assert "synchronous_commit=off" in refused.stdout + refused.stderr


def test_deploy_check_names_a_database_that_loses_commits(deployment: Deployment) -> None:
    command = (sys.executable, "manage.py", "check", "--deploy", "--database", "default")
    assert run(*command, **deployment.environment("web")).returncode == 0
    refused = run(*command, **losing(deployment, "web"))
    assert refused.returncode != 0
    assert "portal.E001" in refused.stderr


# --- make run ---


class Portal:
    """`make run` without its set-up, in production settings so that no demonstration is made."""

    def __init__(self, var: Path, port: int) -> None:
        self.said = var.parent / f"{time.monotonic_ns()}.log"
        with self.said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "config.run"],
                cwd=ROOT,
                env=environment(**PRODUCTION, VAR_DIR=str(var), PORT=str(port)),
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.port = port

    def __enter__(self) -> "Portal":
        ended = self.process.poll
        eventually(lambda: ended() is not None or page(self.port) == 200, "the page answers")
        assert ended() is None, self.said.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE)

    def end(self, how: signal.Signals) -> str:
        """What the portal said until its orderly end."""
        self.process.send_signal(how)
        assert self.process.wait(PATIENCE) == 0, self.said.read_text()
        return self.said.read_text()


def test_run_serves_heals_stops_without_a_trace_and_serves_again(tmp_path: Path) -> None:
    var, port = tmp_path / "var", free_port()

    def workers() -> set[int]:
        return {pid for pid, words in processes_of(var).items() if "config.celery worker" in words}

    with Portal(var, port) as portal:
        eventually(workers, "a worker is there")
        first = workers()
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: workers() - first, "a killed worker is replaced")
        said = portal.end(signal.SIGINT)
    assert f"http://127.0.0.1:{port}/" in said
    assert "worker ended (-9)" in said
    assert processes_of(var) == {}

    with Portal(var, port) as portal:
        second = run(sys.executable, "-m", "config.run", **PRODUCTION, VAR_DIR=str(var))
        assert "already runs" in second.stderr
        said = portal.end(signal.SIGTERM)
    assert "manage.py" not in said  # nothing to prepare any more
    assert processes_of(var) == {}


def test_run_names_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = run(sys.executable, "-m", "config.run", VAR_DIR=str(tmp_path / "var"), PORT=port)
    assert refused.returncode == 1
    assert f"port {port} is taken" in refused.stderr


def test_persons_are_found_and_read_after_the_key_of_fields_was_changed() -> None:
    script = (
        "import sys, django; django.setup(); from institutions import crypto\n"
        "given = [bytes.fromhex(text) for text in sys.argv[1:]]\n"
        "print(crypto.person_hash('11010519491231002X').hex(), crypto.encrypt('张三', bound_to='x').hex(),"
        " *(crypto.decrypt(one, bound_to='x') for one in given))"
    )
    keys = [letter * 50 for letter in "abc"]
    settings = "config.settings"
    first, second, third = (
        {"DJANGO_SETTINGS_MODULE": settings, "FIELD_KEY": keys[k],
         "FIELD_KEYS_OLD": ",".join(reversed(keys[:k]))}
        for k in range(3)
    )  # fmt: skip
    before = run(sys.executable, "-c", script, **first).stdout.split()
    after = run(sys.executable, "-c", script, before[1], **second).stdout.split()
    last = run(sys.executable, "-c", script, before[1], after[1], **third).stdout.split()
    assert before[0] == after[0] == last[0]
    assert (after[2:], last[2:]) == (["张三"], ["张三", "张三"])
    assert len({before[1][:8], after[1][:8], last[1][:8]}) == 3  # each with its own key
