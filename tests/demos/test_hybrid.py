"""What demonstrations mean in a whole training: identities, whatever the environment, and going on bitwise."""

import csv
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from proximo import Experiment, resume, train
from proximo.build import build
from proximo.core.evaluate import evaluate, next_values
from proximo.core.returns import estimate
from proximo.core.timer import Timer
from proximo.demos.dataset import Dataset
from proximo.errors import UserError
from proximo.runs import checkpoint

TOYS = str(Path(__file__).parents[1] / "toys.py")
EXPERT = {"datasets": ["made/up/here-v0"]}


def recorded(experiment, rows=384, logp=True):
    """What the first policy of `experiment` does, as a data set; the last episode of each copy is cut."""
    ppo = experiment.ppo.model_copy(
        update={"num_steps": rows // 4, "overlap": False, "sequence_length": None}
    )
    built = made(experiment.model_copy(update={"demos": {}, "ppo": ppo, "engine": "eager"}))
    rollout = built.collector.collect(built.policy)
    built.env.close()
    truncated = rollout.truncated.clone()
    truncated[-1] |= ~rollout.done[-1]
    done = rollout.terminated | truncated
    finals = {}
    for key, last in rollout.last_obs.items():
        after = last[None].expand(done.shape[0], *last.shape).clone()
        after[rollout.final_t, rollout.final_n] = rollout.final_obs[key]
        finals[key] = after.transpose(0, 1)[done.t()]

    def rows_of(entry):
        return entry.transpose(0, 1).flatten(0, 1).clone()

    return Dataset(
        obs={key: rows_of(entry) for key, entry in rollout.obs.items()},
        action=rows_of(rollout.action),
        reward=rows_of(rollout.reward),
        terminated=rows_of(rollout.terminated),
        truncated=rows_of(truncated),
        final_obs=finals,
        logp=rows_of(rollout.logp_behavior) if logp else None,
        form=built.policy.head.form,
        stored=built.policy.head.form,
    )


def small(env_id="CartPole-v1", *, ppo=None, expert=None, **rest):
    return Experiment(
        env={"id": env_id, "num_envs": 4, **rest.pop("env", {})},
        policy={"hidden_sizes": (16,), **rest.pop("policy", {})},
        ppo={
            "num_steps": 32,
            "minibatch_size": 32,
            "epochs": 2,
            "total_steps": 1280,
            "prime_steps": 64,
            **(ppo or {}),
        },
        checkpoint={"every": 128, "keep": 50},
        eval={"num_evals": 0},
        demos={} if expert is None else {"expert": {**EXPERT, **expert}},
        **rest,
    )


@pytest.fixture
def given(monkeypatch):
    """Let the data sets that the configuration names be this one."""

    def give(data):
        monkeypatch.setattr("proximo.demos.make.load_demos", lambda names, **rest: data)

    return give


def made(experiment):
    return build(experiment, torch.device("cpu"), Timer(), lambda line: None)


def evaluated(built, source):
    parts = built.ppo.parts
    rollout = source.collect(built.policy)
    rollout.rewards = {term.name: term(rollout) for term in parts.terms}
    return evaluate(parts.policy, rollout, source, parts.streams, parts.terms, parts.engine.recursions)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("engine", ["eager", "native"])
def test_offline_advantage_is_gae_where_rho_and_c_are_one(env, engine, given):
    """Bitwise: where π_old is who recorded and the caps are 1, and where no ratios are taken."""
    plain = small(env, expert={"behavior": "none", "ood": False}, engine=engine)
    traced = small(env, expert={"behavior": "recorded", "ood": False}, engine=engine)
    data = recorded(plain)
    given(data)
    entries = []
    for experiment in (plain, traced):
        built = made(experiment)
        (source,) = built.demos
        if experiment is traced:
            # The policy judges rows as it learns, in one batch; step by step it may differ in the last bit.
            correct = source.correct
            source.correct = lambda seen, correct=correct: correct(replace(seen, logp_behavior=seen.logp_old))
        entries.append(evaluated(built, source))
    gae, vtrace = entries
    assert gae.correction.rho is None
    assert vtrace.correction.rho.eq(1.0).all()
    assert torch.equal(vtrace.advantage, gae.advantage)
    assert torch.equal(vtrace.target["task"], gae.target["task"])
    assert torch.equal(vtrace.surrogate_weight, torch.ones_like(gae.advantage))
    stream, rollout = built.ppo.parts.streams[0], gae.rollout
    following = following_values(built, gae)
    common = (gae.reward["task"], gae.value["task"], following, rollout.terminated, rollout.done)
    expected, _ = estimate(*common, None, None, gamma=stream.gamma, lam=stream.lam, valid=rollout.valid)
    torch.testing.assert_close(gae.advantage, expected, atol=1e-5, rtol=1e-4)


def test_a_ratio_counts_once(given):
    """A row that the present policy would take half as often: half its weight, the whole of its advantage."""
    experiment = small(expert={"behavior": "recorded"})
    given(recorded(experiment))
    built = made(experiment)
    (source,) = built.demos
    correct = source.correct
    source.correct = lambda seen: correct(replace(seen, logp_behavior=seen.logp_old + math.log(2.0)))
    entry = evaluated(built, source)
    last = entry.rollout.terminated
    assert int(last.sum()) > 5
    delta = entry.reward["task"] - entry.value["task"]
    torch.testing.assert_close(entry.advantage[last], delta[last])
    half = torch.full_like(delta, 0.5)
    torch.testing.assert_close(entry.surrogate_weight, half)
    torch.testing.assert_close(entry.target["task"][last], (entry.value["task"] + half * delta)[last])


def following_values(built, entry):
    rollout, policy = entry.rollout, built.policy
    ended = [
        policy.normalize(rollout.final_obs, rollout.stats),
        policy.normalize(rollout.last_obs, rollout.stats),
    ]
    rows = {key: torch.cat([part[key] for part in ended]) for key in rollout.last_obs}
    with torch.no_grad():
        row_value = policy.compute(rows, {}, torch.zeros(0)).values["task"]
    return next_values(rollout, entry.value["task"], row_value, True)


@pytest.mark.parametrize("overlap", [False, True])
def test_fresh_rows_are_gae_whatever_the_caps_are(overlap, given):
    experiments = [
        small(expert={"rho_bar": bar, "c_bar": bar, "behavior": "recorded"}, ppo={"overlap": overlap})
        for bar in (0.0, 0.3, 5.0)
    ]
    given(recorded(experiments[0]))
    entries = []
    for experiment in experiments:
        built = made(experiment)
        entries.append(evaluated(built, built.ppo.parts.sources[0]))
        built.collector.close()
        built.env.close()
    for entry in entries:
        if not overlap:
            assert entry.correction.rho is None
            assert entry.correction.c is None
        assert entry.surrogate_weight is None
        assert torch.equal(entry.advantage, entries[0].advantage)


def weights(result):
    return checkpoint.load_part(checkpoint.pointed(result.run, "last"), "policy")


def same(one, other):
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("engine", ["eager", "native"])
def test_a_share_of_zero_is_plain_ppo_bitwise(engine, given, tmp_path, capsys):
    places = {"runs_dir": str(tmp_path), "engine": engine}
    given(recorded(small()))
    plain = train(small(**places))
    none = train(small(expert={"mix_ratio": 0.0}, **places))
    assert same(plain, none)
    assert "mix_ratio is 0, so the data are not read" in capsys.readouterr().out
    # Where the share has fallen to 0 nothing of the data is left in an update either.
    some = train(small(expert={"mix_ratio": 0.25}, **places))
    assert not same(plain, some)


def test_data_alone(given, tmp_path, capsys):
    """No environment is stepped, the step axis counts recorded rows, an iteration never holds two passes."""
    experiment = small(expert={"mix_ratio": 1.0, "segment": 24}, runs_dir=str(tmp_path))
    data = recorded(experiment, rows=400)
    given(data)
    built = made(experiment)
    seen = []
    while built.ppo.step < 2 * 400:
        before = built.ppo.step
        built.ppo.iterate()
        seen.append(built.ppo.step - before)
    # 5 columns of 24 steps: 400 rows are 16 whole pieces and one of 16 rows, wherever it comes in its pass.
    assert len(seen) == 8
    assert sum(seen[:4]) == sum(seen[4:]) == 400
    assert set(seen) <= {120, 112, 48, 40}
    assert built.demos[0].passes == 2
    assert built.collector.steps == 0
    scaler = built.ppo.parts.streams[0].scaler
    assert float(scaler.moments.count) == 0.0
    result = train(experiment)
    assert 1280 <= result.step < 1400
    assert "rows of the demonstrations" in capsys.readouterr().out
    state = checkpoint.load(checkpoint.pointed(result.run, "last"))
    assert float(state["stream.task"]["moments"]["count"]) == 400.0
    mean = state["policy"]["normalizer.standardizers.on_obs.moments.mean"]
    torch.testing.assert_close(mean, data.obs["obs"].double().mean(0))


@pytest.mark.parametrize("engine", ["eager", "native"])
def test_data_alone_say_how_far_the_policy_moved(engine, given):
    """No row is fresh: the stop by KL goes by the recorded ones."""
    ppo = {"learning_rate": 1e-2, "epochs": 8}
    given(recorded(small()))
    free = made(small(expert={"mix_ratio": 1.0}, ppo=ppo, engine=engine)).ppo.iterate()
    assert free["kl"] > 1e-4
    assert free["clip_fraction"] > 0.0
    held = made(small(expert={"mix_ratio": 1.0}, ppo={**ppo, "target_kl": 1e-5}, engine=engine)).ppo.iterate()
    assert held["kl_stop"] == 1.0


def test_every_row_once_in_a_pass(given):
    experiment = small(expert={"mix_ratio": 1.0, "segment": 7})
    data = recorded(experiment, rows=388)
    data.obs["obs"][:, 0] = torch.arange(388.0)
    given(data)
    (source,) = made(experiment).demos
    policy = made(experiment).policy
    for _ in range(3):
        rows, before = [], source.passes
        while source.passes == before:
            rollout = source.collect(policy)
            rows.append(rollout.obs["obs"][:, :, 0][rollout.valid])
        assert torch.cat(rows).sort().values.tolist() == list(range(388))


def test_data_without_log_probabilities(given, tmp_path, capsys):
    given(recorded(small(), logp=False))
    with pytest.raises(UserError, match=r"demos\.expert\.behavior: the data hold no log-probabilities"):
        train(small(expert={"behavior": "recorded"}, runs_dir=str(tmp_path)))
    result = train(small(expert={}, runs_dir=str(tmp_path)))
    assert "behavior: none" in capsys.readouterr().out
    assert "behavior: none" in (result.run / "experiment.yaml").read_text(encoding="utf-8")
    start = str(result.run)
    train(small(expert={}, init_from=start, runs_dir=str(tmp_path)))
    assert "behavior: cloned" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"cloned needs a run"):
        train(small(expert={"behavior": "cloned"}, runs_dir=str(tmp_path)))


