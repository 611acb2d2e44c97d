"""`proximo hybrid` from recorded steps to the result: every file, reuse, a kill in each stage, every refusal."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch

from proximo import load
from proximo.cli.hybrid import options_of
from proximo.cli.main import build_parser, main
from proximo.errors import RunError, UserError
from proximo.recipes import hybrid
from proximo.runs import archive, checkpoint
from proximo.runs.run import Run

pytest.importorskip("minari", reason="demonstrations need the extra demos")

HPARAM = """
small_bc: {learning_rate: 3e-3, policy_kwargs: {net_arch: {pi: [16], vf: [16]}}}
small: {n_envs: 4, total_timesteps: 768, n_steps: 32, batch_size: 64, learning_rate: 1e-3, n_epochs: 2, c_bar: 0.9,
        policy_kwargs: {net_arch: {pi: [16], vf: [16]}}}
"""
ARGUMENTS = [
    *("--dataset", "toy", "--env", "pendulum", "--names", "few-v0"),
    *("--hparam_bc", "small_bc", "--hparam_hybrid", "small", "--seed", "3"),
]
FORK = multiprocessing.get_context("fork")
QUICK = ["eval.num_evals=2", "eval.episodes=3", "eval.random_episodes=3", "checkpoint.every=128"]
COMMAND = [
    "hybrid",
    *ARGUMENTS,
    "--num_bc_epochs",
    "12",
    "--bc_batch_size",
    "16",
    "--log_interval",
    "1",
    *QUICK,
]


@pytest.fixture(autouse=True)
def _data_sets(data_sets, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(data_sets))


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    """Two data sets with log-probabilities, one without."""
    folder = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        patch.chdir(tmp_path_factory.mktemp("demonstrator"))
        quick = [
            "ppo.total_steps=512",
            "ppo.num_steps=32",
            "eval.num_evals=0",
            "policy.hidden_sizes=[16]",
            "-q",
        ]
        assert main(["train", "Pendulum-v1", *quick]) == 0
        (run,) = Path("runs/Pendulum-v1").iterdir()
        for name, seed, options in (("few", 0, []), ("more", 1, []), ("silent", 2, ["--deterministic"])):
            words = [
                "--dataset",
                f"toy/pendulum/{name}-v0",
                "--episodes",
                "10",
                "--seed",
                str(seed),
                *options,
            ]
            assert main(["demos", "record", str(run), *words, "-q"]) == 0
    return folder


def place(folder):
    folder.mkdir(exist_ok=True)
    (folder / "hparam.yml").write_text(HPARAM, encoding="utf-8")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(place(tmp_path / "here"))
    return Path()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_sets):
    """The folder of one whole pipeline."""
    folder = place(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(data_sets))
        patch.chdir(folder)
        assert main(COMMAND) == 0
    return folder


@pytest.fixture
def again(finished, tmp_path, monkeypatch):
    """A copy of that folder, to run further commands in."""
    shutil.copytree(finished, tmp_path / "again")
    monkeypatch.chdir(tmp_path / "again")
    return Path()


def entries(folder=Path()):
    return json.loads((folder / "logs/pipeline_runs.json").read_text("utf-8"))


def weights(folder):
    (file,) = folder.glob("hybrid_ppo_*.zip")
    run = Run.open(file)
    return checkpoint.load_part(checkpoint.latest_valid(run.path)[0], "policy")


# --- what it leaves ---


def test_every_file_of_the_reference_is_there(finished):
    clones = finished / "bc_checkpoints/toy/pendulum"
    with (clones / "few-v0_metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "train_loss", "val_loss"]
    assert [int(row["epoch"]) for row in rows] == list(range(1, 13))
    best = min(rows, key=lambda row: float(row["val_loss"]))
    names = []
    for number in {5, 10, 12, int(best["epoch"])}:
        names.append(f"few-v0_epoch{number} with avg loss {float(rows[number - 1]['train_loss']):.4f}.zip")
    assert {path.name for path in clones.glob("*.zip")} == set(names)
    (file,) = finished.glob("hybrid_ppo_pendulum_*.zip")
    assert list((finished / "tb_test/hybrid/toy/pendulum" / file.stem).iterdir())
    assert not list(finished.glob("logs/.pipeline_unfinished*"))
    (entry,) = entries(finished)
    assert entry["success"] is True
    assert entry["names"] == ["few-v0"]
    assert (entry["dataset"], entry["env"], entry["env_id"], entry["seed"]) == (
        "toy",
        "pendulum",
        "Pendulum-v1",
        3,
    )
    assert entry["best_epoch"] == int(best["epoch"])
    assert entry["val_loss"] == float(best["val_loss"])
    assert f"_epoch{best['epoch']} with" in entry["bc_checkpoint"]
    assert (entry["mix_ratio"], entry["rho_bar"], entry["c_bar"], entry["log_std_subtract"]) == (
        0.5,
        1.0,
        0.9,
        0.0,
    )
    assert entry["save_file"] == file.name
    assert entry["tensorboard"] == f"tb_test/hybrid/toy/pendulum/{file.stem}"
    assert entry["hyperparameters"]["hybrid"]["ppo"]["minibatch_size"] == 64


def test_the_loss_is_that_of_the_episodes_held_out(finished):
    """Recomputed from the archive by hand: the diagonal Gaussian's density of the recorded actions."""
    from proximo.demos.minari import load_demos

    entry = entries(finished)[0]
    data = load_demos(["toy/pendulum/few-v0"])
    train, valid = data.split(0.1, 3)
    assert (train.episodes, valid.episodes) == (9, 1)
    policy = load(finished / entry["bc_checkpoint"]).policy
    obs, action = valid.take(torch.arange(valid.rows))
    with torch.no_grad():
        seen = policy.normalize(obs, policy.snapshot())
        mean = policy.compute(seen, {}, valid.start).dist.mode().double()
    state = checkpoint.load_part(Run.open(finished / entry["bc_checkpoint"]).checkpoint()[0], "policy")
    (log_std,) = (value.double() for key, value in state.items() if "log_std" in key)
    z = (action.double() - mean) / log_std.exp()
    loss = (0.5 * z**2 + log_std + 0.5 * np.log(2 * np.pi)).sum(1).mean()
    assert entry["val_loss"] == pytest.approx(float(loss), rel=1e-4)


