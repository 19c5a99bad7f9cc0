"""Pages that are one file: they open without a network, and ask for nothing from it."""

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_HERE = Path(__file__).parent
_FONT = _HERE / "static" / "fonts" / "NotoSansTifinagh.woff2"


def render(folder: Path, template: str, **values: Any) -> str:
    """A page as HTML. `template`, in `folder`, extends `offline.html`: fonts, colours, no leave to load anything."""
    font = base64.b64encode(_FONT.read_bytes()).decode()
    return _environment(folder).get_template(template).render(font=font, **values)


@cache
def _environment(folder: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader([folder, _HERE / "templates"]), autoescape=True, undefined=StrictUndefined
    )
