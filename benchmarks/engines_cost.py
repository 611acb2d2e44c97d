"""What each side of `engines.py` costs beside its speed: start-up, disk, lines to read, compiling."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata as metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from jobs import ROOT

NEEDS = {"native": (), "eager": (), "numba": ("numba", "scipy"), "jax": ("jax",)}
KERNELS = "src/proximo/core/engines/native"
SOURCES = {
    "native": (
        *(f"{KERNELS}/kernels/{name}" for name in (
            "interface.h", "vec.h", "gemm.h", "network.h", "update.h", "instance.h", "dispatch.cpp",
            "avx512.cpp", "avx2.cpp", "baseline.cpp")),
        *(f"{KERNELS}/{name}.py" for name in ("library", "model", "engine")),
    ),
    "eager": ("src/proximo/core/engines/eager.py", "src/proximo/core/losses.py", "src/proximo/core/optim.py"),
    "numba": ("benchmarks/engines_numba.py",),
    "jax": ("benchmarks/engines_jax.py",),
}  # fmt: skip
"""What a reader must understand of each; the first two do more than this one network and these losses."""


def make(side: str, case: Any, data: Any) -> Any:
    """One side with fresh parameters."""
    import torch
    from engines_case import TorchSide

    torch.set_num_threads(1)
    if side in ("native", "eager"):
        return TorchSide(case, data, side)
    return getattr(importlib.import_module(f"engines_{side}"), f"{side.capitalize()}Side")(case, data)


def first_call(side: str, name: str) -> dict[str, float]:
    """Seconds to import what the side needs beside PyTorch and NumPy, and of its first update beyond a later one."""
    import numpy  # noqa: F401
    import torch  # noqa: F401

    begun = time.process_time()
    if side == "native":
        from proximo.core.engines.native.library import library

        library()
    for package in NEEDS[side]:
        importlib.import_module(
            {"scipy": "scipy.linalg.cython_blas", "jax": "jax.numpy"}.get(package, package)
        )
    imported = time.process_time() - begun
    from engines_case import CASES, make_data

    if side == "jax":
        import jax

        jax.config.update("jax_compilation_cache_dir", os.environ["PROXIMO_JAX_CACHE"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    one = make(side, CASES[name], make_data(CASES[name]))
    times = []
    for _ in range(3):
        begun = time.process_time()
        one.update()
        times.append(time.process_time() - begun)
    return {"import": imported, "first": times[0] - min(times[1:])}


def start_up(side: str, repeats: int) -> dict[str, float]:
    """Medians over processes of their own: import, first call with nothing cached, and from the caches on disk."""
    rows: dict[str, list[float]] = {"import": [], "cold": [], "warm": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            places = {"NUMBA_CACHE_DIR": folder, "PROXIMO_JAX_CACHE": folder}
            for kind in ("cold", "warm"):
                command = [sys.executable, str(ROOT / "benchmarks" / "engines.py"), "--first", side]
                said = subprocess.run(command, env={**os.environ, **places}, capture_output=True, text=True)
                if said.returncode:
                    raise SystemExit(f"{side}: {said.stderr.strip()}")
                one = json.loads(said.stdout.splitlines()[-1])
                rows[kind].append(one["first"])
            rows["import"].append(one["import"])
    return {key: median(entries) for key, entries in rows.items() if entries}


def size(side: str) -> float:
    """MiB on disk of what the side needs beside what Proximo always needs; for the kernels their library."""
    if side == "native":
        return sum(file.stat().st_size for file in (ROOT / KERNELS).glob("_kernels*.so")) / 2**20
    base = closure(["torch", "gymnasium", "numpy", "pydantic", "pyyaml", "rich", "safetensors"])
    return sum(disk(name) for name in closure(list(NEEDS[side])) - base)


def closure(names: list[str]) -> set[str]:
    """Distributions with all that they need, as far as installed."""
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.split(r"[\s;<>=!~\[(]", waiting.pop())[0].lower().replace("_", "-")
        if name in seen:
            continue
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        seen.add(name)
        waiting += [need for need in needs if "extra ==" not in need]
    return seen


def disk(name: str) -> float:
    """MiB of a distribution's files."""
    files = [Path(str(file.locate())) for file in metadata.files(name) or []]
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**20


def lines(path: Path) -> int:
    """Lines that are neither blank, comment nor docstring."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        strings = [
            node for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ]  # fmt: skip
        skip = {n for node in strings for n in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    else:
        skip = set()
    kept = [line.strip() for n, line in enumerate(text.splitlines(), 1) if n not in skip]
    return sum(1 for line in kept if line and not line.startswith(("#!", "# ", "//")))


def compile_kernels() -> float | None:
    """Processor seconds of the C++ compiler, which installing takes once."""
    compiler = shutil.which("g++")
    if compiler is None:
        print("no g++: the time to compile the kernels is left out")
        return None
    sources = sorted(str(file) for file in (ROOT / KERNELS / "kernels").glob("*.cpp"))
    words = ["-O3", "-fPIC", "-shared", "-std=c++17", "-fvisibility=hidden"]
    words += ["-fno-exceptions", "-fno-rtti", "-fno-math-errno"]
    with tempfile.TemporaryDirectory() as folder:
        before = os.times()
        subprocess.run([compiler, *words, *sources, "-o", f"{folder}/kernels.so"], check=True)
        after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system