def test_the_clone_learnt_and_the_hybrid_began_with_it(finished):
    with (finished / "bc_checkpoints/toy/pendulum/few-v0_metrics.csv").open() as file:
        losses = [float(row["val_loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0] - 0.05
    run = Run.open(finished / entries(finished)[0]["run"])
    experiment = run.experiment()
    assert experiment.init_from == entries(finished)[0]["bc_checkpoint"]
    assert experiment.demos["data"].behavior == "recorded"
    assert experiment.warm_start_steps == 100


def main_json(capsys, *words):
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_report_shows_all_of_them(finished, capsys):
    entry = entries(finished)[0]
    page = (finished / entry["report"]).read_text("utf-8")
    assert "Against the demonstrations" in page
    returns = entry["returns"]
    assert set(returns) == {"data set", "clone", "hybrid", "random"}
    assert (returns["random"]["score"], returns["data set"]["score"]) == (0.0, 100.0)
    spread = returns["data set"]["return_mean"] - returns["random"]["return_mean"]
    above = returns["hybrid"]["return_mean"] - returns["random"]["return_mean"]
    assert returns["hybrid"]["score"] == pytest.approx(100 * above / spread)
    run = Run.open(finished / entry["run"])
    mine = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    mine = next(event for event in mine if event["kind"] == "result")["returns"]
    clone = main_json(capsys, "eval", finished / entry["bc_checkpoint"], "--episodes", "3")["returns"]
    mean, low, high = returns["hybrid"]["minus clone"]
    # Paired: episode i of both had the same seed.
    each = np.subtract(mine, clone)
    assert mean == pytest.approx(each.mean())
    assert each.min() - 1e-6 <= low < mean < high <= each.max() + 1e-6
    assert returns["hybrid"]["minus data set"][0] == pytest.approx(
        returns["hybrid"]["return_mean"] - returns["data set"]["return_mean"]
    )
    low, high = returns["clone"]["return_ci95"]
    assert low < returns["clone"]["return_mean"] < high


def test_archives_are_runs(again, capsys):
    (file,) = Path().glob("hybrid_ppo_*.zip")
    clone = entries()[0]["bc_checkpoint"]
    for path in (str(file), clone):
        assert main(["eval", path, "--episodes", "2", "--json"]) == 0
        assert np.isfinite(json.loads(capsys.readouterr().out)["return_mean"])
    assert main(["resume", clone, "ppo.total_steps=99999"]) == 2
    assert f"begin a new run from it: init_from={clone}" in capsys.readouterr().err
    assert main(["resume", str(file), "ppo.total_steps=896", "-q"]) == 0


# --- reuse ---


def test_a_second_run_reuses_the_clone(again, capsys):
    clones = {path: path.stat().st_mtime_ns for path in Path("bc_checkpoints").rglob("*") if path.is_file()}
    assert main([*COMMAND, "--save-file", "mine", "--mix_ratio", "0.25"]) == 0
    said = capsys.readouterr().out
    assert "a clone is there" in said
    assert "epoch 1 of" not in said
    assert {p: p.stat().st_mtime_ns for p in Path("bc_checkpoints").rglob("*") if p.is_file()} == clones
    assert Path("mine.zip").is_file()
    assert list(Path("tb_test/hybrid/toy/pendulum/mine").iterdir())
    first, second = entries()
    assert (first["bc_checkpoint"], second["save_file"]) == (second["bc_checkpoint"], "mine.zip")
    assert second["mix_ratio"] == 0.25


def test_the_log_says_what_was_run(again):
    """Where a setting overrules an option or an entry of hparam.yml, the option was not what was run."""
    options = ["--mix_ratio", "0.25", "--warm_start_steps", "64", "--rho_bar", "0.8", "--bc_coeff", "0.01"]
    settings = [
        "demos.data.mix_ratio=0.75",
        "warm_start_steps=128",
        "losses.cloning.weight=0",
        "ppo.clip=0.3",
    ]
    assert main([*COMMAND, *options, *settings, "-q"]) == 0
    entry = entries()[-1]
    ran = Run.open(entry["run"]).experiment()
    assert entry["mix_ratio"] == ran.demos["data"].mix_ratio == 0.75
    assert entry["rho_bar"] == ran.demos["data"].rho_bar == 0.8
    assert entry["warm_start_steps"] == ran.warm_start_steps == 128
    assert entry["bc_coeff"] == ran.losses["cloning"].weight == 0
    assert entry["hyperparameters"]["hybrid"]["ppo"]["clip"] == ran.ppo.clip == 0.3
    assert "clip" not in entry["hyperparameters"]["bc"]["ppo"]


def test_skipping_uses_it_and_forcing_does_not(again, capsys):
    assert main([*COMMAND, "--skip_bc", "--seed", "4"]) == 0
    assert "epoch 1 of" not in capsys.readouterr().out
    assert main([*COMMAND, "--force-bc-retrain", "--num_bc_epochs", "2"]) == 0
    assert "epoch 2 of 2" in capsys.readouterr().out
    assert [entry["num_bc_epochs"] for entry in entries()] == [12, 12, 2]
    # Nothing of the longer clone is left.
    names = {path.name.partition(" with")[0] for path in Path("bc_checkpoints").rglob("*.zip")}
    assert names <= {"few-v0_epoch1", "few-v0_epoch2"}


def test_a_person_is_asked_and_nobody_else(again, monkeypatch, capsys):
    options = options_of(build_parser().parse_args([*COMMAND, "--num_bc_epochs", "2"]))
    asked = []

    def answer(text):
        def ask(question):
            asked.append(question)
            return text

        return ask

    hybrid.run(options, verbosity=-1, ask=answer(""))
    assert entries()[-1]["best_epoch"] == entries()[0]["best_epoch"]
    hybrid.run(options, verbosity=-1, ask=answer("n"))
    assert entries()[-1]["best_epoch"] <= 2
    assert asked == ["Reuse it? [Y/n] "] * 2
    monkeypatch.setattr("builtins.input", pytest.fail)
    hybrid.run(options, verbosity=-1)


def test_a_clone_of_other_data_or_networks_is_not_taken(again, capsys):
    shutil.move("bc_checkpoints/toy/pendulum/few-v0_index.json", "index")
    index = json.loads(Path("index").read_text())
    index["made"]["data"]["rows"] += 1
    Path("bc_checkpoints/toy/pendulum/few-v0_index.json").write_text(json.dumps(index))
    assert main([*COMMAND, "--skip_bc"]) == 2
    assert "does not fit: data {" in capsys.readouterr().err
    assert main([*COMMAND, "--num_bc_epochs", "1", "policy.hidden_sizes=[8]"]) == 0
    said = capsys.readouterr().out
    assert "does not fit" in said
    assert "cloned anew" in said


def test_a_best_checkpoint_that_was_deleted_is_made_again(again, capsys):
    best = Path(entries()[0]["bc_checkpoint"])
    best.unlink()
    assert "is gone; clone anew with --force_bc_retrain" in refused(capsys, "--skip_bc")
    assert main(COMMAND) == 0
    assert "best checkpoint is gone from bc_checkpoints/toy/pendulum: cloned anew" in capsys.readouterr().out
    assert best.is_file()


# --- a kill in each stage ---


KILLER = """
import os, pathlib, signal

class Kill:
    def __init__(self, moment, step):
        self.moment, self.step = moment, step

    def after_update(self, training, metrics):
        self.kill("update", training)

    def after_save(self, training, folder, best):
        self.kill("save", training)

    def kill(self, moment, training):
        file = pathlib.Path("killed")
        if moment == self.moment and training.step >= self.step and not file.exists():
            file.touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""
EPOCH = 1800
MOMENTS = {
    "in the seventh epoch of cloning": ("bc.", "update", 7 * EPOCH),
    "in the warm start": ("", "update", 128),
    "in the hybrid": ("", "update", 512),
    "at the end": ("", "save", 768),
}


def killed(moment, monkeypatch, *options):
    """Run the command in a process that kills itself at this moment; gives back the command."""
    Path("killer.py").write_text(KILLER)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    stage, kind, step = MOMENTS[moment]
    kill = f"{stage}hooks.kill={{type: 'killer:Kill', kwargs: {{moment: {kind}, step: {step}}}}}"
    words = [*COMMAND, *options, kill]
    (process,) = beside([words])
    assert process.exitcode == -signal.SIGKILL, Path("said0").read_text()
    monkeypatch.delitem(sys.modules, "killer", raising=False)
    return words


def beside(commands):
    """Run command lines in processes of their own, at the same time; what they print is in the files said0, said1, …

    Forked: another import of everything would take longer than all they do.
    """
    processes = [FORK.Process(target=_run, args=(words, f"said{i}")) for i, words in enumerate(commands)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return processes


def _run(words, said):
    with open(said, "w", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        os._exit(main(words))


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_same_command_goes_on_after_a_kill(moment, here, finished, monkeypatch, capsys):
    words = killed(moment, monkeypatch)
    assert len(list(Path("logs").glob(".pipeline_unfinished*.json"))) == ("cloning" not in moment)
    assert main(words) == 0
    said = capsys.readouterr().out
    assert ("cloning goes on: " in said) == ("cloning" in moment)
    assert ("the hybrid goes on" in said) == (moment in ("in the hybrid", "at the end"))
    made_again = 7 if "cloning" in moment else 13
    for epoch in range(1, 13):
        assert (f"epoch {epoch} of 12" in said) == (epoch >= made_again)
    (entry,) = entries()
    assert entry["success"] is True
    # Bitwise what comes of it without a kill, and the same files.
    there, back = weights(finished), weights(here)
    assert all(torch.equal(there[key], back[key]) for key in there)
    tables = [folder / "bc_checkpoints/toy/pendulum/few-v0_metrics.csv" for folder in (finished, here)]
    assert tables[0].read_text() == tables[1].read_text()
    names = [sorted(p.name for p in table.parent.iterdir()) for table in tables]
    assert names[0] == names[1]
    assert not list(Path("logs").glob(".pipeline_unfinished*"))


def test_forced_cloning_goes_on_after_a_kill_too(again, monkeypatch, capsys):
    words = killed("in the seventh epoch of cloning", monkeypatch, "--force_bc_retrain")
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "cloning goes on: " in said
    assert "epoch 6 of 12" not in said
    assert len(entries()) == 2


def test_a_signal_stops_it_and_the_same_command_goes_on(again, monkeypatch, capsys):
    Path("killer.py").write_text(KILLER.replace("SIGKILL", "SIGINT"))
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "killer", raising=False)
    words = [*COMMAND, "--skip_bc", "hooks.kill={type: 'killer:Kill', kwargs: {moment: update, step: 300}}"]
    assert main(words) == 0
    assert capsys.readouterr().out.endswith("stopped: the same command goes on from here\n")
    assert len(entries()) == 1
    assert main(words) == 0
    assert "the hybrid goes on" in capsys.readouterr().out
    monkeypatch.delitem(sys.modules, "killer")
    assert [entry["success"] for entry in entries()] == [True, True]
    packed = [Run.open(entry["save_file"]) for entry in entries()]
    there, back = (checkpoint.load_part(checkpoint.latest_valid(run.path)[0], "policy") for run in packed)
    assert all(torch.equal(there[key], back[key]) for key in there)


def test_seeds_at_the_same_time_share_one_clone(here):
    words = [*COMMAND, "--num_bc_epochs", "3", "ppo.total_steps=128", "eval.num_evals=1"]
    both = beside([[*words, "--seed", seed, "--save_file", f"seed{seed}"] for seed in "12"])
    assert [process.exitcode for process in both] == [0, 0]
    said = [Path(f"said{i}").read_text() for i in (0, 1)]
    assert sum("epoch 3 of 3" in text for text in said) == 1
    assert sum("a clone is there" in text for text in said) == 1
    assert len({entry["bc_checkpoint"] for entry in entries()}) == 1
    assert {entry["seed"] for entry in entries()} == {1, 2}
    # Held against each other they are two seeds of one arm.
    assert main(["report", "seed1.zip", "seed2.zip"]) == 0
    page = Path("report.html").read_text("utf-8")
    assert "1 arm · 2 runs" in page
    assert "Against the demonstrations" in page


# --- data and mixtures ---


def quick(*words):
    return main([*COMMAND, "--num_bc_epochs", "1", "ppo.total_steps=256", "eval.num_evals=1", "-q", *words])


@pytest.mark.parametrize("mix", ["0", "1"])
def test_both_ends_of_the_mixture(again, mix, capsys):
    assert quick("--mix_ratio", mix, "--skip_bc") == 0
    run = Run.open(entries()[-1]["run"])
    assert run.experiment().warm_start_steps == (0 if mix == "1" else 100)
    assert run.status().step >= 256


def test_several_data_sets_and_some_without_log_probabilities(here):
    assert quick("--names", "few-v0", "more-v0") == 0
    assert Path("bc_checkpoints/toy/pendulum/few-v0_more-v0_metrics.csv").is_file()
    assert quick("--names", "silent-v0") == 0
    behaviors = [Run.open(entry["run"]).experiment().demos["data"].behavior for entry in entries()]
    assert behaviors == ["recorded", "cloned"]


def test_a_policy_with_a_memory(here):
    assert quick("policy.memory={type: gru, size: 8}") == 0
    assert Run.open(entries()[-1]["bc_checkpoint"]).experiment().ppo.sequence_length == 32
    assert Run.open(entries()[-1]["save_file"]).experiment().policy.memory.type == "gru"


def test_a_run_from_scratch_joins_the_report(again):
    assert (
        main(["train", "Pendulum-v1", "ppo.total_steps=256", "ppo.num_steps=32", "name=alone", *QUICK, "-q"])
        == 0
    )
    (alone,) = Path("runs/Pendulum-v1").glob("alone-*")
    assert quick("--skip_bc", "--scratch", str(alone)) == 0
    assert "scratch (alone)" in entries()[-1]["returns"]
    assert "alone" in Path(entries()[-1]["report"]).read_text("utf-8")


def test_discrete_actions(here, capsys):
    assert (
        main(
            ["demos", "record", "CartPole-v1", "--policy", "random", "--dataset", "toy/cart/random-v0", "-q"]
        )
        == 0
    )
    words = ["--env", "cart", "--names", "random-v0", "--hparam_bc", "default_bc"]
    assert quick(*words) == 2
    said = capsys.readouterr().err
    assert "policy.hidden_sizes [64, 64] there, [16] in the hybrid" in said
    assert not Path("bc_checkpoints").exists()
    words += ["--hparam_hybrid", "default", "ppo.num_steps=16", "ppo.minibatch_size=64"]
    assert quick(*words, "--log_std_subtract", "0.1") == 2
    assert "--log_std_subtract: actions are choices" in capsys.readouterr().err
    assert quick(*words) == 0
    assert (entries()[-1]["log_std_subtract"], entries()[-1]["mix_ratio"]) == (0.0, 0.5)
    assert entries()[-1]["env_id"] == "CartPole-v1"


# --- refusals ---


def refused(capsys, *words):
    """The one line of the error."""
    assert main([*COMMAND, "-q", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_the_flags_exclude_each_other(here, capsys):
    assert "exclude each other" in refused(capsys, "--skip_bc", "--force_bc_retrain")


def test_skipping_without_a_clone(here, capsys):
    said = refused(capsys, "--skip_bc")
    assert "No BC checkpoint available: BC checkpoint dir not found: bc_checkpoints/toy/pendulum" in said
    (entry,) = entries()
    assert (entry["success"], entry["seed"]) == (False, 3)
    assert entry["error"] in said
    Path("bc_checkpoints/toy/pendulum").mkdir(parents=True)
    assert "No metrics CSV files found in bc_checkpoints/toy/pendulum" in refused(capsys, "--skip_bc")


def test_a_first_run_says_that_it_is_one(here, capsys):
    main([*COMMAND, "--num_bc_epochs", "1", "ppo.total_steps=128"])
    assert (
        "BC checkpoint dir not found: bc_checkpoints/toy/pendulum: normal for first run"
        in capsys.readouterr().out
    )


def test_bad_settings_are_known_before_cloning(here, capsys):
    assert "ppo.clip" in refused(capsys, "ppo.clip=-1")
    assert "is an option here: --seed" in refused(capsys, "seed=4")
    assert "there is no run nowhere" in refused(capsys, "--scratch", "nowhere")
    assert "--bc_coeff 0" in refused(capsys, "--bc_coeff", "0")
    assert not Path("bc_checkpoints").exists()


def test_the_environment_is_the_data_sets(here, capsys):
    assert "Pendulum-v1" in refused(capsys, "env.id=CartPole-v1")
    assert main([*COMMAND, "--num_bc_epochs", "1", "ppo.total_steps=128", "env.id=Pendulum-v1"]) == 0
    assert entries()[-1]["env_id"] == "Pendulum-v1"


def test_data_that_are_not_there(here, capsys):
    said = refused(capsys, "--names", "absent-v0")
    assert "toy/pendulum/absent-v0" in said
    assert entries()[0]["error"] in said


def test_a_failing_run_is_in_the_log(again, capsys):
    assert main([*COMMAND, "--skip_bc", "ppo.learning_rate=1e30", "-q"]) == 1
    entry = entries()[-1]
    assert entry["success"] is False
    assert entry["error"] in capsys.readouterr().err
    assert entry["bc_checkpoint"] == entries()[0]["bc_checkpoint"]


def test_errors_are_errors_in_python_too(here):
    with pytest.raises(UserError, match="Hybrid hparam key 'x' not found"):
        hybrid.run(options_of(build_parser().parse_args([*COMMAND, "--hparam_hybrid", "x"])))
    assert issubclass(RunError, Exception)
    assert not archive.is_archive(Path("hparam.yml"))
