"""Copies of audio for a team on one machine: Label Studio serves them itself, from a folder that it may read.

Unlike with signed links the vault is then not the only copy, and a withdrawn clip plays until the next push.
"""

import os
from pathlib import Path

from collect.label.audio import Source
from collect.label.server import Project, address
from collect.label.studio import read_secrets
from collect.ledger import Ledger
from recipes.records import Clip
from recipes.schema import Label, UserError


def document_root(settings: Label) -> Path | None:
    """The folder whose files the server serves (its LOCAL_FILES_DOCUMENT_ROOT), where it is known."""
    secrets = read_secrets(settings.secrets)
    ours = secrets.data.parent / "files" if secrets and secrets.url == address(settings) else None
    return settings.files_dir or ours


def copies(project: Project, ledger: Ledger, settings: Label) -> Source:
    """Audio as files in a folder of the project, which Label Studio is told of. Raises UserError without one."""
    root = document_root(settings)
    if root is None or not root.is_dir():
        raise UserError(
            "collect.label.audio: files needs the folder that Label Studio serves files from; give "
            "collect.label.files_dir (the server's LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT)"
        )
    folder = _folder(root, project)
    folder.mkdir(exist_ok=True, mode=0o700)
    project.serve_files(folder)

    def link(clip: Clip) -> str:
        path = folder / f"{clip.id}.flac"
        part = folder / f".{clip.id}.{os.getpid()}"
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(ledger.flac(clip, "store_prepare"))
        os.replace(part, path)
        return _address(folder, clip.id)

    def lasts(clip: str, audio: str) -> bool:
        return audio == _address(folder, clip) and (folder / f"{clip}.flac").is_file()

    return Source(link, lasts)


def clear(project: Project, settings: Label, keep: set[str]) -> int:
    """Delete the copies of all clips but those to keep. How many there were."""
    root = document_root(settings)
    if root is None:
        return 0
    gone = [path for path in _folder(root, project).glob("*.flac") if path.stem not in keep]
    for path in gone:
        path.unlink()
    return len(gone)


def _folder(root: Path, project: Project) -> Path:
    return root / f"project-{project.id}"


def _address(folder: Path, clip: str) -> str:
    return f"/data/local-files/?d={folder.name}/{clip}.flac"
