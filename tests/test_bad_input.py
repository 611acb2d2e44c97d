"""Whatever is wrong ends in one line that names it and the cure, with its exit code, and nothing is lost."""

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from proximo.cli import main as cli
from proximo.runs import checkpoint

PARTS = str(Path(__file__).parent / "bad_parts.py")
SMALL = [
    *("--untuned", "-q", "env.num_envs=2", "ppo.num_steps=16", "ppo.minibatch_size=16", "ppo.epochs=1"),
    *("ppo.total_steps=96", "ppo.prime_steps=0", "eval.num_evals=0", "policy.hidden_sizes=[8]"),
    "checkpoint.every=32",
]
PLAIN = ["train", "CartPole-v1", "--untuned", "-q"]


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """A working directory of its own, without a display or a login."""
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A finished run with three checkpoints."""
    folder = tmp_path_factory.mktemp("original")
    assert cli.main(["train", f"{PARTS}:Drawn", *SMALL, f"runs_dir={folder}"]) == 0
    return next(folder.glob("*/*"))


@pytest.fixture
def run(original, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(original, tmp_path / "mine"))


@pytest.fixture
def fails(capsys):
    """Call a command line that must fail: `code`, one line per entry of `wanted` (texts that it must contain)."""

    def call(words, code, *wanted):
        assert cli.main(words) == code
        err = capsys.readouterr().err
        assert "Traceback" not in err
        lines = err.splitlines()
        assert len(lines) == len(wanted), err
        for line, texts in zip(lines, wanted, strict=True):
            assert line.startswith("error: ")
            for text in texts:
                assert text in line
        return lines[0]

    return call


def frozen(folder):
    """Every file's content, but for the lock."""
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"}


def status(folder):
    return yaml.safe_load((folder / "status.json").read_text())


def new_run():
    """The one run below the working directory."""
    (found,) = Path("runs").glob("*/*")
    return found


SETTINGS = {
    "unknown key": (["ppo.learning_rat=1"], ["ppo.learning_rat", "did you mean ppo.learning_rate?"]),
    "key of another place": (["lr=1"], ["lr: unknown key", "did you mean ppo.learning_rate?"]),
    "wrong type": (["ppo.epochs=many"], ["ppo.epochs=many", "must be a whole number"]),
    "a fraction of a step": (["ppo.num_steps=12.5"], ["ppo.num_steps=12.5", "whole number"]),
    "truth for a number": (["ppo.epochs=true"], ["ppo.epochs=true", "must be a number"]),
    "beyond its bound": (["ppo.gamma=1.5"], ["ppo.gamma=1.5", "at most 1"]),
    "not a number": (["ppo.clip=.nan"], ["ppo.clip=.nan", "must be"]),
    "no environments": (["env.num_envs=0"], ["env.num_envs=0", "at least 1"]),
    "minibatch too large": (
        ["ppo.num_steps=8", "env.num_envs=2", "ppo.minibatch_size=99"],
        ["ppo.minibatch_size=99", "larger than the rollout", "16 rows"],
    ),
    "no such device": (["device=tpu"], ["device=tpu", "one of auto, cpu, cuda, mps"]),
    "no such encoder": (["policy.encoder={type: transformer}"], ["policy.encoder", "transformer", "one of"]),
    "no such activation": (["policy.activation=Relux"], ["activation 'Relux'", "did you mean ReLU?"]),
    "no such backend": (["env.backend=warp"], ["env.backend", "warp", "sync"]),
    "no such tracker": (["track=[paper]"], ["paper", "must be one of tensorboard"]),
    "no such wrapper": (["env.wrappers=[{name: FrameStak}]"], ["FrameStak", "did you mean"]),
    "unknown argument of the environment": (["env.kwargs.size=3"], ["env.kwargs.size", "no such argument"]),
    "no value": (["ppo.clip"], ["ppo.clip", "key=value"]),
    "broken value": (["policy.hidden_sizes=[64"], ["policy.hidden_sizes", "not valid YAML"]),
    "no seeds": (["seeds=0"], ["seeds=0", "at least 1"]),
    "jobs in words": (["seeds=2", "jobs=x"], ["jobs=x", "whole number"]),
    "start from nowhere": (["init_from=nowhere"], ["nowhere", "`proximo runs` lists them"]),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name, fails):
    items, texts = SETTINGS[name]
    fails([*PLAIN, *items], 2, texts)
    assert not Path("runs").exists()


