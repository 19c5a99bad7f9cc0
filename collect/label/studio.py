"""Label Studio on this machine: `make label-studio`, or `python -m collect.label.studio [--port N]`.

Runs the server of `.label-studio/venv` for this machine alone, without telemetry, on data of its own.
Its password and token are made on first use, in a file that its owner alone can read.
"""

import argparse
import fcntl
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

FOLDER = Path(__file__).resolve().parents[2] / ".label-studio"
_USER = "admin@label-studio.invalid"
_FIRST_START_S = 900  # a new database takes a minute, on a busy machine several
_NAMES = ("URL", "DATA", "USER", "PASSWORD", "TOKEN", "SECRET_KEY")


class CannotStart(Exception):
    """Why the server does not run, in one line."""


@dataclass(frozen=True)
class Secrets:
    """What is needed to run the server and to speak to it."""

    url: str
    data: Path
    user: str
    password: str = field(repr=False)
    token: str = field(repr=False)
    secret_key: str = field(repr=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the server's data and secrets")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        return run(arguments.folder.resolve(), arguments.port)
    except CannotStart as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def run(folder: Path, port: int) -> int:
    """Run the server until it ends or is interrupted. One at a time on the same data, or CannotStart."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with open(folder / ".lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"Label Studio is running already on the data in {folder}") from None
        known = make_secrets(folder, port)
        print(f"starting Label Studio; the first start takes minutes; its log: {folder / 'server.log'}", flush=True)
        server = start(folder, known)
        print(f"Label Studio: {known.url}   (Ctrl-C ends it)")
        print(f"log in as {known.user}; the password is in {folder / 'secrets'}")
        print("next: python -m collect.label RECIPE push", flush=True)
        try:
            return server.wait()
        finally:
            stop(server)


def read_secrets(path: Path | None = None) -> Secrets | None:
    """The secrets of the server on this machine; None where there is none."""
    path = path or FOLDER / "secrets"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    if set(_NAMES) - set(found):
        return None
    values = [found[name] for name in _NAMES]
    return Secrets(values[0], Path(values[1]), *values[2:])


def make_secrets(folder: Path, port: int) -> Secrets:
    """The secrets in a folder, made on first use; the address is that of this start."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    old = read_secrets(folder / "secrets")
    # Not left to the server: of the keys it makes for itself, it loses those that begin with `$` at a restart.
    fresh = (_USER, secrets.token_urlsafe(15), secrets.token_hex(20), secrets.token_hex(32))
    kept = (old.user, old.password, old.token, old.secret_key) if old else fresh
    known = Secrets(f"http://127.0.0.1:{port}", folder / "data", *kept)
    lines = zip(_NAMES, (known.url, known.data, *kept), strict=True)
    part = folder / "secrets.part"
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in lines)
    os.replace(part, folder / "secrets")
    return known


def start(folder: Path, known: Secrets, program: Path | None = None) -> subprocess.Popen[bytes]:
    """Start the server and wait until it answers. Raises CannotStart.

    A busy port is found before: the server would go to the next one without a word.
    """
    program = program or FOLDER / "venv" / "bin" / "label-studio"
    port = known.url.rpartition(":")[2]
    if not program.exists():
        raise CannotStart(f"{program} is not there; run: make label-studio-install")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(port)))
        except OSError:
            raise CannotStart(f"port {port} is taken; give another: make label-studio PORT=N") from None
    known.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = folder / "files"
    files.mkdir(exist_ok=True, mode=0o700)
    command = [str(program), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", port]
    with open(folder / "server.log", "ab") as log:
        server = subprocess.Popen(
            command,
            env=environment(known, files),
            cwd=folder,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        _await(server, known, folder / "server.log")
    except BaseException:
        stop(server)
        raise
    return server


def environment(known: Secrets, files: Path) -> dict[str, str]:
    """The server's settings. Not on the command line, where every user of the machine reads them."""
    # The server also reads bare names (HOST, PORT, DEBUG, USERNAME): only what a program needs to run is passed on.
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    return kept | {
        "SECRET_KEY": known.secret_key,
        "LABEL_STUDIO_BASE_DATA_DIR": str(known.data),
        "LABEL_STUDIO_DJANGO_DB": "sqlite",
        "LABEL_STUDIO_USERNAME": known.user,
        "LABEL_STUDIO_PASSWORD": known.password,
        "LABEL_STUDIO_USER_TOKEN": known.token,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
        "LABEL_STUDIO_SENTRY_DSN": "",
        "LABEL_STUDIO_FRONTEND_SENTRY_DSN": "",
        "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        "LABEL_STUDIO_CORS_ALLOW_ALL_ORIGINS": "false",
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(files),
    }


def _await(server: subprocess.Popen[bytes], known: Secrets, log: Path) -> None:
    """Wait until the server answers to its token, which none but ours does."""
    asked = urllib.request.Request(
        f"{known.url}/api/current-user/whoami", headers={"Authorization": f"Token {known.token}"}
    )
    until = time.monotonic() + _FIRST_START_S
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < until:
        if server.poll() is not None:
            raise CannotStart(f"Label Studio ended with {server.returncode}; its last words are in {log}")
        try:
            with direct.open(asked, timeout=20) as answer:
                if json.load(answer).get("email") == known.user:
                    return
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise CannotStart(f"what answers at {known.url} is another server; give another port") from None
        except (OSError, ValueError):
            pass
        time.sleep(0.5)
    raise CannotStart(f"Label Studio did not answer within {_FIRST_START_S // 60} minutes; see {log}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and what it started."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
