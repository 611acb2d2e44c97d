"""Recording with scripted policies: episodes, order, log-probabilities, and all or nothing."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from proximo.config.experiment import EnvConfig
from proximo.demos import store
from proximo.demos.minari import environment, load_demos
from proximo.demos.record import Choice, Stop
from proximo.demos.scripted import scripted
from proximo.envs.single import make_single
from proximo.errors import RunError, UserError
from proximo.recipes.demos import record_demos

minari = pytest.importorskip("minari", reason="needs pip install 'proximo[demos]'")
pytest.importorskip("h5py", reason="needs pip install 'proximo[demos]'")
pytest.importorskip("pyarrow", reason="needs pip install 'proximo[demos]'")

TOYS = str(Path(__file__).parents[1] / "toys.py")
HERE = str(Path(__file__))
silent = list[str]().append


def record(env="CartPole-v1", policy="random", episodes=5, seed=0, name="toy/a-v0", **options):
    config = EnvConfig(id=env, **options.pop("config", {}))
    who = scripted(policy, config, seed) if isinstance(policy, str) else policy
    return record_demos(config, who, name, episodes, seed, say=silent, **options)


class Balance:
    """Pushes towards where the pole falls; tells that it is nine tenths sure."""

    def __init__(self, env):
        self.seeds = []

    def reset(self, seed):
        self.seeds.append(seed)

    def act(self, obs, info):
        return int(obs[2] + obs[3] > 0), math.log(0.9)


class Silent:
    def __init__(self, env):
        pass

    def act(self, obs, info):
        return 1


class Wrong(Silent):
    def act(self, obs, info):
        return 2


class Failing(Silent):
    def act(self, obs, info):
        raise ZeroDivisionError("no idea")


class Mute:
    """Has nothing to say."""


@pytest.mark.parametrize("format_", ["hdf5", "arrow"])
def test_what_was_recorded_can_be_played_again(format_):
    made = record(policy=f"{HERE}:Balance", format_=format_)
    data = load_demos(["toy/a-v0"])
    assert data.returns.tolist() == made.summary.returns
    assert data.lengths.tolist() == made.summary.lengths
    assert data.return_mean > 100
    torch.testing.assert_close(data.logp, torch.full((data.rows,), math.log(0.9)))
    env = make_single(environment(data))
    row = 0
    for number, episode in enumerate(minari.load_dataset("toy/a-v0")):
        obs, _ = env.reset(seed=int(list(_seeds("toy/a-v0"))[number]))
        for step, action in enumerate(episode.actions):
            np.testing.assert_array_equal(obs, episode.observations[step])
            np.testing.assert_array_equal(obs, data.take(torch.tensor(row))[0]["obs"])
            obs, reward, terminated, truncated, _ = env.step(int(action))
            assert reward == data.reward[row]
            assert (terminated, truncated) == (data.terminated[row], data.truncated[row])
            row += 1
        np.testing.assert_array_equal(obs, data.final(torch.tensor(number))["obs"])
    env.close()


def _seeds(name):
    dataset = minari.load_dataset(name)
    return (said["seed"] for said in dataset.storage.get_episode_metadata(range(dataset.total_episodes)))


def test_minari_knows_the_environment():
    record("Pendulum-v1", episodes=1, config={"kwargs": {"g": 5.0}, "max_episode_steps": 30})
    env = minari.load_dataset("toy/a-v0").recover_environment()
    assert env.unwrapped.g == 5.0
    assert env.spec.max_episode_steps == 30
    env.close()


def test_the_same_seed_records_the_same_and_another_one_does_not():
    same = [record(name=f"toy/{name}-v0", seed=3).summary.returns for name in "ab"]
    assert same[0] == same[1]
    assert record(name="toy/c-v0", seed=4).summary.returns != same[0]


def test_chance_tells_its_probabilities():
    record(f"{TOYS}:Masked", episodes=2)
    data = load_demos(["toy/a-v0"])
    torch.testing.assert_close(data.logp, torch.full((16,), -math.log(2)))
    obs, action = data.take(torch.arange(16))
    assert obs["action_mask"].gather(1, action[:, None]).all()
    record("Pendulum-v1", episodes=1, name="toy/b-v0")
    torch.testing.assert_close(load_demos(["toy/b-v0"]).logp, torch.full((200,), -math.log(4.0)))


def test_a_mask_in_info_is_recorded():
    record("Taxi-v3", episodes=2)
    data = load_demos(["toy/a-v0"])
    obs, action = data.take(torch.arange(data.rows))
    assert obs["action_mask"].gather(1, action[:, None]).all()
    torch.testing.assert_close(data.logp, -obs["action_mask"].sum(1).log())


def test_a_therapist_of_the_therapy():
    made = record("proximo/Therapy-v0", policy="complement", episodes=3)
    data = load_demos(["toy/a-v0"])
    obs, action = data.take(torch.arange(data.rows))
    from proximo.envs.therapy.octants import COMPLEMENT

    assert action.tolist() == [int(COMPLEMENT[i]) for i in obs["client_action"]]
    assert data.logp.eq(0).all()
    assert len(made.summary.successes) == 3


def test_a_policy_that_tells_no_probability():
    record(policy=f"{HERE}:Silent")
    assert load_demos(["toy/a-v0"]).logp is None


def test_a_name_is_taken_once():
    record(seed=1)
    before = load_demos(["toy/a-v0"]).reward
    with pytest.raises(UserError, match=r"toy/a-v0 exists: give --overwrite, or another version"):
        record(seed=2)
    assert torch.equal(load_demos(["toy/a-v0"]).reward, before)
    made = record(seed=2, overwrite=True)
    assert load_demos(["toy/a-v0"]).returns.tolist() == made.summary.returns
    assert [path.name for path in store.root().iterdir()] == ["toy"]


@pytest.mark.parametrize(
    ("policy", "kind", "match"),
    [
        ("Wrong", UserError, r"Wrong: 2 is no action of Discrete\(2\)"),
        ("Failing", RunError, r"Failing.act raised ZeroDivisionError: no idea"),
        ("Mute", UserError, r"Mute: it needs a method act\(obs, info\)"),
    ],
)
def test_a_policy_that_cannot_go_on_leaves_nothing(policy, kind, match):
    record(seed=1)
    with pytest.raises(kind, match=match):
        record(policy=f"{HERE}:{policy}", overwrite=True)
    assert load_demos(["toy/a-v0"]).episodes == 5
    assert [path.name for path in store.root().iterdir()] == ["toy"]


def test_unknown_policies_are_refused():
    with pytest.raises(UserError, match=r"--policy warm: it is random, keyboard, module:Class$"):
        record(policy="warm")
    with pytest.raises(UserError, match=r"did you mean omniscient\?"):
        record("proximo/Therapy-v0", policy="omnicient")


class Tired:
    """Stops in the middle of the third episode."""

    label, form, places, render_mode = "tired", "environment", 1, None

    def __init__(self, patience=2):
        self.patience = patience

    def begin(self, place, env, seed):
        self.patience -= 1

    def close(self):
        self.closed = True

    def act(self, places, obs, infos):
        if self.patience < 0:
            raise Stop
        return [Choice(0)]


def test_who_stops_keeps_what_was_finished():
    who = Tired()
    assert record(policy=who).summary.stopped
    assert who.closed
    assert load_demos(["toy/a-v0"]).episodes == 2


def test_who_stops_at_once_writes_nothing():
    with pytest.raises(UserError, match="no episode was finished and good enough: toy/a-v0 was not written"):
        record(policy=Tired(0))
    assert not store.present("toy/a-v0")


KILLED = """
import os, signal
from proximo.config.experiment import EnvConfig
from proximo.demos import write
from proximo.recipes.demos import record_demos
from proximo.demos.scripted import scripted
write.BUFFERED_STEPS = 1
config = EnvConfig(id="CartPole-v1")
said = []
def say(line):
    said.append(line)
    if len(said) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
