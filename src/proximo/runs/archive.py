"""A run in one file: a `.zip` of the same YAML, JSON and safetensors, for whoever wants to copy a model.

Every command that takes a run takes such a file. It holds the run's settings, its curves and the checkpoints that
were chosen (the last and the best, say); nothing in it is pickled, and only these files are ever read from it.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
import time
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from proximo.errors import RunError, UserError
from proximo.runs.files import safe_name, sync_folder, writing

EXPERIMENT_FILE = "experiment.yaml"
_HEAD = (EXPERIMENT_FILE, "provenance.json", "status.json", "best", "last", "progress.csv", "events.jsonl")
_CHECKPOINT = re.compile(r"checkpoints/\d+/(state\.json|[A-Za-z0-9._%+@~-]+\.safetensors)")
_unpacked: dict[tuple[str, int, int], Path] = {}


def is_archive(path: Path) -> bool:
    """Whether `path` is a zip file with a run in it."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as file:
            return EXPERIMENT_FILE in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def pack(archive: Path, files: Mapping[str, Path | bytes]) -> Path:
    """Write `archive` from name → file or content, in one go: a reader sees the old or the new one, never half.

    Raises: RunError where it cannot be written.
    """
    temporary = archive.with_name(f".{archive.name}.tmp-{os.getpid()}")
    with writing(archive):
        archive.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as raw:
                with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as file:
                    for name, content in files.items():
                        data = content if isinstance(content, bytes) else content.read_bytes()
                        file.writestr(name, data)
                raw.flush()
                os.fsync(raw.fileno())
            os.replace(temporary, archive)
            sync_folder(archive.parent)
        finally:
            temporary.unlink(missing_ok=True)
    return archive


def pack_run(archive: Path, run: Path, folders: Sequence[Path]) -> Path:
    """Write a run's settings, curves and these of its checkpoint folders as `archive`."""
    files: dict[str, Path | bytes] = {name: run / name for name in _HEAD if (run / name).is_file()}
    for folder in folders:
        files |= {f"checkpoints/{folder.name}/{file.name}": file for file in sorted(folder.iterdir())}
    return pack(archive, files)


def opened(archive: Path) -> Path:
    """The run in `archive`, unpacked into a temporary folder that goes with this process.

    Raises: UserError where it is damaged, or holds what no run of ours has; RunError (disk full).
    """
    status = archive.stat()
    key = (str(archive.resolve()), status.st_mtime_ns, status.st_size)
    if key not in _unpacked:
        with writing(Path(os.environ.get("TMPDIR", "/tmp"))):
            folder = Path(tempfile.mkdtemp(prefix="proximo-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _unpack(archive, folder)
        _unpacked[key] = folder
    return _unpacked[key]


def restored(archive: Path, parent: Path) -> Path:
    """The run in `archive` as a run's folder of its own below `parent`, to train on in.

    Raises: UserError as `opened`, RunError where it cannot be written.
    """
    name = f"{safe_name(archive.stem)}-{time.strftime('%Y%m%d-%H%M%S')}"
    with writing(parent):
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
    try:
        _unpack(archive, folder)
        number, path = 1, parent / name
        while path.exists():
            number += 1
            path = parent / f"{name}-{number}"
        with writing(path):
            folder.rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return path


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            entries = file.infolist()
            strange = [
                entry.filename
                for entry in entries
                # Ours are written so; other ways fail in other words where they are damaged.
                if not _known(entry.filename)
                or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            ]
            if strange:
                raise UserError(f"{archive}: is no run of Proximo's: it holds {strange[0][:80]}")
            # No entry yields more than it declares, so this also keeps a small file from filling the disk.
            size, room = sum(entry.file_size for entry in entries), shutil.disk_usage(folder).free
            if size > room:
                raise RunError(
                    f"{archive}: needs {size} bytes in {folder.parent}, which has {room}; free some"
                )
            for entry in entries:
                target = folder / entry.filename
                with writing(target), file.open(entry) as source:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("wb") as copy:
                        shutil.copyfileobj(source, copy)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        raise UserError(f"{archive}: is damaged ({error}); copy it again") from error
    except RuntimeError as error:
        raise UserError(f"{archive}: cannot be read: {error}") from error
    with writing(folder):
        (folder / "checkpoints").mkdir(exist_ok=True)


def _known(name: str) -> bool:
    return name in _HEAD or _CHECKPOINT.fullmatch(name) is not None
