"""The lab's `policy` and `architecture`: networks in the words of stable-baselines3."""

from __future__ import annotations

from typing import Any

from proximo.config.drop_in import files_with, find_class
from proximo.config.lab_keys import NET, PPO, Sheet
from proximo.config.registry import nearest
from proximo.errors import UserError

POLICIES = {"MlpPolicy": "flat", "CnnPolicy": "nature_cnn", "MultiInputPolicy": "auto"}
"""The encoder that each of stable-baselines3's policies stands for."""

EXTRACTORS: dict[str, tuple[str, list[str]]] = {
    "FlattenExtractor": ("flat", []),
    "NatureCNN": ("nature_cnn", ["features_dim"]),
    "CombinedExtractor": ("auto", []),
    "ResnetMLP": ("resnet_mlp", ["features_dim"]),
    "ImpalaCNN": ("impala_cnn", ["features_dim", "channels"]),
}
"""Built-in extractors by class name: our type, and the keywords they take."""

SB3_WIDTHS = [64, 64]
_CLASS, _KWARGS, _ARCH = (
    f"{NET}.features_extractor_class",
    f"{NET}.features_extractor_kwargs",
    f"{NET}.net_arch",
)


def networks(sheet: Sheet) -> None:
    """Encoder, layers, activation, head and optimiser."""
    encoder = _encoder(sheet)
    _layers(sheet, encoder)
    activation = f"{NET}.activation_fn"
    if activation in sheet.given:
        sheet.put(activation, "policy.activation", str(sheet.get(activation)).rpartition(".")[2])
    for key, ours in (("share_features_extractor", "share_encoder"), ("ortho_init", "ortho_init")):
        if f"{NET}.{key}" in sheet.given:
            sheet.put(f"{NET}.{key}", f"policy.{ours}", sheet.flag(f"{NET}.{key}", True))
    for key, must in (("normalize_images", True), ("squash_output", False), ("use_expln", False)):
        if sheet.flag(f"{NET}.{key}", must) is not must:
            sheet.fail(f"{NET}.{key}", f"is not supported; it must be {str(must).lower()}")
        elif f"{NET}.{key}" in sheet.given:
            sheet.note(f"{NET}.{key}", "as Proximo always does it")
    _head(sheet)
    _optimiser(sheet)


def _encoder(sheet: Sheet) -> str:
    """Write `policy.encoder`; gives back its type."""
    policy = sheet.get(f"{PPO}.policy", "MlpPolicy")
    if policy not in POLICIES:
        cure = "; for a memory set policy.memory.type=lstm" if "Lstm" in str(policy) else ""
        sheet.fail(
            f"{PPO}.policy", f"must be one of {', '.join(POLICIES)}{cure}{nearest(str(policy), POLICIES)}"
        )
        return "flat"
    kwargs = sheet.mapping(_KWARGS)
    name = sheet.get(_CLASS)
    if name is None:
        if kwargs:
            sheet.fail(_KWARGS, "belongs to a features_extractor_class, and none is named")
        kind = POLICIES[policy]
        sheet.put(f"{PPO}.policy", "policy.encoder.type", kind)
        return kind
    if f"{PPO}.policy" in sheet.given:
        sheet.note(f"{PPO}.policy", "its encoder is the one that features_extractor_class names")
    return _named(sheet, str(name), kwargs)


def _named(sheet: Sheet, name: str, kwargs: dict[str, Any]) -> str:
    known = EXTRACTORS.get(name) or next((e for e in EXTRACTORS.values() if e[0] == name), None)
    if known is not None:
        kind, takes = known
        sheet.put(_CLASS, "policy.encoder.type", kind)
        for file in files_with(name, sheet.folder):
            sheet.note(_CLASS, f"Proximo's own {name}; to use that of {file} name it as {file.name}:{name}")
        sheet.only(_KWARGS, kwargs, takes)
        for key in takes:
            if key in kwargs:
                sheet.put(_KWARGS, f"policy.encoder.{key}", kwargs[key])
        return kind
    try:
        found = find_class(name, sheet.folder, list(EXTRACTORS))
    except UserError as error:
        sheet.errors.append(f"{sheet.written(_CLASS)}: {error}")
        return "custom"
    sheet.put(_CLASS, "policy.encoder.type", found)
    if kwargs:
        sheet.put(_KWARGS, "policy.encoder.kwargs", kwargs)
    return "custom"


def _layers(sheet: Sheet, encoder: str) -> None:
    given = sheet.get(_ARCH)
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], dict):
        given = given[0]
    actor: Any
    critic: Any
    if given is None:
        # As stable-baselines3: behind its convolutional network there are no further layers.
        widths = [] if encoder == "nature_cnn" else SB3_WIDTHS
        actor, critic = list(widths), list(widths)
    elif isinstance(given, list):
        actor, critic = given, list(given)
    elif isinstance(given, dict):
        sheet.only(_ARCH, given, ["pi", "vf"])
        for key, whose in (("pi", "actor"), ("vf", "critic")):
            if given.get(key) is None:
                cure = f"say {key}: [] if the {whose} is meant to be linear"
                sheet.errors.append(f"{sheet.written(_ARCH)}.{key}: is required; {cure}")
        actor, critic = given.get("pi"), given.get("vf")
    else:
        sheet.fail(_ARCH, "must be a list such as [64, 64], or {pi: [64, 64], vf: [64, 64]}")
        return
    sheet.put(_ARCH, "policy.hidden_sizes", actor)
    sheet.put(_ARCH, "policy.value_hidden_sizes", critic)


def _head(sheet: Sheet) -> None:
    use, freq, full = f"{PPO}.use_sde", f"{PPO}.sde_sample_freq", f"{NET}.full_std"
    init = f"{NET}.log_std_init"
    if not sheet.flag(use, False):
        for path in (use, freq, full):
            if path in sheet.given:
                sheet.note(path, "no gSDE")
        if init in sheet.given:
            sheet.put(init, "policy.head.type", "gaussian")
            sheet.put(init, "policy.head.log_std_init", sheet.get(init))
        return
    every = sheet.get(freq, -1)
    sheet.put(use, "policy.head.type", "gsde")
    sheet.put(freq, "policy.head.sample_freq", sheet.get(f"{PPO}.n_steps", 2048) if every == -1 else every)
    sheet.put(init, "policy.head.log_std_init", sheet.get(init, 0.0))
    if full in sheet.given:
        sheet.put(full, "policy.head.full_std", sheet.flag(full, True))


def _optimiser(sheet: Sheet) -> None:
    kind, path = f"{NET}.optimizer_class", f"{NET}.optimizer_kwargs"
    name = str(sheet.get(kind, "Adam")).rpartition(".")[2]
    if name != "Adam":
        sheet.fail(kind, "must be Adam; for decoupled weight decay set ppo.weight_decay")
    elif kind in sheet.given:
        sheet.note(kind, "the optimiser that Proximo uses")
    if path not in sheet.given:
        return
    kwargs = sheet.mapping(path)
    sheet.only(path, kwargs, ["eps"])
    # stable-baselines3 sets 1e-5 only where no keywords are given; else torch's own default holds.
    sheet.put(path, "ppo.adam_eps", kwargs.get("eps", 1e-8))