record_demos(config, scripted("random", config, 0), "toy/a-v0", 20, 0, overwrite=True, say=say)
"""


def test_a_killed_recording_leaves_no_half_of_a_data_set():
    record(seed=1)
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(store.root().glob(f"{store.PARTIAL}*"))) == 1
    assert load_demos(["toy/a-v0"]).episodes == 5
    assert [each.name for each in store.local()] == ["toy/a-v0"]
    assert list(minari.list_local_datasets()) == ["toy/a-v0"]
    record(name="toy/b-v0")
    assert not list(store.root().glob(f"{store.PARTIAL}*"))


def test_an_interrupted_recording_leaves_nothing():
    def interrupt(line):
        raise KeyboardInterrupt

    config = EnvConfig(id="CartPole-v1")
    with pytest.raises(KeyboardInterrupt):
        record_demos(config, scripted("random", config, 0), "toy/a-v0", 20, 0, say=interrupt)
    assert not list(store.root().glob("*"))


def test_two_recordings_at_once_do_not_take_each_others_folder():
    first = store.begin_partial("toy/a-v0")
    (first / "kept").touch()
    os.rename(first, first.with_name(first.name.replace(str(os.getpid()), str(os.getppid()))))
    store.begin_partial("toy/b-v0")
    assert len(list(store.root().glob(f"{store.PARTIAL}*/kept"))) == 1


def test_what_minari_cannot_keep_is_named():
    with pytest.raises(UserError, match=r"Strange: Minari cannot keep its spaces .*Graph"):
        record(f"{HERE}:Strange")
    assert not list(store.root().glob(f"{store.PARTIAL}*"))


class Eye(gym.Env):
    """Shows noise, which JPEG would change; two steps."""

    observation_space = spaces.Box(0, 255, (40, 40, 3), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown = [self.np_random.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(3)]
        self.seen = 0
        return self.shown[0], {}

    def step(self, action):
        self.seen += 1
        return self.shown[self.seen], 0.0, self.seen == 2, False, {}


@pytest.mark.parametrize("format_", ["hdf5", "arrow"])
def test_pictures_are_kept_exactly(format_):
    record(f"{HERE}:Eye", episodes=1, format_=format_)
    data = load_demos(["toy/a-v0"])
    env = make_single(environment(data))
    (seed,) = _seeds("toy/a-v0")
    env.reset(seed=int(seed))
    shown = torch.from_numpy(np.stack(env.unwrapped.shown))
    assert torch.equal(data.take(torch.arange(2))[0]["obs"], shown[:2])
    assert torch.equal(data.final(torch.arange(1))["obs"], shown[2:])


class Strange(gym.Env):
    observation_space = spaces.Graph(spaces.Discrete(2), None)
    action_space = spaces.Discrete(2)


def test_a_full_disk_is_one_line(monkeypatch):
    from minari.dataset._storages.hdf5_storage import HDF5Storage

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(HDF5Storage, "update_episodes", full)
    with pytest.raises(RunError, match=r"cannot write .*toy/a-v0: No space left on device; free some space"):
        record()
    assert not list(store.root().glob(f"{store.PARTIAL}*"))


def test_progress_is_ten_lines():
    lines = []
    config = EnvConfig(id="CartPole-v1")
    record_demos(config, scripted("random", config, 0), "toy/a-v0", 40, 0, say=lines.append)
    assert [line.partition(":")[0] for line in lines] == [f"episode {n} of 40" for n in range(4, 41, 4)]
    assert all("steps/s" in line for line in lines)


def test_only_what_is_good_enough_is_kept():
    everything = record(episodes=60, name="toy/all-v0").summary.returns
    good = [r for r in everything if r >= 25]
    assert 5 < len(good) < 40
    summary = record(episodes=len(good), min_return=25).summary
    assert summary.returns == good
    assert summary.tried == 1 + max(i for i, r in enumerate(everything) if r >= 25)
    assert load_demos(["toy/a-v0"]).returns.tolist() == good


def test_what_is_never_good_enough_ends():
    with pytest.raises(UserError, match="no episode was finished and good enough"):
        record(episodes=1, min_return=1e6)
