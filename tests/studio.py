"""A Label Studio for tests: a stand-in that answers like it, the real one, and a proxy that loses answers."""

import json
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from collect.label import studio
from tests.conftest import STUDIO


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A handler at work on a port of this machine: its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


# ---------------------------------------------------------------- the stand-in


class Fake:
    """As much of Label Studio 1.23 as push and pull use: in memory, without keys, as forgetful as the real one."""

    def __init__(self) -> None:
        self.token = secrets.token_hex(20)
        self.projects: dict[int, dict[str, Any]] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.storages: list[dict[str, Any]] = []
        self.count = 0

    def number(self) -> int:
        self.count += 1
        return self.count

    def project(self, values: dict[str, Any]) -> dict[str, Any]:
        name = self.number()
        self.projects[name] = {"id": name, "created_at": now(), "model_version": "", **values}
        return self.projects[name]

    def take(self, project: int, tasks: list[dict[str, Any]]) -> dict[str, Any]:
        for task in tasks:
            name = self.number()
            row = {"id": name, "project": project, "data": task["data"], "annotations": [], "updated_at": now()}
            self.tasks[name] = row | {"predictions": task.get("predictions") or []}
            for prediction in task.get("predictions") or []:
                self.projects[project]["model_version"] = prediction["model_version"]
        return {"task_count": len(tasks)}

    def listed(self, asked: dict[str, str]) -> dict[str, Any]:
        rows = [row for row in self.tasks.values() if row["project"] == int(asked["project"])]
        if asked.get("query"):
            since = json.loads(asked["query"])["filters"]["items"][0]["value"]
            assert re.fullmatch(
                r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", since
            )  # the real one answers 500 to others
            rows = [row for row in rows if row["updated_at"] > since]
        page, size = int(asked.get("page", 1)), int(asked["page_size"])
        found = rows[(page - 1) * size : page * size]
        return {"tasks": [row | {"total_annotations": len(row["annotations"])} for row in found], "total": len(rows)}

    def answer(self, method: str, path: str, asked: dict[str, str], body: Any) -> Any:  # noqa: C901 (a table)
        """The body of an answer, or a status alone."""
        parts = path.strip("/").split("/")[1:]
        match (method, *parts):
            case "GET", "version":
                return {"release": "1.23.2"}
            case "GET", "current-user", "whoami":
                return {"id": 1, "email": "admin@label-studio.invalid"}
            case "GET", "projects":
                found = [row for row in self.projects.values() if asked["title"] in row["title"]]
                return 404 if int(asked.get("page", 1)) > 1 else {"count": len(found), "results": found}
            case "POST", "projects":
                return self.project(body)
            case "GET" | "PATCH", "projects", name if int(name) in self.projects:
                self.projects[int(name)] |= body or {}
                return self.projects[int(name)]
            case "POST", "projects", name, "import":
                return self.take(int(name), body)
            case "GET", "tasks":
                return self.listed(asked)
            case "GET" | "PATCH", "tasks", name if int(name) in self.tasks:
                self.tasks[int(name)] |= (body | {"updated_at": now()}) if body else {}
                return self.tasks[int(name)]
            case "POST", "predictions":
                self.tasks[body["task"]]["predictions"].append(body)
                return body | {"id": self.number()}
            case "GET" | "POST", "storages", "localfiles":
                self.storages += [body] if body else []
                return body or self.storages
            case "POST", "dm", "actions":
                for name in body["selectedItems"]["included"]:
                    self.tasks.pop(name)
                return {"processed_items": len(body["selectedItems"]["included"])}
        return 404

    # What an annotator does.

    def annotate(self, clip: str, author: int = 2, **said: str) -> int:
        """Submit an annotation. Returns its number."""
        row = self.task(clip)
        made = {"id": self.number(), "completed_by": author, "result": results(said), "updated_at": now()}
        row["annotations"].append(made)
        row["updated_at"] = now()
        return int(made["id"])

    def edit(self, annotation: int, **said: str) -> None:
        for row in self.tasks.values():
            for made in row["annotations"]:
                if made["id"] == annotation:
                    made |= {"result": results(said), "updated_at": now()}
                    row["updated_at"] = now()

    def take_back(self, annotation: int) -> None:
        for row in self.tasks.values():
            if any(made["id"] == annotation for made in row["annotations"]):
                row["annotations"] = [made for made in row["annotations"] if made["id"] != annotation]
                row["updated_at"] = now()

    def task(self, clip: str) -> dict[str, Any]:
        return next(row for row in self.tasks.values() if row["data"].get("clip") == clip)

    def clips(self) -> list[str]:
        """The clip of each task, one as often as it has tasks."""
        return sorted(row["data"]["clip"] for row in self.tasks.values() if "clip" in row["data"])


