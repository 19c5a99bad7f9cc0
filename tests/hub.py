"""A hub on this machine: the part of the Hugging Face hub's protocol that publishing a model speaks.

The real `huggingface_hub` talks to it, by HF_ENDPOINT. It keeps repositories in memory, knows one token, and fails on
demand: `hub.fail("commit", 503)` answers the next such request with 503.
"""

import base64
import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

TOKEN = "hf_" + "t" * 34
OWNER = "us"
_LFS = (".safetensors", ".bin", ".model")


@dataclass
class Repository:
    """One repository: its files now, its commits, and what visitors may do."""

    private: bool
    gated: str | bool = False
    files: dict[str, bytes] = field(default_factory=lambda: {".gitattributes": b"*.safetensors filter=lfs\n"})
    large: dict[str, bytes] = field(default_factory=dict)  # by SHA-256, committed or not
    commits: list[str] = field(default_factory=lambda: ["initial commit"])

    @property
    def sha(self) -> str:
        return hashlib.sha1(json.dumps([self.commits, sorted(self.files)]).encode()).hexdigest()


@dataclass
class Hub:
    """What the server knows, and what it was asked, in order."""

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failures: dict[str, list[int]] = field(default_factory=dict)
    before: dict[str, Callable[[], None]] = field(default_factory=dict)  # what happens just before a request
    lock: Lock = field(default_factory=Lock)

    def fail(self, what: str, *statuses: int) -> None:
        """Answer the next requests of a kind with these statuses. Kinds are in `_ROUTES`, and `upload`."""
        self.failures.setdefault(what, []).extend(statuses)


_ROUTES = [
    ("whoami", "GET", r"/api/whoami-v2"),
    ("yaml", "POST", r"/api/validate-yaml"),
    ("create", "POST", r"/api/repos/create"),
    ("delete", "DELETE", r"/api/repos/delete"),
    ("settings", "PUT", r"/api/models/([^/]+/[^/]+)/settings"),
    ("tree", "GET", r"/api/models/([^/]+/[^/]+)/tree/main"),
    ("preupload", "POST", r"/api/models/([^/]+/[^/]+)/preupload/main"),
    ("commit", "POST", r"/api/models/([^/]+/[^/]+)/commit/main"),
    ("squash", "POST", r"/api/models/([^/]+/[^/]+)/super-squash/main"),
    ("forget", "POST", r"/api/models/([^/]+/[^/]+)/lfs-files/batch"),
    ("large", "GET", r"/api/models/([^/]+/[^/]+)/lfs-files"),
    ("info", "GET", r"/api/models/([^/]+/[^/]+)"),
    ("batch", "POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch"),
    ("upload", "PUT", r"/lfs/([^/]+/[^/]+)/([0-9a-f]{64})"),
]


@contextmanager
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub that the real client is pointed to, logged in, and does not wait long for."""
    import huggingface_hub
    from huggingface_hub.utils import _http

    made = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    server.daemon_threads = True
    made.address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", made.address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", made.address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(_http.time, "sleep", lambda seconds: None)
    huggingface_hub.close_session()  # one of before may be offline
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Use 'content=", DeprecationWarning)  # between the client's libraries
            yield made
    finally:
        huggingface_hub.close_session()
        server.shutdown()
        thread.join()
        server.server_close()


class _Refused(Exception):
    """An answer that is no good news: status, the hub's code for it, and what else it says."""


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                with hub.lock:
                    self.reply(200, _answer(hub, self.command, urlsplit(self.path).path, body, self.headers))
            except _Refused as refused:
                status, code, *content = refused.args
                self.reply(status, content[0] if content else {"error": code or "no"}, code)

        def reply(self, status: int, content: Any, code: str | None = None) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if code:
                self.send_header("X-Error-Code", code)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = answer

    return Handler


def _answer(hub: Hub, method: str, path: str, body: bytes, headers: Any) -> Any:
    kind, names = next(
        (
            (kind, found.groups())
            for kind, verb, route in _ROUTES
            if verb == method and (found := re.fullmatch(route, path))
        ),
        ("nothing", ()),
    )
    hub.asked.append(kind)
    if what := hub.before.pop(kind, None):
        what()
    if waiting := hub.failures.get(kind):
        raise _Refused(waiting.pop(0), None)
    if kind == "nothing":
        raise _Refused(404, f"no route {method} {path}")
    if kind not in ("upload", "yaml") and headers.get("Authorization") != f"Bearer {TOKEN}":
        raise _Refused(401, None)
    if names and names[0] not in hub.repositories:
        raise _Refused(404, "RepoNotFound")
    if kind == "upload":
        return _uploaded(hub, *names, body)
    content = body if kind == "commit" else json.loads(body or b"{}")
    return _ANSWERS[kind](hub, names[0] if names else "", content)


