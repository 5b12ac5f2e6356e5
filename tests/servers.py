"""A real PostgreSQL and a real `mlflow server` on loopback, set up as docs/server.md says."""

import http.client
import os
import pwd
import secrets
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import trustme

ADMIN = "admin"
HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 180, 20
NOT_DURABLE = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]


def postgres_program(name: str) -> Path | None:
    """Return one of PostgreSQL's programs, such as pg_dump: beside the PATH's initdb, else the newest of Debian's."""
    if initdb := shutil.which("initdb"):
        folders = [Path(initdb).resolve().parent]
    else:
        installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
        folders = sorted((each.parent for each in installed), key=lambda each: float(each.parent.name), reverse=True)
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def postgres_installed() -> bool:
    """Tell whether `postgres` can run here."""
    return postgres_program("initdb") is not None


@contextmanager
def postgres(directory: Path, *, durable: bool = False) -> Iterator[str]:
    """Run a PostgreSQL; yield the SQLAlchemy URI of its empty database `mlflow`, with user and password.

    durable: whether it waits for the disk, as it does where data matter. Its log is directory/postgres.log. It refuses
    to run as root: then its files are another user's and lie in the system's temporary folder.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    account = _unprivileged() if os.getuid() == 0 else None
    log, port, owner_password, password = directory / "postgres.log", free_port(), _secret(), _secret()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postgres-"))) if account else directory
        cluster, password_file = home / "cluster", home / "password"
        password_file.write_text(owner_password)
        if account:
            os.chown(home, account.pw_uid, account.pw_gid)
            os.chown(password_file, account.pw_uid, account.pw_gid)
        _run_program(
            "initdb", "--pgdata", str(cluster), "--username=postgres", f"--pwfile={password_file}",
            "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync", account=account,
        )  # fmt: skip
        settings = [
            "-h",
            HOST,
            "-p",
            str(port),
            "-c",
            "unix_socket_directories=",
            "-c",
            "max_connections=400",
            *([] if durable else NOT_DURABLE),
        ]
        process = subprocess.Popen(
            [str(postgres_program("postgres")), "-D", str(cluster), *settings],
            cwd="/", stdin=subprocess.DEVNULL, stdout=stack.enter_context(log.open("ab")), stderr=subprocess.STDOUT,
            start_new_session=True, **_identity(account),
        )  # fmt: skip
        stack.callback(_stop, process, signal.SIGINT)  # the fast way: it waits for nobody to disconnect
        owner = {"PGHOST": HOST, "PGPORT": str(port), "PGUSER": "postgres", "PGPASSWORD": owner_password}
        _wait_for(lambda: _accepts_connections(port), process, log)
        _run_program("psql", "postgres", variables=owner, text=f"CREATE USER mlflow PASSWORD '{password}'")
        _run_program("createdb", "--owner=mlflow", "mlflow", variables=owner)
        yield f"postgresql+psycopg://mlflow:{password}@{HOST}:{port}/mlflow"


@dataclass(frozen=True)
class Certificates:
    """Files of TLS, in PEM: who signed, what the server shows, and a client's certificate with its key."""

    authority: Path
    certificate: Path
    key: Path
    client: Path


def make_certificates(directory: Path) -> Certificates:
    """Write a server's certificate for loopback, and a client's, both signed by an authority of their own."""
    directory.mkdir(parents=True, exist_ok=True)
    made = Certificates(*(directory / f"{name}.pem" for name in ("authority", "certificate", "key", "client")))
    authority = trustme.CA()
    server, client = authority.issue_cert(HOST, "localhost"), authority.issue_cert("client@example.org")
    authority.cert_pem.write_to_path(str(made.authority))
    made.certificate.write_bytes(b"".join(each.bytes() for each in server.cert_chain_pems))
    server.private_key_pem.write_to_path(str(made.key))
    client.private_key_and_cert_chain_pem.write_to_path(str(made.client))
    return made


