"""Label Studio, spoken to through its SDK: the project, its tasks, and its faults in one line each."""

import fcntl
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collect.label.studio import read_secrets
from collect.label.task import INSTRUCTION, moment
from recipes.schema import Label, Recipe, UserError

if TYPE_CHECKING:
    from label_studio_sdk import LabelStudio

ENVIRONMENT = "LABEL_STUDIO_API_KEY"
_TIMEOUT_S = 120
_BATCH = 250  # tasks in one request
_PAGE = 1000
_PAUSE_S = 2.0  # before looking what became of a request whose answer was lost
_UNSURE = (502, 503, 504)  # what a proxy says when it lost the server's answer


@dataclass(frozen=True)
class Task:
    """A task on the server."""

    id: int
    clip: str
    audio: str
    draft: str
    annotations: int


@dataclass(frozen=True)
class Changed:
    """A task that changed, with all its annotations. `mark` tells it from every other task of any server."""

    mark: str
    clip: str
    at: datetime
    annotations: list[dict[str, Any]]


@dataclass(frozen=True)
class Project:
    """An open project. `mark` tells it from every other, also from one of a server set up anew."""

    client: "LabelStudio"
    id: int
    mark: str
    url: str
    version: str  # of the drafts that annotators see
    form: str

    def tasks(self) -> list[Task]:
        """The tasks that hold a clip, by id; others are not ours."""
        include = "id,data,total_annotations"
        found = self.client.tasks.list(project=self.id, fields="task_only", include=include, page_size=_PAGE)
        rows = [(task.id, task.data or {}, task.total_annotations or 0) for task in found]
        ours = [
            Task(int(name), data["clip"], str(data.get("audio")), str(data.get("draft")), int(annotations))
            for name, data, annotations in rows
            if isinstance(data, dict) and isinstance(data.get("clip"), str)
        ]
        return sorted(ours, key=lambda task: task.id)

    def changed(self, since: datetime | None) -> Iterator[Changed]:
        """The tasks that changed since a time; all of them without one.

        A task changes with its annotations: when one is made, edited, or deleted.
        """
        query = None
        if since:
            value = since.strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # with an offset in digits the server answers 500
            item = {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime", "value": value}
            query = json.dumps({"filters": {"conjunction": "and", "items": [item]}})
        for task in self.client.tasks.list(project=self.id, fields="all", query=query, page_size=_PAGE):
            data = task.data if isinstance(task.data, dict) else {}
            if isinstance(data.get("clip"), str) and task.updated_at:
                annotations = [plain(annotation) for annotation in task.annotations or []]
                # The SDK gives times as text where an answer fits none of its types.
                yield Changed(f"{self.mark}:{task.id}", data["clip"], moment(task.updated_at), annotations)

    def add(self, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Import tasks. The server knows no unique key: after a lost answer, what arrived is looked up first.

        A request that may have been carried out is never sent again as it is (SDK: `max_retries` is 0).
        """
        missing = list(tasks)
        for last in (False, True):
            try:
                self.client.projects.import_tasks(id=self.id, request=missing, request_options={"max_retries": 0})
                return
            except _lost() as error:
                if getattr(error, "status_code", 502) not in _UNSURE:
                    raise
                time.sleep(_PAUSE_S)
                there = {task.clip for task in self.tasks()}
                missing = [task for task in missing if task["data"]["clip"] not in there]
                if not missing:
                    return
                if last:
                    raise

    def revise(self, task: Task, data: Mapping[str, Any]) -> None:
        """Write a task's data anew; its annotations stay."""
        self.client.tasks.update(str(task.id), data=dict(data))

    def draft(self, task: Task, prediction: Mapping[str, Any]) -> None:
        """Give a task another draft."""
        self.client.predictions.create(task=task.id, **prediction)

    def check(self, predictions: Iterable[Mapping[str, Any]]) -> None:
        """Raise UserError for a draft that the form does not hold: the server takes any, and shows it empty."""
        from label_studio_sdk.label_interface import LabelInterface

        form = LabelInterface(self.form)
        for prediction in predictions:
            if faults := form.validate_prediction(dict(prediction), return_errors=True):
                raise UserError(f"a draft does not fit the form of {self.url}: {faults[0]}")

    def show(self, version: str) -> None:
        """Let annotators start from the drafts of a version, which must be there."""
        if version != self.version:
            self.client.projects.update(self.id, model_version=version)

    def delete(self, tasks: Sequence[int]) -> None:
        """Delete tasks with their annotations, drafts and predictions."""
        for start in range(0, len(tasks), _BATCH):
            selected = {"all": False, "included": list(tasks[start : start + _BATCH])}
            self.client.actions.create(id="delete_tasks", project=self.id, selected_items=selected)

    def serve_files(self, folder: Path) -> None:
        """Allow the server to serve the files of a folder to this project's annotators."""
        storages = self.client.import_storage.local
        if str(folder) not in {storage.path for storage in storages.list(project=self.id)}:
            storages.create(project=self.id, path=str(folder), use_blob_urls=True, title="twiza")

    def has(self, task: int) -> bool:
        """Whether the server still answers to a task's number."""
        from label_studio_sdk.core.api_error import ApiError

        try:
            self.client.tasks.get(str(task))
        except ApiError as error:
            if error.status_code == 404:
                return False
            raise
        return True


@contextmanager
def alone(recipe: Recipe) -> Iterator[None]:
    """One push or pull at a time, or UserError."""
    with open(recipe.folder("collect") / ".label.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("another push or pull of this recipe is at work; wait for it to end") from None
        yield


@contextmanager
def open_project(recipe: Recipe, form: str | None = None) -> Iterator[Project]:
    """The recipe's project, found by its title; with a form it is made, or brought up to date.

    Raises UserError, then and while it is open: no server, no Label Studio, a bad token, no project.
    """
    if sys.version_info >= (3, 14):
        raise UserError("label-studio-sdk does not run on Python 3.14 yet; use Python 3.11 to 3.13 for collect.label")
    import httpx
    from label_studio_sdk import LabelStudio

    settings = recipe.collect.label
    url, key = address(settings), token(settings)
    with told(url), httpx.Client(timeout=_TIMEOUT_S, follow_redirects=True) as http:
        client = LabelStudio(base_url=url, api_key=key, timeout=_TIMEOUT_S, max_retries=0, httpx_client=http)
        _greet(client, url)
        yield _found(client, recipe, form)


def _greet(client: "LabelStudio", url: str) -> None:
    """Make sure that it is Label Studio that answers, and that it knows the token."""
    from label_studio_sdk.core.api_error import ApiError

    try:
        release = getattr(client.versions.get(), "release", None)
    except ApiError as error:
        if error.status_code is None or not 400 <= error.status_code < 500 or error.status_code in (401, 403):
            raise
        release = None
    if not release:
        raise UserError(_no_api(url))
    client.users.whoami()


def _found(client: "LabelStudio", recipe: Recipe, form: str | None) -> Project:
    settings = recipe.collect.label
    title = settings.project or recipe.name
    found = [project for project in client.projects.list(title=title) if project.title == title]
    if len(found) > 1:
        raise UserError(f"Label Studio has {len(found)} projects named `{title}`; give collect.label.project")
    if not found and form is None:
        raise UserError(f"Label Studio has no project `{title}` yet; run: python -m collect.label RECIPE push")
    wanted: dict[str, Any] = {
        "label_config": form,
        "maximum_annotations": settings.annotators,
        "show_collab_predictions": settings.drafts != "none",
    }
    if not found:
        shown = {"expert_instruction": INSTRUCTION, "show_instruction": True}
        made: Any = client.projects.create(title=title, **wanted, **shown)
    else:
        made = client.projects.get(found[0].id)
        if form is not None and any(getattr(made, key) != value for key, value in wanted.items()):
            client.projects.update(made.id, **wanted)
    return _project(client, address(settings), made, form)


def _project(client: "LabelStudio", url: str, made: Any, form: str | None = None) -> Project:
    mark = f"ls:{made.id}@{moment(made.created_at):%Y%m%dT%H%M%S%f}"
    config = form or made.label_config or ""
    return Project(client, int(made.id), mark, f"{url}/projects/{made.id}", made.model_version or "", config)


def former(project: Project, mark: str) -> Project | None:
    """An earlier project on the same server, by its mark; None when it is no longer there."""
    from label_studio_sdk.core.api_error import ApiError

    name = mark.removeprefix("ls:").partition("@")[0]
    try:
        made = project.client.projects.get(int(name))
    except ApiError as error:
        if error.status_code == 404:
            return None
        raise
    found = _project(project.client, project.url.rpartition("/projects/")[0], made)
    return found if found.mark == mark else None


def address(settings: Label) -> str:
    """The server's address, without a stroke at its end."""
    return settings.url.rstrip("/")


def token(settings: Label) -> str:
    """The token, from the environment or from the secrets of the server that `make label-studio` started.

    Those are for that server alone. Raises UserError when there is none.
    """
    if given := os.environ.get(ENVIRONMENT, "").strip():
        if not re.fullmatch(r"[!-~]+", given):
            raise UserError(f"{ENVIRONMENT} in the environment holds letters that no token has")
        return given
    secrets = read_secrets(settings.secrets)
    if secrets and secrets.url == address(settings):
        return secrets.token
    raise UserError(
        f"no token for Label Studio at {address(settings)}: put one in the environment as {ENVIRONMENT} "
        "(Label Studio shows it under Account & Settings), or start a server with: make label-studio"
    )


def data_dir(settings: Label) -> Path | None:
    """Where the server keeps its files, if it is on this machine and that is known."""
    secrets = read_secrets(settings.secrets)
    return settings.data_dir or (secrets.data if secrets and secrets.url == address(settings) else None)


def purge_exports(folder: Path, project: int) -> int:
    """Delete what exports of a project left on the server's disk; the server itself keeps them for ever."""
    found = [*(folder / "export").glob(f"project-{project}-at-*"), *(folder / "export").glob(f"{project}-*")]
    found += (folder / "media" / "export" / str(project)).glob("**/*")
    files = [path for path in found if path.is_file()]
    for path in files:
        path.unlink()
    return len(files)


# ---------------------------------------------------------------- faults


@contextmanager
def told(url: str) -> Iterator[None]:
    """Turn the SDK's errors into one line. Theirs hold headers, and so cookies: nothing of them is shown."""
    import httpx
    from label_studio_sdk.core.api_error import ApiError

    try:
        yield
    except ApiError as error:
        raise UserError(_refusal(url, error.status_code, error.body)) from None
    except json.JSONDecodeError:
        raise UserError(_no_api(url)) from None
    except httpx.TimeoutException:
        raise UserError(f"Label Studio at {url} did not answer within {_TIMEOUT_S} s; run the same again") from None
    except httpx.ConnectError:
        raise UserError(
            f"Label Studio does not answer at {url}: start it (make label-studio), or mend collect.label.url"
        ) from None
    except (httpx.TransportError, httpx.InvalidURL):
        raise UserError(f"the connection to Label Studio at {url} broke off; run the same again") from None


def _refusal(url: str, status: int | None, body: Any) -> str:
    if status in (401, 403):
        return f"Label Studio at {url} does not accept the token ({status}); make another one, see {ENVIRONMENT}"
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
    if status is None or status < 300 or (status == 404 and "<html" in text.lower()):
        return _no_api(url)
    return f"Label Studio at {url} answers {status}: {' '.join(text.split())[:300]}"


def _no_api(url: str) -> str:
    return f"what answers at {url} is not Label Studio; mend collect.label.url"


def _lost() -> tuple[type[Exception], ...]:
    """Errors after which a request may have been carried out, or not; a slow server may still be at it."""
    import httpx
    from label_studio_sdk.core.api_error import ApiError

    return (httpx.NetworkError, httpx.RemoteProtocolError, ApiError)


def plain(item: Any) -> dict[str, Any]:
    """A row of the SDK as a plain mapping."""
    dump: Callable[[], dict[str, Any]] | None = getattr(item, "model_dump", None)
    return dict(dump() if dump else item)