ANY = {
    "multi-discrete": (f"{TOYS}:Masked", {}),
    "gru with a mask": (f"{TOYS}:MaskedRecall", {"memory": {"type": "gru", "size": 8}}),
    "squashed": ("Pendulum-v1", {"head": {"type": "squashed_gaussian"}}),
    "gsde": ("Pendulum-v1", {"head": {"type": "gsde"}}),
    "integers": (f"{TOYS}:Identity", {}),
    "dict": ("proximo/Therapy-v0", {"encoder": {"type": "therapy", "hidden_size": 8}}),
}


@pytest.mark.parametrize("case", ANY)
def test_any_environment(case, given, tmp_path):
    env, policy = ANY[case]
    kwargs = {"max_sessions": 12, "threshold": 0.5} if "Therapy" in env else {}
    experiment = small(
        env,
        policy=policy,
        env={"kwargs": kwargs},
        expert={},
        losses={"clone": {"type": "cloning", "weight": 0.1, "weight_end": 0.0, "until": 0.5}},
        runs_dir=str(tmp_path),
    )
    given(recorded(experiment))
    result = train(experiment)
    assert result.status == "finished"


RESUMED = {
    "native": ({}, {}),
    "moving share": ({"mix_ratio": 0.6, "mix_ratio_end": 0.1, "until": 0.5}, {}),
    "eager": ({}, {"engine": "eager"}),
    "memory": (
        {"segment": 16},
        {"policy": {"memory": {"type": "gru", "size": 8}}, "ppo": {"sequence_length": 8}},
    ),
    "data alone": ({"mix_ratio": 1.0, "segment": 1}, {}),
    "overlap": ({}, {"ppo": {"overlap": True}}),
    "warm start, native": ({}, {"warm_start_steps": 500}),
    "warm start, eager": ({}, {"warm_start_steps": 500, "engine": "eager"}),
    "warm start, until the checkpoint": ({}, {"warm_start_steps": 600}),
}