def test_every_mistake_has_its_line(fails):
    texts = (["ppo.epochs=0", "at least 1"], ["ppo.clip=-1", "greater than 0"])
    fails([*PLAIN, "ppo.clip=-1", "ppo.epochs=0"], 2, *texts)
    assert not Path("runs").exists()


FILES = {
    "missing": (None, ["x.yaml", "there is no such file"]),
    "empty": (b"", ["x.yaml: is empty", "env: {id: CartPole-v1}"]),
    "only a comment": (b"# later\n", ["x.yaml: is empty"]),
    "a list": (b"- env\n- ppo\n", ["x.yaml", "must be a mapping"]),
    "a tab": (b"env:\n\tid: CartPole-v1\n", ["x.yaml:2", "not valid YAML", "\\t"]),
    "never closed": (b"env: {id: CartPole-v1\n", ["x.yaml:2", "not valid YAML"]),
    "a key twice": (b"seed: 1\nenv: {id: X}\nseed: 2\n", ["x.yaml:3", "'seed' stands twice"]),
    "code in a tag": (b"env: !!python/object/apply:os.system ['true']\n", ["x.yaml:1", "python/object"]),
    "a bomb of anchors": (
        b"a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 9)),
        ["x.yaml", "more than 100000 values"],
    ),
    "bytes": (b"\xff\xfe\x00\x01", ["x.yaml", "not a text file"]),
    "another version": (b"version: 7\nenv: {id: X}\n", ["x.yaml", "version 7", "update Proximo"]),
    "no environment": (b"seed: 1\n", ["x.yaml", "env"]),
}


@pytest.mark.parametrize("name", FILES)
def test_files(name, fails):
    content, texts = FILES[name]
    if content is not None:
        Path("x.yaml").write_bytes(content)
    fails(["train", "x.yaml", "-q"], 2, texts)
    assert not Path("runs").exists()


def test_an_unknown_environment_names_the_nearest(fails):
    fails(["train", "CartPoll-v1", "-q"], 2, ["CartPoll-v1", "CartPole-v1", "`proximo envs` lists them"])
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("env", "module", "extra"),
    [
        ("LunarLander-v3", "Box2D", "box2d"),
        ("Hopper-v5", "mujoco", "mujoco"),
        ("ALE/Pong-v5", "ale_py", "atari"),
    ],
)
def test_an_absent_extra_says_what_to_install(env, module, extra, fails, monkeypatch):
    import gymnasium

    for name in [name for name in gymnasium.registry if name.startswith(env.partition("-")[0])]:
        if extra == "atari":
            monkeypatch.delitem(gymnasium.registry, name)
    monkeypatch.setitem(sys.modules, module, None)
    fails(["train", env, "-q", "--untuned"], 2, [env, f"needs {module}", f"pip install 'proximo[{extra}]'"])


def test_an_absent_recorder_says_what_to_install(run, fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    fails(["play", str(run), "--video", "x.mp4"], 2, ["imageio_ffmpeg", "pip install 'proximo[video]'"])


@pytest.mark.parametrize("tracker", ["wandb", "tensorboard", "trackio"])
def test_an_absent_tracker_is_a_line_and_training_goes_on(tracker, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == tracker]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, tracker, None)
    words = [word for word in SMALL if word != "-q"]
    assert cli.main(["train", f"{PARTS}:Steady", *words, f"track=[{tracker}]"]) == 0
    out, err = capsys.readouterr()
    assert out.count("not tracked by") == 1
    assert f"pip install 'proximo[{tracker}]'" in out
    assert err == ""
    assert status(new_run())["state"] == "finished"