@dataclass
class Server:
    """An `mlflow server` that can be killed and started again; its log and artifacts are in its directory."""

    uri: str
    directory: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    certificates: Certificates | None = None
    password: str | None = None  # of the user ADMIN, where the server asks for one
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def port(self) -> int:
        """Where it listens, on HOST."""
        return int(self.uri.rpartition(":")[2])

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.directory / "server.log"

    @property
    def artifacts(self) -> Path:
        """Where it keeps the files of the runs."""
        return self.directory / "artifacts"

    @property
    def client_variables(self) -> dict[str, str]:
        """The environment variables that a client of this server needs, as its administrator."""
        variables = {"MLFLOW_TRACKING_URI": self.uri}
        if self.password:
            variables |= {"MLFLOW_TRACKING_USERNAME": ADMIN, "MLFLOW_TRACKING_PASSWORD": self.password}
        if self.certificates:
            variables |= {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(self.certificates.authority)}
        return variables

    def start(self) -> None:
        """Start it and wait until it answers. Raises RuntimeError with its log where it does not."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.directory, env=self.environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        _wait_for(self.answers, self.process, self.log)

    def answers(self) -> bool:
        """Tell whether it answers requests."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        if self.certificates:
            context = ssl.create_default_context(cafile=str(self.certificates.authority))
            context.load_cert_chain(self.certificates.client)
            connection = http.client.HTTPSConnection(HOST, self.port, timeout=5, context=context)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        return False

    def stop(self) -> None:
        """End it and its workers in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it and its workers without warning."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            _stop(self.process, number)
            self.process = None


@contextmanager
def mlflow_server(
    backend: str,
    directory: Path,
    *,
    workers: int = 1,
    auth: bool = False,
    default_permission: str = "READ",
    tls: Certificates | None = None,
    options: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run `mlflow server` with this database and proxied artifacts; yield it once it answers.

    auth: with MLflow's own authentication, its users in the same database. options, variables: more for the server.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    port, password = free_port(), _secret() if auth else None
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTEST_"))}
    environment |= server_variables(backend)
    if password:
        settings = directory / "auth.ini"
        settings.touch(mode=0o600)
        settings.write_text(auth_settings(backend, default_permission))
        environment |= auth_variables(settings, password)
    server = Server(
        f"{'https' if tls else 'http'}://{HOST}:{port}", directory,
        [sys.executable, "-m", *server_command(port, directory / "artifacts", workers, auth, tls), *options],
        environment | dict(variables or {}), tls, password,
    )  # fmt: skip
    try:
        server.start()
        yield server
    finally:
        server.stop()


def server_command(
    port: int, artifacts: Path, workers: int = 1, auth: bool = False, tls: Certificates | None = None
) -> list[str]:
    """Return the command that docs/server.md and compose.yaml have, too."""
    uvicorn = ["--timeout-graceful-shutdown", "2"]  # else it waits for clients to disconnect
    if tls:
        uvicorn += ["--ssl-certfile", str(tls.certificate), "--ssl-keyfile", str(tls.key)]
    return [
        "mlflow", "server", f"--host={HOST}", f"--port={port}", f"--workers={workers}",
        "--serve-artifacts", f"--artifacts-destination={artifacts}", *(["--app-name=basic-auth"] if auth else []),
        f"--uvicorn-opts={shlex.join(uvicorn)}",
    ]  # fmt: skip


def server_variables(backend: str) -> dict[str, str]:
    """Return the server's environment. The database is no option: everybody on the machine sees those."""
    return {
        "MLFLOW_BACKEND_STORE_URI": backend,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "40",
    }


def auth_variables(settings: Path, password: str) -> dict[str, str]:
    """Return what authentication adds to the server's environment. settings: a file of `auth_settings`."""
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": _secret(),
    }


def auth_settings(backend: str, default_permission: str) -> str:
    """Return the content of MLflow's file of settings for authentication."""
    return (
        f"[mlflow]\ndatabase_uri = {backend}\nadmin_username = {ADMIN}\n"
        f"default_permission = {default_permission}\nauth_cache_ttl_seconds = 60\n"  # a check is slow by design
    )


def free_port() -> int:
    """Return a port of HOST where nobody listens."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


def _secret() -> str:
    return secrets.token_hex(16)


class _Identity(TypedDict, total=False):
    """Arguments of subprocess for another user than ours."""

    user: int
    group: int
    extra_groups: list[int]


def _unprivileged() -> pwd.struct_passwd:
    """Return the account for a PostgreSQL that root starts."""
    accounts = {each.pw_name: each for each in pwd.getpwall()}
    return accounts.get("postgres") or accounts["nobody"]


def _identity(account: pwd.struct_passwd | None) -> _Identity:
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}


def _run_program(
    name: str,
    *arguments: str,
    account: pwd.struct_passwd | None = None,
    variables: Mapping[str, str] | None = None,
    text: str = "",
) -> None:
    """Run one of PostgreSQL's programs. Raises RuntimeError with what it said where it fails."""
    done = subprocess.run(
        [str(postgres_program(name)), *arguments], cwd="/", env=os.environ | dict(variables or {}), input=text,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **_identity(account),
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stdout}")


def _accepts_connections(port: int) -> bool:
    command = [str(postgres_program("pg_isready")), "--quiet", f"--host={HOST}", f"--port={port}"]
    return subprocess.run(command, check=False).returncode == 0


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server is ready. Raises RuntimeError with its log where it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The server did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """End the leader of a process group with a signal; what is left of the group after a while, by force."""
    if number != signal.SIGKILL:
        process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
