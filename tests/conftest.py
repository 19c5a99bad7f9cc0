"""What several test files share: the skip for a tool that a machine lacks, and where development data lie."""

import importlib.util
import shutil
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pluggy
import pytest

from tests import postgres

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"  # data for development; not part of the product

_INSTALL = {
    "chromium": "apt install chromium",
    "ffmpeg": "apt install ffmpeg",
    "espeak-ng": "apt install espeak-ng",
    "g++": "apt install g++",
    "initdb": "apt install postgresql",
    "label-studio": "make label-studio-install",
    "resemblyzer": "make voices",
    "ray": "pip install ray==2.60.0",
    "tensorboard": "pip install tensorboard",
    "openai": "pip install openai",
    "onnxscript": "pip install onnxscript==0.7.2",
    "c2pa": "pip install c2pa-python==0.38.1",
    "perth": "pip install resemble-perth==1.0.1",
    "audioseal": "pip install audioseal==0.2.0",
}
STUDIO = ROOT / ".label-studio" / "venv" / "bin" / "label-studio"


def needs(tool: str) -> pytest.MarkDecorator:
    """Skip a test where a program is not installed, with the command that installs it."""
    elsewhere = {
        "initdb": lambda: postgres.program(tool),
        "label-studio": lambda: STUDIO.exists() or None,
        "resemblyzer": lambda: importlib.util.find_spec(tool),
        "ray": lambda: importlib.util.find_spec(tool),
        "tensorboard": lambda: importlib.util.find_spec(tool),
        "openai": lambda: importlib.util.find_spec(tool),
        "onnxscript": lambda: importlib.util.find_spec(tool),
        "c2pa": lambda: importlib.util.find_spec(tool),
        "perth": lambda: importlib.util.find_spec(tool),
        "audioseal": lambda: importlib.util.find_spec(tool),
    }
    found = elsewhere.get(tool, lambda: shutil.which(tool))()
    return pytest.mark.skipif(found is None, reason=f"needs {tool}: {_INSTALL[tool]}")


def needs_shared(path: str) -> pytest.MarkDecorator:
    """Skip a test where the development data are not there."""
    return pytest.mark.skipif(not (SHARED / path).exists(), reason=f"development data {path} not here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-tools", action="store_true", help="fail where a tool is missing, do not skip")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pluggy.Result[pytest.TestReport], None]:
    """With --require-tools, a test that was skipped for a missing tool fails."""
    outcome = yield
    report = outcome.get_result()
    if item.config.getoption("--require-tools") and report.skipped and "needs " in str(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped for a missing tool: {report.longrepr[2] if report.longrepr else ''}"


@pytest.fixture(scope="module", autouse=True)
def small_numbers_again() -> Iterator[None]:
    """Training tells the processor to take the smallest numbers for zero; the next file's tests get them back."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server that runs for these tests."""
    with postgres.server() as url:
        yield url
