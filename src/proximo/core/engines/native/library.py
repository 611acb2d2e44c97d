"""The compiled kernels, called through their plain C interface (kernels/interface.h)."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from proximo.core.engines.native.sources import digest

ABI = 3
PAD = 16
MAX_STREAMS = 16
MAX_ACTIONS = 1024
LEVELS = ("baseline", "AVX2", "AVX-512")
INSTALL = "install a C++ compiler (Debian: apt install g++) and run pip install again"
REBUILD = "rebuild with pip install -e . in the checkout"


class CallOp(Structure):
    """One dense layer; see `Op` in interface.h."""

    _fields_ = [
        *((name, c_int32) for name in ("src", "dst", "add", "in_", "out", "activation", "role")),
        *((name, c_int32) for name in ("src_grad", "add_grad")),
        *((name, c_int64) for name in ("weight", "bias", "natural")),
        ("slope", c_double),
    ]


class CallProgram(Structure):
    """All layers; see `Program` in interface.h."""

    _fields_ = [
        ("op_count", c_int32),
        ("buffer_count", c_int32),
        ("ops", POINTER(CallOp)),
        ("widths", POINTER(c_int32)),
        *(
            (name, c_int32)
            for name in ("obs_width", "actor_buffer", "value_buffer", "head", "actions", "streams")
        ),
        *((name, c_int64) for name in ("log_std", "theta_size", "natural_size")),
    ]


class CallRows(Structure):
    """The rows of an update; see `Rows` in interface.h."""

    _fields_ = [
        ("count", c_int64),
        *(
            (name, c_void_p)
            for name in ("obs", "action", "logp_old", "advantage", "value_old", "target", "mask")
        ),
        *((name, c_void_p) for name in ("fresh", "surrogate_weight")),
    ]


class CallPlan(Structure):
    """Which rows make which minibatch; see `Plan` in interface.h."""

    _fields_ = [
        *((name, c_void_p) for name in ("order", "size", "scale")),
        *((name, c_int64) for name in ("batches", "rows")),
    ]


class CallSettings(Structure):
    """How an update goes; see `Settings` in interface.h."""

    _fields_ = [
        *((name, c_double) for name in ("learning_rate", "beta1", "beta2", "eps", "weight_decay")),
        *((name, c_double) for name in ("max_grad_norm", "clip", "value_clip", "value_coef", "entropy_coef")),
        *((name, c_double) for name in ("target_kl", "desired_kl", "low_rate", "high_rate")),
        ("cloning_coef", c_double),
        *((name, c_int64) for name in ("minibatch", "epochs", "normalize_advantage", "adam_step")),
        *((name, c_int64) for name in ("surrogate", "critic_only")),
    ]


class CallMetrics(Structure):
    """Sums over minibatches; see `Metrics` in interface.h."""

    _fields_ = [
        *(
            (name, c_double)
            for name in ("policy_loss", "value_loss", "entropy", "kl", "clip_fraction", "loss")
        ),
        *(
            (name, c_double)
            for name in ("grad_norm", "weight", "epochs", "stopped", "learning_rate", "adam_step")
        ),
        ("cloning_loss", c_double),
        ("stream_loss", c_double * MAX_STREAMS),
    ]


class CallActing(Structure):
    """One vector step; see `Acting` in interface.h."""

    _fields_ = [
        ("count", c_int64),
        ("obs", c_void_p),
        ("mean", c_void_p),
        ("std", c_void_p),
        ("obs_clip", c_float),
        ("mask", c_void_p),
        ("noise", c_void_p),
        ("choice", c_void_p),
        ("action", c_void_p),
        *((name, c_void_p) for name in ("logp", "low", "high", "bounded")),
    ]


@cache
def library() -> Any:
    """The loaded library, or None where this installation has none that fits."""
    for file in _files():
        try:
            loaded = ctypes.CDLL(str(file))
        except OSError:
            continue
        # A build of another version, left behind, is not this one.
        if loaded.proximo_abi() == ABI:
            return _declared(loaded)
    return None


def _files() -> list[Path]:
    return sorted(Path(__file__).parent.glob("_kernels*.so"))


def _declared(loaded: Any) -> Any:
    pointers = [c_void_p] * 10
    loaded.proximo_learn_memory.restype = loaded.proximo_forward_memory.restype = c_int64
    loaded.proximo_learn_memory.argtypes = [c_void_p, c_int64, c_int32]
    loaded.proximo_forward_memory.argtypes = [c_void_p, c_int32]
    for width in (32, 64):
        learn, values = (getattr(loaded, f"proximo_{name}{width}") for name in ("learn", "values"))
        learn.argtypes, learn.restype = pointers, None
        values.argtypes, values.restype = [c_void_p, c_int64, *pointers[:4]], None
        elementary = getattr(loaded, f"proximo_elementary{width}")
        elementary.argtypes, elementary.restype = [c_int64, *pointers[:3]], None
    for act in (loaded.proximo_act, loaded.proximo_act_on):
        act.argtypes, act.restype = pointers[:4], None
    loaded.proximo_advantages.argtypes = [c_int64, c_int64, *pointers[:8], c_float, c_float, c_void_p]
    loaded.proximo_advantages.restype = None
    loaded.proximo_discounted.argtypes = [c_int64, c_int64, *pointers[:3], c_double, *pointers[:2]]
    loaded.proximo_discounted.restype = None
    loaded.proximo_collect.argtypes = [*pointers[:5], c_int64, *pointers[:8]]
    loaded.proximo_collect.restype = c_int64
    return loaded


def other_sources() -> bool:
    """Whether the library was built from other sources than lie beside it; no where one of them is unknown."""
    loaded, beside = library(), digest()
    if loaded is None or not hasattr(loaded, "proximo_sources"):
        return False
    loaded.proximo_sources.restype = c_char_p
    built: str = loaded.proximo_sources().decode()
    return built != beside and "" not in (built, beside)


def missing() -> str:
    """Why there is no library, and the cure."""
    return f"of another version: {REBUILD}" if _files() else f"not built: {INSTALL}"


def status() -> str:
    """A few words: which instruction set the kernels use, whether they are old, or how to get them."""
    loaded = library()
    if loaded is None:
        return missing()
    old = f", from other sources: {REBUILD}" if other_sources() else ""
    return f"built, using {LEVELS[loaded.proximo_level()]}{old}"
