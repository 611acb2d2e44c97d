"""SyncEnv: what comes out of it is what Gymnasium's own loop would give."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from proximo.config.experiment import EnvConfig
from proximo.core.rng import integer_seed
from proximo.core.types import VecEnv
from proximo.envs.make import make_env
from proximo.errors import RunError, UserError


def make(env_id: str, n: int = 2, **options):
    return make_env(EnvConfig(id=env_id, num_envs=n, **options))


def actions(*values):
    return torch.tensor(values, dtype=torch.int64)


def test_is_a_vec_env_with_a_spec():
    env = make("CartPole-v1", n=3)
    assert isinstance(env, VecEnv)
    assert env.spec.num_envs == 3
    assert list(env.spec.obs_spaces) == ["obs"]
    assert env.spec.mask_key is None
    assert env.reset(0)["obs"].shape == (3, 4)


@pytest.mark.parametrize(("env_id", "length"), [("CartPole-v1", 60), ("Pendulum-v1", 230)])
def test_equals_a_plain_gymnasium_loop(env_id, length):
    env = make(env_id, n=2, backend="sync")
    twin = [gymnasium.make(env_id) for _ in range(2)]
    episode = [0, 0]
    obs = env.reset(7)["obs"]
    expected = [e.reset(seed=integer_seed(7, "env", i, 0))[0] for i, e in enumerate(twin)]
    generator = torch.Generator().manual_seed(0)
    ends = 0
    for _ in range(length):
        np.testing.assert_array_equal(obs.numpy(), np.stack(expected).astype(np.float32))
        if env_id == "CartPole-v1":
            action = torch.randint(0, 2, (2,), generator=generator)
            given = action.tolist()
        else:
            action = torch.rand((2, 1), generator=generator) * 4 - 2
            given = action.numpy()
        step = env.step(action)
        obs = step.obs["obs"]
        for i, e in enumerate(twin):
            expected[i], reward, terminated, truncated, _ = e.step(given[i])
            assert step.reward[i] == np.float32(reward)
            assert step.terminated[i] == terminated
            assert step.truncated[i] == truncated
            if terminated or truncated:
                k = step.final.index.tolist().index(i)
                np.testing.assert_array_equal(step.final.obs["obs"][k], expected[i].astype(np.float32))
                episode[i] += 1
                ends += 1
                expected[i], _ = e.reset(seed=integer_seed(7, "env", i, episode[i]))
            else:
                assert i not in step.final.index
        assert bool(step.valid.all())
    assert ends >= 2


def test_the_true_last_observation_and_the_next_first_one():
    env = make("env_toys:Counter", n=2, kwargs={"length": 2})
    env.reset(0)
    step = env.step(actions(1, 2))
    assert step.final.index.shape == (0,)
    assert step.final.obs["obs"].shape == (0, 2)
    step = env.step(actions(0, 2))
    assert step.final.index.tolist() == [0, 1]
    assert step.final.obs["obs"][:, 1].tolist() == [2, 2]
    assert step.obs["obs"][:, 1].tolist() == [0, 0]
    assert step.terminated.tolist() == [True, True]
    assert step.truncated.tolist() == [False, False]
    assert step.reward.tolist() == [0.0, 2.0]
    assert step.reward.dtype == torch.float32


def test_what_was_returned_never_changes():
    env = make("env_toys:Counter", n=2)
    first = env.reset(0)["obs"]
    copies, kept = [first.clone()], [first]
    for _ in range(5):
        step = env.step(actions(0, 1))
        for tensor in (step.obs["obs"], step.reward, step.terminated, step.info["success"]):
            kept.append(tensor)
            copies.append(tensor.clone())
    for tensor, copy in zip(kept, copies, strict=True):
        assert torch.equal(torch.nan_to_num(tensor.float()), torch.nan_to_num(copy.float()))


def test_rows_depend_on_their_global_index_only():
    whole = make_env(EnvConfig(id="env_toys:Counter", num_envs=4))
    half = make_env(EnvConfig(id="env_toys:Counter", num_envs=2), first_env=2)
    assert torch.equal(whole.reset(5)["obs"][2:], half.reset(5)["obs"])
    for _ in range(7):
        a, b = whole.step(actions(0, 1, 2, 0)), half.step(actions(2, 0))
        assert torch.equal(a.obs["obs"][2:], b.obs["obs"])
    assert not torch.equal(whole.reset(5)["obs"], whole.reset(6)["obs"])
    assert torch.equal(whole.reset(5)["obs"], whole.reset(5)["obs"])


def test_nested_spaces_images_and_the_mask():
    env = make("env_toys:Nested", n=2)
    assert sorted(env.spec.obs_spaces) == ["a.b", "a.c", "action_mask", "t.0", "t.1"]
    assert env.spec.mask_key == "action_mask"
    env.reset(0)
    obs = env.step(actions(1, 1)).obs
    assert obs["a.b"].tolist() == [[0.5, pytest.approx(0.1)]] * 2
    assert obs["a.c"].tolist() == [3, 3]
    assert obs["a.c"].dtype == torch.int64
    assert obs["t.0"].dtype == torch.int8
    assert obs["t.1"].dtype == torch.uint8
    assert obs["t.1"].shape == (2, 3, 3, 1)
    assert obs["action_mask"].tolist() == [[1, 0, 1]] * 2


def test_a_mask_in_info_becomes_an_observation():
    env = make("env_toys:InfoMasked", n=2, kwargs={"length": 2})
    assert env.spec.mask_key == "action_mask"
    assert list(env.spec.obs_spaces) == ["obs", "action_mask"]
    assert env.reset(0)["action_mask"].tolist() == [[1, 0, 0]] * 2
    assert env.step(actions(0, 0)).obs["action_mask"].tolist() == [[0, 1, 0]] * 2
    step = env.step(actions(1, 1))
    assert step.final.obs["action_mask"].tolist() == [[0, 0, 1]] * 2
    assert step.obs["action_mask"].tolist() == [[1, 0, 0]] * 2


def test_taxi_has_its_mask():
    env = make("Taxi", n=1)
    assert env.spec.mask_key == "action_mask"
    assert env.spec.obs_spaces["action_mask"].shape == (6,)


def test_numbers_of_info_and_success():
    env = make("env_toys:Counter", n=2, kwargs={"length": 2}, info=("level",))
    env.reset(0)
    info = env.step(actions(2, 2)).info
    assert sorted(info) == ["level", "success"]
    assert info["level"].isnan().all()
    info = env.step(actions(2, 0)).info
    assert info["level"].tolist() == [2.0, 2.0]
    assert info["success"].tolist() == [1.0, 0.0]
    assert env.step(actions(2, 2)).info["success"].isnan().all()


def test_a_number_may_be_logged_that_also_tells_success():
    env = make("env_toys:Counter", n=2, kwargs={"length": 1}, info=("is_success",))
    env.reset(0)
    info = env.step(actions(2, 0)).info
    assert {name: values.tolist() for name, values in info.items()} == {
        "is_success": [1.0, 0.0],
        "success": [1.0, 0.0],
    }


@pytest.mark.parametrize("kind", ["multi", "binary", "box"])
def test_actions_arrive_in_the_type_and_shape_of_their_space(kind):
    env = make("env_toys:Multi", n=2, kwargs={"kind": kind})
    env.reset(0)
    given = torch.tensor([[1, 0], [0, 1]]) if kind != "box" else torch.tensor([[[1.5], [0]], [[0], [-0.5]]])
    before = given.clone()
    step = env.step(given)
    assert torch.equal(step.obs["obs"], before.reshape(2, 2).float())
    assert torch.equal(given, before), "an environment that overwrites its action must not reach the caller's"
    assert torch.equal(env.state_dict()["actions"][1][0].float().reshape(2), before[1].float().reshape(2))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", "raised ValueError: the roof fell in"),
        ("reward", "gave the reward nan"),
        ("none", "gave the reward nan"),
        ("obs", "gave NaN or infinity in the observation 'obs'"),
        ("info", "info['level'] is 'high', not a number"),
        ("tuple", "must return (observation, reward, terminated, truncated, info)"),
    ],
)
def test_what_goes_wrong_is_named(how, words):
    env = make("env_toys:Broken", n=2, kwargs={"how": how}, info=("level",))
    env.reset(3)
    env.step(actions(0, 1))
    with pytest.raises(RunError) as caught:
        env.step(actions(2, 1))
    text = str(caught.value)
    assert words in text
    assert "\n" not in text
    if how != "info":
        assert "environment 0 (episode 0, seed " in text
        assert "step 2, action 2" in text
        assert str(integer_seed(3, "env", 0, 0)) in text
    if how == "raise":
        assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("how", "words"), [("reset", "raised OSError: no floor"), ("shape", "in shape (3,)")]
)
def test_a_broken_reset_is_named(how, words):
    with pytest.raises(RunError, match="Broken") as caught:
        make("env_toys:Broken", kwargs={"how": how}).reset(0)
    assert words in str(caught.value)


def test_wrong_calls():
    env = make("env_toys:Counter", n=2)
    with pytest.raises(RunError, match="reset must be called"):
        env.step(actions(0, 0))
    env.reset(0)
    with pytest.raises(RunError, match="3 actions for 2"):
        env.step(actions(0, 0, 0))
    with pytest.raises(RunError, match="shape"):
        env.step(torch.zeros((2, 1)))
    with pytest.raises(RunError, match="render_mode"):
        env.render()


@pytest.mark.parametrize("kind", ["dict", "integers"])
def test_unsupported_actions_are_refused(kind):
    with pytest.raises(UserError, match="action space"):
        make("env_toys:Multi", kwargs={"kind": kind})


def test_unsupported_observations_are_refused():
    with pytest.raises(UserError, match="Text space"):
        make("env_toys:Words")


def test_configure_sets_attributes_from_the_next_reset_on():
    env = make("env_toys:Counter", n=2, kwargs={"length": 2})
    env.reset(0)
    env.step(actions(1, 1))
    env.configure({"gain": 5.0})
    assert env.step(actions(1, 1)).reward.tolist() == [1.0, 1.0], "the running episodes go on as they were"
    assert env.step(actions(1, 1)).reward.tolist() == [5.0, 5.0]
    env.configure({"length": 1})
    env.reset(0)
    step = env.step(actions(1, 1))
    assert step.reward.tolist() == [5.0, 5.0], "parameters set earlier stay"
    assert step.terminated.all()


def test_configure_calls_the_environments_own_method():
    env = make("env_toys:Configured", n=1, kwargs={"length": 3})
    env.configure({"length": 1})
    env.reset(0)
    assert env.step(actions(0)).terminated.all()
    with pytest.raises(UserError, match="size"):
        env.configure({"size": 1})
    env.configure({"length": 0})
    with pytest.raises(RunError) as caught:
        env.reset(5)
    assert str(caught.value) == (
        f"env_toys:Configured, environment 0 (episode 0, seed {integer_seed(5, 'env', 0, 0)}), at reset, "
        "given length=0, raised ValueError: too short"
    )


def test_nothing_to_configure_is_no_call():
    """Without arguments the method would fail, or set defaults over what the constructor was given."""
    for env_id in ("env_toys:Configured", "env_toys:Defaulting"):
        env = make(env_id, n=1, kwargs={"length": 5})
        env.configure({})
        env.reset(0)
        assert [env.step(actions(0)).terminated.item() for _ in range(5)] == [False] * 4 + [True]


def test_configure_names_what_is_unknown_and_what_there_is():
    env = make("env_toys:Counter", n=1)
    with pytest.raises(UserError, match="no parameter 'lenght'; did you mean 'length'"):
        env.configure({"lenght": 1})


def test_render_shows_the_first_copy():
    env = make_env(EnvConfig(id="env_toys:Counter", num_envs=2), render_mode="rgb_array")
    env.reset(0)
    env.step(actions(0, 0))
    assert env.render().max() == 1
    env.close()


def test_what_the_environment_declares_is_passed_on():
    assert make("CartPole-v1", backend="sync").metadata["render_fps"] == 50
