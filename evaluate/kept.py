"""What was measured of a clip, on disk by content: the same clip is not measured twice."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipes.provenance import write_text


class Kept:
    """Answers in a folder. Those that nobody asks for any more are removed by `forget`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: set[Path] = set()

    def get(self, content: bytes, make: Callable[[], Any]) -> Any:
        """The answer to some content, made when it is not there yet; anything that JSON holds."""
        path = self.folder / f"{hashlib.sha256(content).hexdigest()[:32]}.json"
        self.asked.add(path)
        if not path.exists():
            write_text(path, json.dumps(make(), ensure_ascii=False))
        return json.loads(path.read_text(encoding="utf-8"))

    def forget(self) -> None:
        """Remove what belongs to clips that are no longer compared."""
        for path in set(self.folder.glob("*.json")) - self.asked:
            path.unlink()