@pytest.mark.parametrize("cloned", [False, True])
@pytest.mark.parametrize("case", RESUMED)
def test_resume_is_bitwise(case, cloned, given, tmp_path):
    expert, rest = RESUMED[case]
    if cloned and case not in ("native", "memory"):
        pytest.skip("the cloned policy is tried with two of them")
    base = small(expert=expert, runs_dir=str(tmp_path / "runs"), **rest)
    given(recorded(base, logp=not cloned))
    if cloned:
        start = train(small(runs_dir=str(tmp_path / "clone"), policy=rest.get("policy", {}))).run
        base = base.model_copy(update={"init_from": str(start)})
    whole = train(base).run
    half = tmp_path / "half"
    shutil.copytree(whole, half)
    folders = checkpoint.checkpoints(half)
    for late in folders[len(folders) // 2 :]:
        shutil.rmtree(late)
    (half / "status.json").unlink()
    if cloned:
        # All that goes on is in the checkpoint.
        shutil.rmtree(tmp_path / "clone")
    resume(half)
    one, other = (checkpoint.load(checkpoint.pointed(run, "last")) for run in (whole, half))
    assert one["ppo"] == other["ppo"]
    for name in ("policy", "optimizer", "source.expert"):
        assert flat(one[name]) == flat(other[name]), name
    assert curves(whole) == curves(half)


def curves(run):
    """What was recorded of each update, without what a clock says."""
    with (run / "progress.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if "second" not in k and not k.startswith("time/")} for row in rows]


def flat(value):
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return {key: flat(entry) for key, entry in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("engine", ["native", "eager"])
def test_observations_that_the_environment_does_not_give_are_left_out(engine, given):
    base = small(expert={"mix_ratio": 0.5}, engine=engine)
    data = recorded(base)
    goal = torch.zeros(data.rows, 2)
    given(
        replace(
            data,
            obs={**data.obs, "desired_goal": goal},
            final_obs={**data.final_obs, "desired_goal": goal[: data.episodes]},
        )
    )
    metrics = made(base).ppo.iterate()
    assert math.isfinite(metrics["loss"])


@pytest.mark.parametrize("segment", [16, 64])
def test_recorded_sequences_are_as_long_as_those_of_the_environments(segment, given):
    """A memory policy without `ppo.sequence_length`: 32 steps, which a shorter segment does not hold."""
    base = small(expert={"mix_ratio": 0.5, "segment": segment}, policy={"memory": {"type": "gru", "size": 4}})
    given(recorded(base))
    if segment % base.ppo.num_steps:
        with pytest.raises(UserError, match="multiple"):
            made(base)
    else:
        assert math.isfinite(made(base).ppo.iterate()["loss"])