def _create(hub: Hub, _: str, content: Any) -> Any:
    owner = content.get("organization") or OWNER
    name = f"{owner}/{content['name']}"
    if owner != OWNER:
        raise _Refused(403, None)
    if name in hub.repositories:
        raise _Refused(409, None, {"error": "You already created this model repo", "url": f"{hub.address}/{name}"})
    hub.repositories[name] = Repository(content.get("visibility") == "private")
    return {"url": f"{hub.address}/{name}", "name": name, "id": name}


def _delete(hub: Hub, _: str, content: Any) -> Any:
    if hub.repositories.pop(f"{content.get('organization') or OWNER}/{content['name']}", None) is None:
        raise _Refused(404, "RepoNotFound")
    return {}


def _settings(hub: Hub, name: str, content: Any) -> Any:
    repository = hub.repositories[name]
    repository.gated = content.get("gated", repository.gated)
    if "visibility" in content:
        repository.private = content["visibility"] == "private"
    return {}


def _info(hub: Hub, name: str, _: Any) -> Any:
    found = hub.repositories[name]
    names = [{"rfilename": file} for file in found.files]
    return {
        "id": name,
        "sha": found.sha,
        "private": found.private,
        "gated": found.gated,
        "tags": [],
        "siblings": names,
    }


def _tree(hub: Hub, name: str, _: Any) -> Any:
    return [
        {"type": "file", "path": file, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
        for file, content in hub.repositories[name].files.items()
    ]


def _preupload(hub: Hub, name: str, content: Any) -> Any:
    modes = {file["path"]: "lfs" if file["path"].endswith(_LFS) else "regular" for file in content["files"]}
    return {"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]}


def _batch(hub: Hub, name: str, content: Any) -> Any:
    """Git LFS batch API: what is here already needs no upload, and is given no address for one."""
    found: list[dict[str, Any]] = []
    for row in content["objects"]:
        one = {"oid": row["oid"], "size": row["size"], "authenticated": True}
        if row["oid"] not in hub.repositories[name].large:
            one["actions"] = {"upload": {"href": f"{hub.address}/lfs/{name}/{row['oid']}"}}
        found.append(one)
    return {"transfer": "basic", "objects": found}


def _uploaded(hub: Hub, name: str, oid: str, body: bytes) -> Any:
    if hashlib.sha256(body).hexdigest() != oid:
        raise _Refused(400, None)
    hub.repositories[name].large[oid] = body
    return {}


def _commit(hub: Hub, name: str, body: bytes) -> Any:
    """All operations of a commit, or none."""
    repository = hub.repositories[name]
    files, message = dict(repository.files), ""
    for row in map(json.loads, body.splitlines()):
        value = row["value"]
        if row["key"] == "header":
            message = value["summary"]
        elif row["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif row["key"] == "lfsFile":
            if value["oid"] not in repository.large:
                raise _Refused(400, None)
            files[value["path"]] = repository.large[value["oid"]]
        elif row["key"] == "deletedFile":
            del files[value["path"]]
    repository.files = files
    repository.commits.append(message)
    return {"commitUrl": f"{hub.address}/{name}/commit/{repository.sha}", "commitOid": repository.sha}


def _squash(hub: Hub, name: str, _: Any) -> Any:
    del hub.repositories[name].commits[:-1]
    return {}


def _large(hub: Hub, name: str, _: Any) -> Any:
    about = {"filename": "adapter_model.safetensors", "pushedAt": "2026-01-01T00:00:00.000Z", "ref": None}
    held = hub.repositories[name].large.items()
    return [about | {"fileOid": oid, "oid": oid, "size": len(content)} for oid, content in held]


def _forget(hub: Hub, name: str, content: Any) -> Any:
    for oid in content["deletions"]["sha"]:
        del hub.repositories[name].large[oid]
    return {}


_ANSWERS: dict[str, Callable[[Hub, str, Any], Any]] = {
    "whoami": lambda hub, _, content: {"name": OWNER, "type": "user", "orgs": []},
    "yaml": lambda hub, _, content: {"errors": [], "warnings": []},
    "create": _create,
    "delete": _delete,
    "settings": _settings,
    "tree": _tree,
    "preupload": _preupload,
    "commit": _commit,
    "squash": _squash,
    "forget": _forget,
    "large": _large,
    "info": _info,
    "batch": _batch,
}