@contextmanager
def fake() -> Iterator[tuple[Fake, str]]:
    """The stand-in, listening: it and its address."""
    state, one_at_a_time = Fake(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            there = urlsplit(self.path)
            asked = {key: values[0] for key, values in parse_qs(there.query).items()}
            if self.headers.get("authorization") != f"Token {state.token}" and there.path != "/api/version":
                found: Any = 401
            else:
                with one_at_a_time:
                    found = state.answer(self.command, there.path, asked, body)
            status, said = (found, {"detail": "refused"}) if isinstance(found, int) else (200, found)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("set-cookie", "sessionid=a-secret-of-the-server")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = reply

        def log_message(self, *words: Any) -> None:
            pass

    with served(Handler) as url:
        yield state, url


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def results(said: dict[str, str]) -> list[dict[str, Any]]:
    """Answers as the form sends them."""
    kinds = {"text": ("textarea", "text")}
    return [
        {"from_name": name, "to_name": "audio", "type": kind, "value": {inside: [value]}}
        for name, value in said.items()
        for kind, inside in [kinds.get(name, ("choices", "choices"))]
    ]


# ---------------------------------------------------------------- the proxy


@contextmanager
def losing(url: str, path: str, how: str = "drop") -> Iterator[tuple[str, list[str]]]:
    """A proxy that passes a request on to a path once and loses its answer: its address, and what went through.

    `how`: `drop` closes the connection, `502` answers that.
    """
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {key: value for key, value in self.headers.items() if key.lower() != "host"}
            answer = httpx.request(self.command, url + self.path, content=body, headers=headers, timeout=60)
            here = f"{self.command} {urlsplit(self.path).path}"
            seen.append(here)
            if here == path and seen.count(here) == 1:
                if how == "drop":
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(502)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            self.send_response(answer.status_code)
            self.send_header("content-type", answer.headers.get("content-type", "text/plain"))
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PATCH = do_DELETE = reply

        def log_message(self, *words: Any) -> None:
            pass

    with served(Handler) as here:
        yield here, seen


# ---------------------------------------------------------------- the real one


class Real:
    """The real server, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = studio.make_secrets(folder, free_port())
        self.start()

    def start(self) -> None:
        self.server = studio.start(self.folder, self.secrets, STUDIO)

    def stop(self) -> None:
        studio.stop(self.server)

    @property
    def url(self) -> str:
        return self.secrets.url

    def join(self, email: str, password: str) -> httpx.Client:
        """Become an annotator as people do, through the link of an invitation. Returns their logged-in client."""
        headers = {"Authorization": f"Token {self.secrets.token}"}
        invite = httpx.get(f"{self.url}/api/invite", headers=headers).json()["invite_url"]
        person = httpx.Client(base_url=self.url, follow_redirects=True, timeout=60)
        link = urlsplit(invite)
        page = person.get(f"{link.path}?{link.query}")
        form = {"email": email, "password": password, "csrfmiddlewaretoken": person.cookies["csrftoken"]}
        person.post(f"{link.path}?{link.query}", data=form, headers={"Referer": str(page.url)})
        assert person.get("/api/current-user/whoami").json()["email"] == email
        return person

    def annotate(self, person: httpx.Client, task: int, **said: str) -> int:
        """Submit an annotation as an annotator."""
        headers = {"X-CSRFToken": person.cookies["csrftoken"], "Referer": self.url}
        made = person.post(f"/api/tasks/{task}/annotations/", json={"result": results(said)}, headers=headers)
        assert made.status_code == 201, made.text
        return int(made.json()["id"])