ENVIRONMENTS = {
    "reward NaN": ("BadReward", {"value": ".nan"}, 1, ["step 3", "the reward nan", "must be finite"]),
    "reward infinite": ("BadReward", {"value": ".inf"}, 1, ["the reward inf", "must be finite"]),
    "reward None": ("BadReward", {"value": "null"}, 1, ["the reward", "must be finite"]),
    "reward a word": ("BadReward", {"value": "much"}, 1, ["must return", "reward", "'much'"]),
    "reward an array": ("BadReward", {"value": "array"}, 1, ["must return", "reward"]),
    "observation NaN": ("BadObs", {"how": "nan"}, 1, ["step 3", "'obs'", "must be finite"]),
    "observation infinite": ("BadObs", {"how": "inf"}, 1, ["'obs'", "must be finite"]),
    "observation too long": ("BadObs", {"how": "shape"}, 1, ["'obs' of shape (3,), not (2,)"]),
    "observation too short": ("BadObs", {"how": "one"}, 1, ["'obs' of shape (1,), not (2,)"]),
    "observation a number": ("BadObs", {"how": "number"}, 1, ["'obs' of shape (), not (2,)"]),
    "observation None": ("BadObs", {"how": "none"}, 1, ["must return (observation,"]),
    "observation a word": ("BadObs", {"how": "text"}, 1, ["must return (observation,"]),
    "first observation": (
        "BadObs",
        {"how": "shape", "at": 0},
        1,
        ["at reset", "(3,)", "its space says (2,)"],
    ),
    "outside its space": ("OutOfRange", {}, 1, ["step 4", "'obs' 7", "must lie in its space Discrete(3)"]),
    "a key is missing": ("LacksKey", {}, 1, ["step 4", "must return", "'far'"]),
    "reset without info": ("BadStep", {"how": "reset_bare"}, 1, ["reset", "must return (observation, info)"]),
    "reset gives nothing": ("BadStep", {"how": "reset_none"}, 1, ["must return (observation, info)"]),
    "info None": ("BadStep", {"how": "info"}, 1, ["info being a dict"]),
    "four values": ("BadStep", {"how": "four"}, 1, ["step 1", "terminated, truncated, info", "got 4"]),
    "step gives nothing": ("BadStep", {"how": "nothing"}, 1, ["must return (observation, reward,"]),
    "flag an array": ("BadStep", {"how": "flag"}, 1, ["must return", "terminated"]),
    "nothing allowed": ("NoneAllowed", {}, 1, ["mask", "must always allow at least one"]),
    "raises": ("Raises", {}, 1, ["environment 0", "seed", "step 4", "ValueError: the roof fell in"]),
    "raises at reset": ("Raises", {"where": "reset"}, 1, ["at reset", "ValueError: the roof fell in"]),
    "raises when made": ("Raises", {"where": "init"}, 2, ["env", "ValueError: the roof fell in"]),
    "exits": ("Exits", {}, 1, ["step 1", "SystemExit"]),
    "no environment": ("NotAnEnv", {}, 2, ["NotAnEnv must be a subclass of gymnasium.Env"]),
    "not a class": ("not_a_class", {}, 2, ["is not a class but int"]),
    "no such class": ("Stedy", {}, 2, ["has no class Stedy", "did you mean Steady?"]),
    "Dict actions": ("BadSpace", {"which": "dict"}, 2, ["Dict action spaces", "flatten it with a wrapper"]),
    "Tuple actions": ("BadSpace", {"which": "tuple"}, 2, ["Tuple action spaces", "flatten it"]),
    "integer actions": ("BadSpace", {"which": "integers"}, 2, ["integer Box", "declare it as"]),
    "no action space": ("BadSpace", {"which": "none"}, 2, ["NoneType action spaces", "supported are"]),
    "words observed": ("BadSpace", {"which": "text"}, 2, ["'obs' is a Text space", "convert it"]),
    "nothing observed": ("BadSpace", {"which": "empty"}, 2, ["is empty", "give it at least one key"]),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments(name, fails):
    cls, kwargs, code, texts = ENVIRONMENTS[name]
    items = [f"env.kwargs.{key}={value}" for key, value in kwargs.items()]
    line = fails(["train", f"{PARTS}:{cls}", *SMALL, *items], code, texts)
    if code == 2:
        assert not Path("runs").exists()
        return
    told = status(new_run())
    assert told["state"] == "failed"
    assert line == f"error: {told['reason']}"


def own(slot, cls, how=None, key="how"):
    kwargs = f", kwargs: {{{key}: {how}}}" if how else ""
    value = f"{{type: '{PARTS}:{cls}'{kwargs}}}"
    return f"track=[{value}]" if slot == "track" else f"{slot}={value}"


OWN = {
    "encoder raises when made": (
        own("policy.encoder", "BadEncoder", "init"),
        2,
        ["policy.encoder", "no weights"],
    ),
    "encoder forgets super": (
        own("policy.encoder", "BadEncoder", "super"),
        2,
        ["policy.encoder", "__init__"],
    ),
    "encoder lies": (
        own("policy.encoder", "BadEncoder", "width"),
        2,
        ["features_dim=8", "(2, 3)", "must return"],
    ),
    "encoder gives text": (own("policy.encoder", "BadEncoder", "text"), 2, ["returns str", "must return"]),
    "encoder raises": (own("policy.encoder", "BadEncoder", "raise"), 2, ["BadEncoder", "the layers"]),
    "encoder raises late": (own("policy.encoder", "BadEncoder", "late"), 1, ["the layers melted", "--debug"]),
    "encoder gives NaN": (own("policy.encoder", "BadEncoder", "nan"), 1, ["nan", "policy.encoder", "lower"]),
    "encoder is none": (own("policy.encoder", "NotAnEnv"), 2, ["NotAnEnv must be a subclass"]),
    "reward raises": (
        own("rewards.mine", "BadReturn", "raise"),
        1,
        ["rewards.mine", "ZeroDivisionError: division by"],
    ),
    "reward of a shape": (
        own("rewards.mine", "BadReturn", "shape"),
        1,
        ["rewards.mine", "must be a tensor [T, N]"],
    ),
    "reward None": (
        own("rewards.mine", "BadReturn", "none"),
        1,
        ["rewards.mine", "NoneType", "must be a tensor"],
    ),
    "reward NaN": (own("rewards.mine", "BadReturn", "nan"), 1, ["rewards.mine", "must be finite"]),
    "reward cannot learn": (
        own("rewards.mine", "BadReturn", "update"),
        1,
        ["rewards.mine.update", "KeyError"],
    ),
    "reward keeps code": (
        own("rewards.mine", "BadReturn", "state"),
        1,
        ["reward.mine.f", "cannot be stored"],
    ),
    "loss raises": (own("losses.mine", "BadLoss", "raise"), 1, ["losses.mine", "AttributeError: no logits"]),
    "loss of rows": (own("losses.mine", "BadLoss", "rows"), 1, ["losses.mine", "must be a scalar tensor"]),
    "loss None": (own("losses.mine", "BadLoss", "none"), 1, ["losses.mine", "must be a scalar tensor"]),
    "loss NaN": (own("losses.mine", "BadLoss", "nan"), 1, ["became nan", "losses.mine", "lower"]),
    "hook raises": (
        own("hooks.mine", "BadHook"),
        1,
        ["hooks.mine.after_update", "LookupError: no such shelf"],
    ),
    "hook raises later": (
        own("hooks.mine", "BadHook", "after_record", "when"),
        1,
        ["hooks.mine.after_record"],
    ),
    "hook has no state": (
        own("hooks.mine", "BadHook", "state_dict", "when"),
        1,
        ["hook.mine", "no such shelf"],
    ),
    "hook's metric": (
        own("hooks.mine", "BadHook", "metric", "when"),
        1,
        ["hooks.mine", "'mine'", "must be a number"],
    ),
    "hook is not there": (own("hooks.mine", "GoodHook"), 2, ["no class GoodHook", "did you mean BadHook?"]),
    "tracker raises when made": (
        own("track", "BadTracker", "init", "when"),
        2,
        ["track", "the server hung up"],
    ),
    "source runs dry": (own("sources.mine", "BadSource"), 1, ["EOFError: no more demonstrations", "--debug"]),
    "no such file": ("hooks.mine={type: 'nowhere.py:X'}", 2, ["nowhere.py", "no such file"]),
    "no such module": ("hooks.mine={type: 'nowhere:X'}", 2, ["no module 'nowhere' is installed"]),
    "unknown argument": (
        own("hooks.mine", "BadHook", "1", "size"),
        2,
        ["hooks.mine.kwargs.size", "it takes when"],
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_parts_of_the_users_own(name, fails):
    item, code, texts = OWN[name]
    fails(["train", f"{PARTS}:Steady", *SMALL, item], code, texts)
    if not Path("runs").exists():
        # Refused before the first step.
        assert code == 2
        return
    run = new_run()
    assert status(run)["state"] == "failed"
    for folder in checkpoint.checkpoints(run):
        checkpoint.verify(folder)


@pytest.mark.parametrize("when", ["start", "scalars", "artifact", "close"])
def test_a_tracker_that_fails_is_left_out_and_training_goes_on(when, capsys):
    words = [word for word in SMALL if word != "-q"]
    assert cli.main(["train", f"{PARTS}:Steady", *words, own("track", "BadTracker", when, "when")]) == 0
    out, err = capsys.readouterr()
    assert (out + err).count("ConnectionError: the server hung up") == 1
    assert "Traceback" not in out + err
    assert status(new_run())["state"] == "finished"
    assert len((new_run() / "progress.csv").read_text().splitlines()) == 4


def test_an_environment_that_cannot_be_closed_costs_a_warning(capsys):
    assert cli.main(["train", f"{PARTS}:Raises", *SMALL, "env.kwargs.where=close"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("warning: ")
    assert err.count("\n") == 1
    assert status(new_run())["state"] == "finished"


@pytest.mark.parametrize("items", [["ppo.num_steps=1000000000000"], ["env.num_envs=1000000000000"]])
def test_a_rollout_larger_than_the_memory(items, fails):
    fails(["train", f"{PARTS}:Steady", *SMALL, *items], 1, ["out of memory", items[0], "lower one of them"])
    assert status(new_run())["state"] == "failed"


def test_networks_larger_than_the_memory(fails):
    item = "policy.hidden_sizes=[10000000, 10000000]"
    fails(["train", f"{PARTS}:Steady", *SMALL, item], 1, ["out of memory", "lower", "policy.*"])
    assert status(new_run())["state"] == "failed"


def test_an_environment_that_breaks_late_can_be_mended_and_resumed(fails, capsys):
    Path("broken").touch()
    sizes = ["ppo.num_steps=64", "ppo.total_steps=2048", "checkpoint.every=128"]
    env = ["env.kwargs.after=1000", f"env.kwargs.flag={Path('broken').resolve()}"]
    fails(["train", f"{PARTS}:Raises", *SMALL, *sizes, *env], 1, ["step", "ValueError: the roof fell in"])
    run = new_run()
    saved = checkpoint.checkpoints(run)
    assert int(saved[-1].name) == 1920
    assert [checkpoint.verify(folder) for folder in saved]
    rows = (run / "progress.csv").read_text().splitlines()
    fails(["resume", str(run), "-q", "env.num_envs=3"], 1, ["holds 2 environments", "env.num_envs is 3"])
    Path("broken").unlink()
    assert cli.main(["resume", str(run), "-q"]) == 0
    assert status(run)["state"] == "finished"
    assert (run / "checkpoints" / "2048").is_dir()
    assert (run / "progress.csv").read_text().splitlines()[: len(rows)] == rows


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(capsys):
    assert cli.main(["train", f"{PARTS}:Interrupts", *SMALL, "env.num_envs=1"]) in (0, 130)
    out, err = capsys.readouterr()
    assert "SIGINT" in err
    assert "Traceback" not in err
    run = new_run()
    assert status(run)["state"] == "stopped"
    assert f"proximo resume {run}" in out
    assert checkpoint.latest_valid(run)[0].name == "32"
    assert cli.main(["resume", str(run), "-q", "env.kwargs.after=1000"]) == 0


def test_ctrl_c_twice_stops_at_once_and_the_last_checkpoint_stays(capsys):
    items = ["env.num_envs=1", "env.kwargs={times: 2, after: 40}"]
    assert cli.main(["train", f"{PARTS}:Interrupts", *SMALL, *items]) == 130
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert err.endswith("interrupted\n")
    assert status(new_run())["state"] == "failed"
    assert checkpoint.latest_valid(new_run())[0].name == "32"


def test_a_full_disk_leaves_the_older_checkpoints(fails, monkeypatch):
    write = checkpoint.write_synced

    def full(path, data):
        if "tmp-64" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, data)

    monkeypatch.setattr(checkpoint, "write_synced", full)
    words = [
        "cannot write",
        "checkpoints/64",
        "no space left",
        "free some space",
        "older checkpoints are intact",
    ]
    fails(["train", f"{PARTS}:Steady", *SMALL], 1, words)
    run = new_run()
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["32"]
    monkeypatch.setattr(checkpoint, "write_synced", write)
    assert cli.main(["resume", str(run), "-q"]) == 0
    assert status(run)["state"] == "finished"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 200 KiB, where mounting one is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full_or_read_only(small_disk, fails):
    words = ["train", f"{PARTS}:Steady", *SMALL, f"runs_dir={small_disk}", "checkpoint.keep=1000"]
    fails([*words, "ppo.total_steps=3200"], 1, ["cannot write", "no space left", "free some space"])
    (run,) = small_disk.glob("*/*")
    newest, skipped = checkpoint.latest_valid(run)
    assert skipped == []
    before = frozen(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    fails(words, 1, ["cannot write", "read-only", "runs_dir=…"])
    fails(["resume", str(run), "-q"], 1, ["cannot write", "read-only", "runs_dir=…"])
    assert frozen(small_disk) == before
    subprocess.run(["mount", "-o", "remount,rw,size=4m", str(small_disk)], check=True)
    assert cli.main(["resume", str(run), "-q", f"ppo.total_steps={int(newest.name) + 64}"]) == 0


@pytest.mark.parametrize("place", ["file", "proc"])
def test_a_folder_that_cannot_be_written(place, fails):
    Path("file").touch()
    where = "file/runs" if place == "file" else "/proc/runs"
    fails(["train", f"{PARTS}:Steady", *SMALL, f"runs_dir={where}"], 1, [f"cannot write {where}"])
    fails([*PLAIN, "--result", f"{where}/x.json"], 2, ["--result", "cannot be written there"])


def test_what_is_no_run(run, fails):
    with zipfile.ZipFile("model.zip", "w") as file:
        file.writestr("data", "{}")
    Path("model.pt").write_bytes(b"\x80\x04.")
    Path("empty").mkdir()
    for command in ("eval", "play", "resume", "report"):
        fails([command, "nowhere"], 2, ["there is no run nowhere", "`proximo runs` lists them"])
        fails([command, "empty"], 2, ["empty is not a run", "experiment.yaml"])
        fails([command, "model.zip"], 2, ["model.zip is a pickled model", "give a Proximo run"])
        fails([command, "model.pt"], 2, ["model.pt is a pickled model", "refused"])
    fails([*PLAIN, "init_from=model.zip"], 2, ["model.zip is a pickled model", "refused"])
    fails(["train", str(run)], 2, [str(run), "a run is continued by resume"])
    fails(["runs", "nowhere"], 2, ["nowhere", "no such folder", "proximo train"])


def test_bad_words_after_a_command(run, fails):
    fails(["trian", "x"], 2, ["trian", "did you mean train?"])
    fails(["eval", str(run), "--episodes", "0"], 2, ["--episodes", "at least 1"])
    fails(["eval", str(run), "--seed", "x"], 2, ["--seed", "invalid int value: 'x'"])
    fails(["play", str(run)], 2, ["no display", "--video out.mp4"])
    fails(["check-env", f"{PARTS}:NotAnEnv"], 2, ["NotAnEnv must be a subclass of gymnasium.Env"])
    fails(["config", "explain", "CartPole-v1", "ppo.clap"], 2, ["ppo.clap", "did you mean ppo.clip?"])


@pytest.mark.skipif(importlib.util.find_spec("imageio_ffmpeg") is None, reason="films need imageio")
def test_films_that_cannot_be_made(run, fails, tmp_path):
    before = frozen(run)
    Path("folder.mp4").mkdir()
    fails(
        ["play", str(run), "--video", "/proc/nowhere/x.mp4", "--length", "3"],
        1,
        ["cannot write", "/proc/nowhere"],
    )
    fails(
        ["play", str(run), "--video", "folder.mp4", "--length", "3"], 1, ["cannot write folder.mp4", "folder"]
    )
    fails(["play", str(run), "--video", "x.txt", "--length", "3"], 2, ["x.txt", ".mp4"])
    settings = yaml.safe_load((run / "experiment.yaml").read_text())
    for how, texts in {"raise": ["render", "no brush"], "flat": ["no picture to film", "uint8"]}.items():
        settings["env"]["kwargs"] = {"how": how}
        (run / "experiment.yaml").write_text(yaml.safe_dump(settings))
        fails(["play", str(run), "--video", "x.mp4", "--length", "3"], 1, texts)
    (run / "experiment.yaml").write_bytes(before[run / "experiment.yaml"])
    assert frozen(run) == before
    assert not list(tmp_path.glob("*x.*"))


REFUSED = {
    "unknown key": (["ppo.gama=1"], 2, ["ppo.gama", "did you mean ppo.gamma?"]),
    "other copies": (["env.num_envs=3"], 1, ["holds 2 environments", "env.num_envs is 3", "same number"]),
    "other networks": (["policy.hidden_sizes=[9]"], 2, ["does not fit", "settings", "size mismatch"]),
    "other environment": ([f"env.id={PARTS}:Wide"], 2, ["was trained on", "bad_parts.py:Wide"]),
    "other memory": (["policy.memory.type=gru", "engine=eager"], 2, ["does not fit", "settings"]),
    "a new stream": (
        ["streams.x={}", "rewards.r={type: env, stream: x}"],
        2,
        ["does not fit", "on_x", "settings"],
    ),
    "no room": (["ppo.num_steps=1000000000000"], 1, ["out of memory", "ppo.num_steps"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_resume_that_is_refused_leaves_the_run_as_it_was(name, run, fails):
    items, code, texts = REFUSED[name]
    before = frozen(run)
    fails(["resume", str(run), "-q", "ppo.total_steps=160", *items], code, texts)
    assert frozen(run) == before
    assert cli.main(["resume", str(run), "-q", "ppo.total_steps=160"]) == 0
    assert status(run)["step"] == 160


def test_a_run_in_training_is_not_resumed(run, fails):
    hold = "import fcntl, os, sys; f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT); fcntl.lockf(f, fcntl.LOCK_EX);"
    hold += "os.write(f, str(os.getpid()).encode()); print('held', flush=True); sys.stdin.read()"
    before = frozen(run)
    words = ["resume", str(run), "-q", "ppo.total_steps=160"]
    command = [sys.executable, "-c", hold, str(run / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        fails(words, 2, [f"is being trained by process {other.pid}", "wait for it or stop it"])
    assert frozen(run) == before
    assert cli.main(words) == 0


def test_a_truncated_checkpoint_is_passed_over(run, fails, capsys):
    first, second, third = checkpoint.checkpoints(run)
    for file in third.iterdir():
        file.write_bytes(file.read_bytes()[:50])
    fails(["eval", str(third)], 2, [str(third), "is corrupt", "state.json"])
    fails(["resume", str(third)], 2, [str(third), "is corrupt"])
    weights = second / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    fails(["eval", str(second)], 2, [str(second), "policy.safetensors is truncated"])
    assert cli.main(["resume", str(run), "ppo.total_steps=128"]) == 0
    out = capsys.readouterr().out
    assert out.count("skipped: ") == 2
    assert f"resuming {run} at step {first.name}" in out


def test_no_checkpoint_is_left(run, fails):
    for folder in checkpoint.checkpoints(run):
        (folder / "state.json").unlink()
    for command in ("eval", "resume"):
        fails([command, str(run)], 2, ["state.json"])


def test_a_checkpoint_of_another_environment(run, fails):
    # Of the same shapes, so that only the name can tell.
    assert cli.main(["train", f"{PARTS}:Steady", *SMALL]) == 0
    last = checkpoint.checkpoints(run)[-1]
    shutil.rmtree(last)
    shutil.copytree(checkpoint.checkpoints(new_run())[-1], last)
    texts = ["checkpoints/96", "was trained on", "bad_parts.py:Steady", "not on", "bad_parts.py:Drawn"]
    fails(["eval", str(run)], 2, texts)
    fails(["resume", str(run), "-q", "ppo.total_steps=160"], 2, texts)
    assert cli.main(["eval", str(checkpoint.checkpoints(run)[0]), "--episodes", "1"]) == 0


def test_weights_of_another_network(run, fails):
    assert cli.main(["train", f"{PARTS}:Wide", *SMALL]) == 0
    other = new_run()
    before = frozen(other)
    texts = [f"init_from={other}", "does not fit", "spaces and networks"]
    fails(["train", f"{PARTS}:Steady", *SMALL, f"init_from={other}", "runs_dir=second"], 2, texts)
    assert not Path("second").exists()
    assert frozen(other) == before
    settings = run / "experiment.yaml"
    settings.write_text(settings.read_text().replace("hidden_sizes: [8]", "hidden_sizes: [7]"))
    fails(["eval", str(run)], 2, ["weights do not fit", "size mismatch", "settings"])


def test_damaged_files_of_a_run(run, fails, capsys):
    (run / "experiment.yaml").rename("kept.yaml")
    fails(["eval", str(run)], 2, ["is not a run", "experiment.yaml"])
    (run / "experiment.yaml").touch()
    fails(["resume", str(run)], 2, ["experiment.yaml: is empty"])
    Path("kept.yaml").replace(run / "experiment.yaml")
    (run / "progress.csv").write_bytes(b"\xff\xfe\x00step\n1\n")
    (run / "status.json").write_text("[1")
    fails(["resume", str(run), "-q", "ppo.total_steps=160"], 2, ["progress.csv", "move it away"])
    fails(["report", str(run)], 2, ["progress.csv", "repair the file"])
    assert cli.main(["runs", str(run.parent.parent)]) == 0
    (run / "progress.csv").unlink()
    assert cli.main(["resume", str(run), "-q", "ppo.total_steps=160"]) == 0


def test_debug_shows_where_a_part_raised(capsys):
    words = ["train", f"{PARTS}:Steady", *SMALL, own("hooks.mine", "BadHook"), "--debug"]
    assert cli.main(words) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "bad_parts.py" in err
    assert err.splitlines()[-1].startswith("error: hooks.mine.after_update raised LookupError")


@pytest.mark.parametrize(
    ("words", "code", "texts"),
    [
        (["train", "x.yaml"], 2, ["x.yaml", "there is no such file"]),
        (["train", f"{PARTS}:BadReward", *SMALL], 1, ["the reward", "must be finite"]),
    ],
)
def test_as_a_process(words, code, texts):
    """The whole of it once: what Python itself prints, and the code that a script sees."""
    command = [sys.executable, "-m", "proximo", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), check=False)
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert all(text in done.stderr for text in texts)
