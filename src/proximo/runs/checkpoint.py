"""Checkpoints: one folder of safetensors files and a `state.json`, written whole or not at all.

Layout of `checkpoints/<step>/`: `<part>.safetensors` holds a part's tensors under their dotted paths (so
`policy.safetensors` has the parameter names as keys); `state.json` holds everything else, with a reference
wherever a tensor belongs, and the SHA-256 of every file. Nothing is pickled, so loading never runs code.
Tensors come back on the CPU, NumPy arrays as NumPy arrays, tuples as tuples, NumPy scalars as Python numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from proximo.errors import UserError
from proximo.runs.encoding import decode, encode
from proximo.runs.files import replace_file, sync_folder, write_synced, writing

FORMAT = "proximo-checkpoint"
VERSION = 1
STATE_FILE = "state.json"
_OWN = re.compile(r"checkpoints/\d+")
_TEMPORARY, _REPLACED, _TRASH = ".tmp-", ".old-", ".trash-"


def save(
    folder: Path,
    parts: Mapping[str, Any],
    *,
    step: int | None = None,
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write `parts` (name → nested dicts and lists of tensors, arrays, JSON values) as checkpoint `folder`.

    Written to a hidden folder beside, synced and renamed, so that a kill at any moment leaves the old or the
    new one. `step` defaults to the folder's name; `meta` (JSON values) is readable alone by `header`.

    Raises: RunError (disk full, read-only, a value that cannot be stored), older checkpoints intact.
    """
    files: dict[str, bytes] = {}
    trees: dict[str, Any] = {}
    for name, value in parts.items():
        tensors: dict[str, torch.Tensor] = {}
        trees[name] = encode(value, name, tensors)
        if tensors:
            files[_file_of(name)] = tensors_to_bytes(tensors)
    if step is None:
        step = int(folder.name) if folder.name.isdigit() else 0
    head = {
        "format": FORMAT,
        "version": VERSION,
        "step": step,
        "meta": dict(meta or {}),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "parts_sha256": _tree_hash(trees),
        "parts": trees,
    }
    files[STATE_FILE] = json.dumps(head, allow_nan=False).encode()
    _write_folder(folder, files)


