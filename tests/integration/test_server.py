"""Everything through a shared server: PostgreSQL, TLS, users, tokens, clients' certificates; no secret is shown."""

import base64
import http.client
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment
from tests.processes import start_pipeline
from tests.servers import HOST, Server, make_certificates, mlflow_server, postgres, postgres_installed, postgres_program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not postgres_installed(), reason="PostgreSQL is not installed (Debian: apt install postgresql)"),
]

TRAIN = ["train", "--variant", "wgan_sgd", "--data", "tiny", "--set", "batch_size=8", "--set", "max_steps=4"]
MEASURE = ["evaluate", "--real", "tiny", "--num-samples"]  # of 8 images at most
WRITER, READER, TOKEN = "correct horse battery", "staple without rights", "token-0123456789abcdef"


@dataclass
class Site:
    """A server with an administrator, a user who may write and one who may read, and a folder of theirs.

    said: all that their commands printed.
    """

    server: Server
    database: str
    folder: Path
    said: list[str] = field(default_factory=list)

    def variables(self, user: str, password: str) -> dict[str, str]:
        return self.server.client_variables | {
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }

    @property
    def writer(self) -> dict[str, str]:
        return self.variables("ada", WRITER)

    def pipeline(self, *arguments: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        logs = self.server.directory / "client-logs"
        running = start_pipeline(*arguments, cwd=self.folder, logs=logs, environment=environment() | dict(variables))
        status = running.wait()
        done = subprocess.CompletedProcess(arguments, status, running.output.read_text(), running.errors.read_text())
        self.said += [done.stdout, done.stderr]
        return done

    def works(self, *arguments: str, variables: Mapping[str, str]) -> str:
        done = self.pipeline(*arguments, variables=variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *arguments: str, variables: Mapping[str, str]) -> str:
        """Return the only line of a command that fails, but for bars of progress."""
        done = self.pipeline(*arguments, variables=variables)
        assert done.returncode == 1, done.stdout
        (line,) = [line for line in done.stderr.splitlines() if line.strip() and "|" not in line]
        assert line.startswith("Error: ")
        return line

    def add_users(self, *users: tuple[str, str, str]) -> None:
        """Run the script of docs/server.md for each, with name, permission and password."""
        (script,) = re.findall(r"```python\n(.*?create_user.*?)```", (ROOT / "docs/server.md").read_text(), re.DOTALL)
        variables, pipe = environment() | self.server.client_variables, subprocess.PIPE
        running = [
            subprocess.Popen(
                [sys.executable, "-c", script, name, permission],
                env=variables, cwd=self.folder, text=True, stdin=pipe, stdout=pipe, stderr=pipe,
            )
            for name, permission, _ in users
        ]  # fmt: skip
        for process, (_, _, password) in zip(running, users, strict=True):
            output, errors = process.communicate(f"{password}\n")
            assert process.returncode == 0, errors
            self.said += [output, errors]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("workspace")
    tls = make_certificates(directory / "tls")
    with (
        postgres(directory / "postgres") as database,
        mlflow_server(database, directory / "server", workers=2, auth=True, tls=tls) as server,
    ):
        site = Site(server, database, folder)
        site.add_users(("ada", "EDIT", WRITER), ("ben", "READ", READER))
        yield site


@pytest.fixture(scope="module")
def trained(site: Site) -> Site:
    """Return the site where somebody trained, measured and reported."""
    site.works("prepare", "--num-images", "32", "--held-out", "8", "--name", "tiny", variables=site.writer)
    site.works(*TRAIN, variables=site.writer)
    site.works("evaluate", "--variant", "wgan_sgd", "--num-samples", "16", variables=site.writer)
    site.works("report", variables=site.writer)
    return site


def test_the_server_keeps_the_artifacts_and_the_client_nothing(trained: Site) -> None:
    folders = {path.name for path in trained.folder.iterdir()}
    assert {"data", "reports"} <= folders
    assert not {name for name in folders if name.startswith("ml")}  # mlruns, mlartifacts, mlflow.db
    kept = {str(path.relative_to(trained.server.artifacts)) for path in trained.server.artifacts.rglob("*.*")}
    for name in ("config/resolved.yaml", "samples.png", "report/report.md"):
        assert any(each.endswith(f"/artifacts/{name}") for each in kept), kept
    assert any(each.startswith("1/models/") for each in kept)


def test_another_machine_needs_only_the_address(trained: Site, tmp_path: Path) -> None:
    elsewhere = Site(trained.server, trained.database, tmp_path, trained.said)
    assert "wgan_sgd" in elsewhere.works("report", variables=trained.writer)


@pytest.mark.parametrize(
    ("changes", "happened", "remedy"),
    [
        (
            {"MLFLOW_TRACKING_PASSWORD": "wrong horse battery"},
            "it does not know this user and password",
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        (
            {"MLFLOW_TRACKING_USERNAME": None, "MLFLOW_TRACKING_PASSWORD": None},
            "it does not know this user and password",
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        (
            {"MLFLOW_TRACKING_SERVER_CERT_PATH": None},
            "certificate verify failed: unable to get local issuer certificate",
            "Set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate of the authority",
        ),
        (
            {"MLFLOW_TRACKING_SERVER_CERT_PATH": "/nowhere.pem"},
            "invalid path: /nowhere.pem",
            "Check MLFLOW_TRACKING_URI (http or https?) and the files that MLFLOW_TRACKING_SERVER_CERT_PATH",
        ),
    ],
    ids=["wrong password", "no password", "unknown certificate", "no such file"],
)
def test_one_line_says_what_to_set(site: Site, changes: Mapping[str, str | None], happened: str, remedy: str) -> None:
    line = site.fails("report", variables=changed(site.writer, changes))
    assert f"The tracking store {site.server.uri} cannot be used: " in line
    assert happened in line
    assert remedy in line


def test_a_user_who_may_only_read(trained: Site) -> None:
    reader = trained.variables("ben", READER)
    assert "was done before" in trained.works(*TRAIN, variables=reader)
    for command in ([*TRAIN, "--seed", "1"], [*MEASURE, "8"]):
        line = trained.fails(*command, variables=reader)
        assert "it does not allow this user to do that (403); ask its administrator for the permission EDIT" in line
    trained.works(*MEASURE, "8", variables=reader | {"MLFLOW_EXPERIMENT_NAME": "ben's"})  # as the line says


def test_a_server_that_is_not_verified(trained: Site) -> None:
    changes = {"MLFLOW_TRACKING_SERVER_CERT_PATH": None, "MLFLOW_TRACKING_INSECURE_TLS": "true"}
    done = trained.pipeline(*TRAIN, variables=changed(trained.writer, changes))
    assert done.returncode == 0
    assert "InsecureRequestWarning" not in done.stderr  # at every request


def test_a_password_in_the_address(trained: Site) -> None:
    address = trained.server.uri.replace("//", f"//ada:{WRITER.replace(' ', '%20')}@")
    changes = {"MLFLOW_TRACKING_URI": address, "MLFLOW_TRACKING_USERNAME": None, "MLFLOW_TRACKING_PASSWORD": None}
    printed = trained.works(*MEASURE, "6", variables=changed(trained.writer, changes))
    assert re.search(rf"View run .* at: {trained.server.uri}/#/", printed)  # MLflow's own words


@contextmanager
def gate(server: Server, password: str) -> Iterator[str]:
    """Run what stands before such a server in many places: it wants a client's certificate, and a token for a password.

    Yields its address.
    """
    tls = server.certificates
    assert tls is not None
    upstream, downstream = (
        ssl.create_default_context(cafile=str(tls.authority)),
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
    )
    downstream.load_cert_chain(tls.certificate, tls.key)
    downstream.load_verify_locations(tls.authority)
    downstream.verify_mode = ssl.CERT_REQUIRED
    basic = f"Basic {base64.b64encode(f'ada:{password}'.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self.reply(401, "text/plain", b"This token is not valid.")
                return
            connection = http.client.HTTPSConnection(HOST, server.port, timeout=60, context=upstream)
            connection.request(self.command, self.path, body, dict(self.headers) | {"Authorization": basic})
            response = connection.getresponse()
            self.reply(response.status, response.headers["Content-Type"], response.read())
            connection.close()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

        def reply(self, status: int, kind: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as proxy:
        proxy.socket = downstream.wrap_socket(proxy.socket, server_side=True)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"https://{HOST}:{proxy.server_port}"
        proxy.shutdown()


def test_a_token_and_a_certificate_of_the_client(trained: Site) -> None:
    assert trained.server.certificates is not None
    with gate(trained.server, WRITER) as address:
        variables = changed(
            trained.writer,
            {
                "MLFLOW_TRACKING_URI": address,
                "MLFLOW_TRACKING_USERNAME": None,
                "MLFLOW_TRACKING_PASSWORD": None,
                "MLFLOW_TRACKING_TOKEN": TOKEN,
                "MLFLOW_TRACKING_CLIENT_CERT_PATH": str(trained.server.certificates.client),
            },
        )
        assert f"Runs: {address}/#/" in trained.works("report", variables=variables)
        line = trained.fails("report", variables=variables | {"MLFLOW_TRACKING_TOKEN": "another"})
        assert (
            "or this token (401). Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
            in line
        )
        line = trained.fails("report", variables=changed(variables, {"MLFLOW_TRACKING_CLIENT_CERT_PATH": None}))
        assert "MLFLOW_TRACKING_CLIENT_CERT_PATH" in line


def test_no_secret_was_shown_or_stored(trained: Site) -> None:
    """Runs last, after all that the tests above had printed and stored."""
    assert trained.server.password is not None
    database_password = trained.database.split(":")[2].partition("@")[0]
    secrets = [WRITER, WRITER.replace(" ", "%20"), READER, TOKEN, trained.server.password, database_password]
    secrets += [base64.b64encode(f"ada:{WRITER}".encode()).decode()]
    dump = subprocess.run(
        [str(postgres_program("pg_dump")), trained.database.replace("+psycopg", "")], capture_output=True, check=True
    ).stdout
    assert b"wgan_sgd" in dump
    files = [
        path for folder in (trained.folder, trained.server.artifacts) for path in folder.rglob("*") if path.is_file()
    ]
    contents = {"the database": dump, "the server's log": trained.server.log.read_bytes()}
    contents |= {"what was printed": "\n".join(trained.said).encode()} | {
        str(path): path.read_bytes() for path in files
    }
    assert len(contents) > 50
    for where, content in contents.items():
        assert not [secret for secret in secrets if secret.encode() in content], where


def changed(variables: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return variables of which some have another value, or, where it is None, none."""
    return {key: value for key, value in (dict(variables) | dict(changes)).items() if value is not None}
