"""The most FP32 operations per second that one core gives, as the floor of `scaling.py` counts them."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from clocks import seconds_each

SIZE = 1024
LOOPS, CHAINS = 1_000_000, 12
"""Fused multiply-adds in a row, and independent rows of them: more than the latency of the units hides."""
SOURCE = f"""
#if defined(__AVX512F__)
enum {{ BYTES = 64 }};
#elif defined(__AVX__)
enum {{ BYTES = 32 }};
#else
enum {{ BYTES = 16 }};
#endif
typedef float V __attribute__((vector_size(BYTES)));
extern "C" int lanes() {{ return BYTES / 4; }}
extern "C" float run(float a, float b) {{
    V x[{CHAINS}], scale = a - (V){{}}, shift = b - (V){{}};
    for (int k = 0; k < {CHAINS}; k++) x[k] = (float)k - (V){{}};
    for (long i = 0; i < {LOOPS}; i++)
        for (int k = 0; k < {CHAINS}; k++) x[k] = x[k] * scale + shift;
    V total = x[0];
    for (int k = 1; k < {CHAINS}; k++) total += x[k];
    return total[0];
}}
"""


def peaks() -> dict[str, Any]:
    """`peak_gflops`, which is the larger of a matrix product of PyTorch's and a loop of fused multiply-adds."""
    found = {f"torch.mm of {SIZE}² matrices": product()}
    if shutil.which("g++") is None:
        print("no g++: the peak is that of torch.mm")
    else:
        found["a loop of fused multiply-adds"] = loop()
    best = max(found, key=lambda name: found[name])
    return {"peak_gflops": found[best], "peak_by": best, "peaks_gflops": found}


def product() -> float:
    """GFLOP/s of `torch.mm`, best of five."""
    import torch

    a, b, out = (torch.randn(SIZE, SIZE) for _ in range(3))
    torch.mm(a, b, out=out)
    return 2e-9 * SIZE**3 / min(seconds_each(lambda: torch.mm(a, b, out=out), 0.1) for _ in range(5))


def loop() -> float:
    """GFLOP/s of independent fused multiply-adds in registers, best of five."""
    with tempfile.TemporaryDirectory() as folder:
        source, built = Path(folder) / "peak.cpp", Path(folder) / "peak.so"
        source.write_text(SOURCE, encoding="ascii")
        words = ["g++", "-O3", "-march=native", "-fPIC", "-shared", str(source), "-o", str(built)]
        subprocess.run(words, check=True)
        library = ctypes.CDLL(str(built))
        library.run.argtypes, library.run.restype = [ctypes.c_float] * 2, ctypes.c_float
        each = min(seconds_each(lambda: library.run(0.5, 1.0), 0.05) for _ in range(5))
        return 2e-9 * LOOPS * CHAINS * library.lanes() / each