def _write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    temporary = folder.with_name(f"{_TEMPORARY}{folder.name}-{os.getpid()}")
    with writing(folder, kept="; older checkpoints are intact"):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            for name, data in files.items():
                write_synced(temporary / name, data)
            sync_folder(temporary)
            _rename_over(temporary, folder)
            sync_folder(folder.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _rename_over(source: Path, folder: Path) -> None:
    # A full folder cannot be renamed over: set it aside; `recover` puts it back if we die in between.
    aside = folder.with_name(f"{_REPLACED}{folder.name}")
    if folder.exists():
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(folder, aside)
    try:
        os.rename(source, folder)
    except OSError:
        if aside.exists():
            os.rename(aside, folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def load(folder: Path) -> dict[str, Any]:
    """All parts of a checkpoint, verified; UserError (one line) if corrupt, truncated or not a checkpoint."""
    head = _read_head(folder)
    return {name: _load_part(folder, head, name) for name in head["parts"]}


def load_part(folder: Path, name: str) -> Any:
    """One part of a checkpoint (`policy` to act with, for example), verified as by `load`."""
    head = _read_head(folder)
    if name not in head["parts"]:
        raise UserError(
            f"checkpoint {folder} has no part {name!r}: it has {', '.join(sorted(head['parts']))}"
        )
    return _load_part(folder, head, name)


def header(folder: Path) -> dict[str, Any]:
    """`step` and `meta` of a checkpoint, and the names of its `parts`, without reading tensors."""
    head = _read_head(folder)
    return {"step": head["step"], "meta": head["meta"], "parts": sorted(head["parts"])}


def verify(folder: Path) -> None:
    """Check every byte of a checkpoint without building its tensors; UserError if something is wrong."""
    head = _read_head(folder)
    for name in head["files"]:
        _read_file(folder, head, name)


def _file_of(part: str) -> str:
    return f"{quote(part, safe='')}.safetensors"


def _tree_hash(trees: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(trees, allow_nan=False).encode()).hexdigest()


def _load_part(folder: Path, head: Mapping[str, Any], name: str) -> Any:
    file = _file_of(name)
    tensors: dict[str, torch.Tensor] = {}
    if file in head["files"]:
        try:
            tensors = tensors_from_bytes(_read_file(folder, head, file))
        except SafetensorError as error:
            raise UserError(f"checkpoint {folder} is corrupt: {file}: {error}") from error
    try:
        return decode(head["parts"][name], tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"checkpoint {folder} is corrupt: part {name!r} does not fit its {file}") from error


def _read_file(folder: Path, head: Mapping[str, Any], name: str) -> bytes:
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise UserError(f"checkpoint {folder} is incomplete: {name}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != head["files"][name]:
        raise UserError(f"checkpoint {folder} is corrupt: {name} is truncated or was changed")
    return data


def _read_head(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise UserError(_not_a_checkpoint(folder))
    try:
        text = (folder / STATE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{folder} is not a checkpoint: it has no {STATE_FILE}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"checkpoint {folder} is corrupt: {STATE_FILE} cannot be read ({error})") from error
    try:
        head = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(
            f"checkpoint {folder} is corrupt: {STATE_FILE} is truncated or was changed"
        ) from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise UserError(f"{folder} is not a Proximo checkpoint: its {STATE_FILE} is of something else")
    version = head.get("version")
    if version != VERSION:
        raise UserError(
            f"checkpoint {folder} has format version {version!r}, this Proximo reads {VERSION}: "
            "install the version of Proximo named in the run's provenance.json"
        )
    shape = {"step": int, "meta": dict, "files": dict, "parts": dict}
    whole = all(isinstance(head.get(key), kind) for key, kind in shape.items())
    # Ours have no folders inside; another name could lead to a file elsewhere.
    whole = whole and not any("/" in name for name in head["files"])
    if not whole or _tree_hash(head["parts"]) != head.get("parts_sha256"):
        raise UserError(f"checkpoint {folder} is corrupt: {STATE_FILE} was changed")
    return head


def _not_a_checkpoint(path: Path) -> str:
    if not path.exists():
        return f"there is no checkpoint {path}"
    with path.open("rb") as file:
        magic = file.read(4)
    if magic.startswith((b"PK\x03\x04", b"\x80")):
        return (
            f"{path} is a pickled model (stable-baselines3's model.zip, or torch.save): refused, because "
            "reading a pickle runs whatever code is in it; give a Proximo run or checkpoint folder"
        )
    return f"{path} is a file, not a checkpoint: give a run or a checkpoint folder"


# --- the checkpoints of a run ------------------------------------------------------------------------------


def checkpoints(run_dir: Path) -> list[Path]:
    """Checkpoint folders of a run, oldest (fewest steps) first."""
    found = (run_dir / "checkpoints").glob("[0-9]*")
    return sorted((p for p in found if p.name.isdigit() and p.is_dir()), key=lambda p: int(p.name))


def latest_valid(run_dir: Path) -> tuple[Path, list[str]]:
    """The newest intact checkpoint, and why newer ones were passed over; UserError if there is none."""
    skipped: list[str] = []
    for folder in reversed(checkpoints(run_dir)):
        try:
            verify(folder)
        except UserError as error:
            skipped.append(str(error))
        else:
            return folder, skipped
    reason = skipped[0] if skipped else "none was written before it stopped, or they were deleted"
    raise UserError(f"run {run_dir} has no usable checkpoint: {reason}")


def point(run_dir: Path, name: str, folder: Path, note: Mapping[str, float] | None = None) -> None:
    """Let the pointer file `best` or `last` name a checkpoint; `note` (finite numbers) is kept beside."""
    content = {"checkpoint": folder.relative_to(run_dir).as_posix(), **(note or {})}
    replace_file(run_dir / name, json.dumps(content) + "\n")


def pointed(run_dir: Path, name: str) -> Path | None:
    """The checkpoint that `best` or `last` names; None where the pointer or its checkpoint is missing.

    Raises: UserError where it names anything but a checkpoint of this run, as somebody else's file may.
    """
    try:
        content = json.loads((run_dir / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    target = content.get("checkpoint") if isinstance(content, dict) else None
    if not target:
        return None
    if not _OWN.fullmatch(str(target)):
        raise UserError(
            f"{run_dir / name}: names {str(target)[:80]!r}, no checkpoint of its own run; get the run again, or "
            "delete this file"
        )
    folder = run_dir / str(target)
    return folder if folder.is_dir() else None


def prune(run_dir: Path, keep: int) -> list[Path]:
    """Delete all but the `keep` newest checkpoints and what `best` and `last` name; returns the deleted."""
    spared = {pointed(run_dir, "best"), pointed(run_dir, "last")}
    doomed = [folder for folder in checkpoints(run_dir)[: -max(keep, 1)] if folder not in spared]
    for folder in doomed:
        _delete(folder)
    return doomed


def discard_after(run_dir: Path, step: int) -> list[Path]:
    """Delete checkpoints past `step`, which a run that goes on from an older one would contradict."""
    doomed = [folder for folder in checkpoints(run_dir) if int(folder.name) > step]
    for folder in doomed:
        _delete(folder)
    return doomed


def _delete(folder: Path) -> None:
    # Renamed first: a kill in the middle of the deletion must not leave half a checkpoint under its name.
    trash = folder.with_name(f"{_TRASH}{folder.name}")
    with writing(folder):
        shutil.rmtree(trash, ignore_errors=True)
        os.rename(folder, trash)
        shutil.rmtree(trash, ignore_errors=True)


def recover(run_dir: Path) -> None:
    """Tidy what a killed process left behind; only the process that holds the run's lock may call it."""
    parent = run_dir / "checkpoints"
    with writing(parent):
        for aside in parent.glob(f"{_REPLACED}*"):
            folder = aside.with_name(aside.name.removeprefix(_REPLACED))
            if not folder.exists():
                os.rename(aside, folder)
        for pattern in (_TEMPORARY, _REPLACED, _TRASH):
            for leftover in parent.glob(f"{pattern}*"):
                shutil.rmtree(leftover, ignore_errors=True)
