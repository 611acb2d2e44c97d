"""Reading data sets that Minari itself wrote: every row where it belongs, and what is refused."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from proximo.core.types import EnvSpec
from proximo.demos import mapped, store
from proximo.demos.fits import check_fits
from proximo.demos.minari import environment, load_demos
from proximo.errors import UserError

minari = pytest.importorskip("minari", reason="needs pip install 'proximo[demos]'")
pytest.importorskip("h5py", reason="needs pip install 'proximo[demos]'")
pytest.importorskip("pyarrow", reason="needs pip install 'proximo[demos]'")
pytestmark = pytest.mark.filterwarnings("ignore:`.*` is set to None:UserWarning", "ignore:env_spec is None")

BOX = spaces.Box(-np.inf, np.inf, (3,), np.float64)
BOUNDED = spaces.Box(-1.0, 1.0, (2,), np.float32)


def episode(length, first=0.0, *, end="terminated", action=None, infos=None):
    """Observation row i is `first + i` in all three numbers, the action i / 100, the reward i."""
    rows = first + np.arange(length + 1, dtype=np.float64)
    ends = np.zeros(length, bool)
    ends[-1:] = True
    never = np.zeros(length, bool)
    return minari.data_collector.EpisodeBuffer(
        observations=np.repeat(rows[:, None], 3, axis=1),
        actions=np.repeat(np.arange(length, dtype=np.float32)[:, None] / 100, 2, 1)
        if action is None
        else action,
        rewards=np.arange(length, dtype=np.float64),
        terminations=ends if end == "terminated" else never,
        truncations=ends if end == "truncated" else never,
        infos=infos or {},
    )


def write(name, buffers, *, obs=BOX, action=BOUNDED, env=None, format_="hdf5"):
    made = minari.create_dataset_from_buffers(
        name,
        buffers,
        env=env,
        observation_space=obs,
        action_space=action,
        data_format=format_,
        jpeg_encoding=False,
    )
    return made.storage.data_path


def silent(line):
    raise AssertionError(line)


@pytest.mark.parametrize("format_", ["hdf5", "arrow"])
def test_every_row_is_where_it_belongs(format_):
    write("toy/a-v0", [episode(3), episode(1, 100.0, end="truncated"), episode(4, 200.0)], format_=format_)
    data = load_demos(["toy/a-v0"], say=silent)
    assert data.lengths.tolist() == [3, 1, 4]
    obs, action = data.take(torch.arange(8))
    assert obs["obs"].dtype == torch.float32
    assert obs["obs"][:, 2].tolist() == [0, 1, 2, 100, 200, 201, 202, 203]
    torch.testing.assert_close(action[:, 1], torch.tensor([0, 1, 2, 0, 0, 1, 2, 3]) / 100)
    assert data.reward.tolist() == [0, 1, 2, 0, 0, 1, 2, 3]
    assert data.terminated.tolist() == [False, False, True, False, False, False, False, True]
    assert data.truncated.tolist() == [False, False, False, True, False, False, False, False]
    assert data.final(torch.arange(3))["obs"][:, 0].tolist() == [3, 101, 204]
    assert data.logp is None
    assert (data.names, data.env, data.form) == (("toy/a-v0",), None, "environment")
    assert data.action_space == BOUNDED


def test_a_recording_that_stopped_in_the_middle_is_truncated():
    write("toy/a-v0", [episode(3, end="")])
    data = load_demos(["toy/a-v0"])
    assert data.truncated.tolist() == [False, False, True]
    assert not data.terminated.any()


def test_what_goes_on_after_its_end_is_two_episodes():
    going_on = episode(5)
    going_on.terminations[1] = True
    write("toy/a-v0", [going_on])
    data = load_demos(["toy/a-v0"])
    assert data.lengths.tolist() == [2, 3]
    assert data.final(torch.arange(2))["obs"][:, 0].tolist() == [2, 5]


@pytest.mark.parametrize("format_", ["hdf5", "arrow"])
def test_nested_observations_and_discrete_actions(format_):
    space = spaces.Dict({"n": spaces.Discrete(9), "both": spaces.Tuple((BOX, spaces.MultiBinary(2)))})
    picture = spaces.Box(0, 255, (40, 40, 3), np.uint8)
    space["eye"] = picture
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)
    buffer = minari.data_collector.EpisodeBuffer(
        observations={
            "n": np.array([4, 5, 6, 7]),
            "both": (np.arange(12.0).reshape(4, 3), np.array([[0, 1]] * 4, np.int8)),
            "eye": pictures,
        },
        actions=np.array([5, 6, 7]),
        rewards=np.ones(3),
        terminations=np.array([False, False, True]),
        truncations=np.zeros(3, bool),
        infos={},
    )
    write("toy/a-v0", [buffer], obs=space, action=spaces.Discrete(3, start=5), format_=format_)
    data = load_demos(["toy/a-v0"])
    obs, action = data.take(torch.tensor([2, 0]))
    assert obs["n"].tolist() == [6, 4]
    assert obs["both.0"].tolist() == [[6, 7, 8], [0, 1, 2]]
    assert obs["both.1"].tolist() == [[0, 1], [0, 1]]
    assert torch.equal(obs["eye"], torch.from_numpy(pictures[[2, 0]]))
    assert action.tolist() == [7, 5]
    assert data.final(torch.tensor([0]))["n"].tolist() == [7]


def test_several_names_are_one_after_the_other():
    write("toy/a-v0", [episode(3)])
    write("toy/b-v1", [episode(2, 50.0)], format_="arrow")
    data = load_demos(["toy/b-v1", "toy/a-v0"], say=silent)
    assert data.take(torch.arange(5))[0]["obs"][:, 0].tolist() == [50, 51, 0, 1, 2]
    assert data.final(torch.arange(2))["obs"][:, 0].tolist() == [52, 3]
    assert data.names == ("toy/b-v1", "toy/a-v0")


def test_log_probabilities_count_only_where_all_have_them():
    known = {"logp_behavior": [math.nan, -1.5, -2.5, -3.5]}
    write("toy/a-v0", [episode(3, infos=known)])
    write("toy/b-v0", [episode(2)])
    assert load_demos(["toy/a-v0"], say=silent).logp.tolist() == [-1.5, -2.5, -3.5]
    lines = []
    assert load_demos(["toy/a-v0", "toy/b-v0"], say=lines.append).logp is None
    assert lines == ["demonstrations: 2 of 5 steps have no log-probability; none is used"]


def test_a_mask_in_infos_becomes_an_observation():
    mask = np.array([[1, 0], [0, 1], [1, 1]], np.int8)
    buffer = episode(2, action=np.array([0, 1]), infos={"action_mask": mask})
    write("toy/a-v0", [buffer], action=spaces.Discrete(2))
    data = load_demos(["toy/a-v0"])
    assert data.take(torch.arange(2))[0]["action_mask"].tolist() == [[1, 0], [0, 1]]
    assert data.final(torch.tensor([0]))["action_mask"].tolist() == [[1, 1]]
    assert data.obs_spaces["action_mask"] == spaces.MultiBinary(2)


def test_the_environment_is_recovered():
    buffer = minari.data_collector.EpisodeBuffer(
        observations=np.zeros((3, 4), np.float32),
        actions=np.array([0, 1]),
        rewards=np.ones(2),
        terminations=np.array([False, True]),
        truncations=np.zeros(2, bool),
        infos={},
    )
    write("toy/a-v0", [buffer], obs=None, action=None, env="CartPole-v1")
    assert environment(load_demos(["toy/a-v0"])).id == "CartPole-v1"
    write("toy/b-v0", [episode(2)])
    with pytest.raises(UserError, match=r"toy/b-v0: no environment is recorded; set env\.id"):
        environment(load_demos(["toy/b-v0"]))


def test_a_data_set_does_not_choose_which_file_is_executed():
    path = write("toy/a-v0", [episode(2)])
    said = json.loads((path / "metadata.json").read_text())
    said["proximo"] = {"env": {"id": "/tmp/evil.py:Env"}, "form": "environment"}
    (path / "metadata.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match="a file of code"):
        environment(load_demos(["toy/a-v0"]))


def test_what_changed_is_read_again_and_the_rest_is_not(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = write("toy/a-v0", [episode(3)])
    assert load_demos(["toy/a-v0"]).rows == 3
    (first,) = store.cache().glob("columns/*/*")
    with monkeypatch.context() as patch:
        patch.setattr(mapped, "_build", lambda *_: silent("read again"))
        assert load_demos(["toy/a-v0"]).rows == 3
    shutil.rmtree(path.parent)
    write("toy/a-v0", [episode(4)])
    assert load_demos(["toy/a-v0"]).rows == 4
    (second,) = store.cache().glob("columns/*/*")
    assert second != first


def test_a_reading_that_was_killed_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write("toy/a-v0", [episode(3)])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    load_demos(["toy/a-v0"])
    (place,) = store.cache().glob("columns/*/*")
    left = place.with_name(f".{place.name}-{gone.pid}")
    place.rename(left)
    assert load_demos(["toy/a-v0"]).rows == 3
    assert not left.exists()


MEMORY = """
import torch, tracemalloc
from proximo.demos.minari import load_demos

def held():
    # What is mapped from files does not count: the system takes it back whenever it needs the memory.
    (line,) = [line for line in open("/proc/self/status") if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024

quiet = lambda line: None
load_demos(["toy/small-v0"], say=quiet)
before = held()
tracemalloc.start()
data = load_demos(["toy/large-v0"], say=quiet)
print(tracemalloc.get_traced_memory()[1])
tracemalloc.stop()
data.take(torch.randint(data.rows, (200,)))
print(held() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read as Linux tells it")
def test_minibatches_need_no_whole_data_set_in_memory():
    space = spaces.Box(-np.inf, np.inf, (1024,), np.float32)

    def buffers(count):
        for number in range(count):
            made = episode(255, action=np.zeros((255, 2), np.float32))
            rows = np.full((256, 1024), number, np.float32)
            yield minari.data_collector.EpisodeBuffer(
                observations=rows,
                actions=made.actions,
                rewards=made.rewards,
                terminations=made.terminations,
                truncations=made.truncations,
                infos={},
            )

    write("toy/small-v0", list(buffers(4)), obs=space)
    write("toy/large-v0", list(buffers(48)), obs=space)
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert 48 * 256 * 4096 > 50e6
    peak_while_reading, held = map(int, done.stdout.split())
    assert peak_while_reading < 20e6
    assert held < 25e6


# --- what is refused ---


def refused(match, *names):
    with pytest.raises(UserError, match=match) as caught:
        load_demos(list(names) or ["toy/a-v0"], say=silent)
    assert "\n" not in str(caught.value)


def test_a_file_cut_short():
    path = write("toy/a-v0", [episode(50) for _ in range(20)]) / "main_data.hdf5"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused("data set toy/a-v0 cannot be read .*damaged or cut short")


def test_an_arrow_file_cut_short():
    path = write("toy/a-v0", [episode(50) for _ in range(3)], format_="arrow")
    (file,) = (path / "2").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:100])
    refused("data set toy/a-v0 cannot be read .*damaged or cut short")


def test_no_episodes():
    write("toy/a-v0", [])
    refused("data set toy/a-v0 is empty")


def test_metadata_that_promise_more():
    path = write("toy/a-v0", [episode(3)]) / "metadata.json"
    path.write_text(path.read_text().replace('"total_episodes": 1', '"total_episodes": 2'))
    refused("data set toy/a-v0 cannot be read|holds 1 of its 2 episodes")


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_damaged_metadata(text):
    (write("toy/a-v0", [episode(3)]) / "metadata.json").write_text(text)
    refused("metadata.json (cannot be read|holds no mapping)")


def test_metadata_without_spaces():
    path = write("toy/a-v0", [episode(3)]) / "metadata.json"
    said = json.loads(path.read_text())
    del said["observation_space"]
    path.write_text(json.dumps(said))
    refused("does not say its spaces")


def test_actions_outside_their_bounds():
    action = np.zeros((3, 2), np.float32)
    action[1, 1] = 1.2
    write("toy/a-v0", [episode(2), episode(3, action=action)])
    refused(r"toy/a-v0, episode 1: the action \[0.\s+1.2\] of step 1 lies outside Box\(-1.0, 1.0")


def test_actions_that_are_none():
    write("toy/a-v0", [episode(3, action=np.array([0, 3, 1]))], action=spaces.Discrete(3))
    refused("action 3 of step 1 lies outside Discrete")


def test_rounding_is_not_outside():
    write("toy/a-v0", [episode(2, action=np.full((2, 2), 1.00001, np.float32))])
    assert load_demos(["toy/a-v0"]).rows == 2


@pytest.mark.parametrize("what", ["observations", "rewards", "actions"])
def test_numbers_that_are_none(what):
    broken = episode(4)
    getattr(broken, what)[2] = np.nan
    write("toy/a-v0", [broken])
    refused("of step 2 is not finite")


def test_rows_that_are_missing():
    broken = episode(4)
    write(
        "toy/a-v0", [minari.data_collector.EpisodeBuffer(**{**vars(broken), "actions": broken.actions[:3]})]
    )
    refused(r"actions have shape \(3, 2\) instead of \(4, 2\)")


def test_data_sets_that_do_not_fit_each_other():
    write("toy/a-v0", [episode(3)])
    write("toy/b-v0", [episode(3)], action=spaces.Box(-2.0, 2.0, (2,)))
    refused("toy/a-v0 and toy/b-v0 do not fit each other: the actions", "toy/a-v0", "toy/b-v0")


def test_a_folder_is_named_by_its_path(tmp_path, monkeypatch):
    path = write("toy/a-v0", [episode(3)]).parent
    moved = path.rename(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    for name in (str(moved), "./mine", "./mine/data"):
        assert load_demos([name], say=silent).rows == 3
    refused("./yours: there is no data set in .*yours", "./yours")


@pytest.mark.parametrize("name", ["walker", "toy/../../etc-v0", "a/b-v0", "toy/a", "toy/ä-v0", ""])
def test_names_that_are_none(name):
    refused("is no name of a data set", name)


def test_no_names():
    with pytest.raises(UserError, match="name at least one"):
        load_demos([])


def test_neither_here_nor_to_be_had():
    refused("toy/a-v0 is neither in .* nor to be had: http://127.0.0.1:9 does not answer .*demos record RUN")
    with pytest.raises(
        UserError, match=r"toy/a-v0 is not in .*; proximo demos download toy/a-v0 gets it, or record one"
    ):
        load_demos(["toy/a-v0"], download=False)


# --- another environment ---


def spec(env_id="CartPole-v1", obs=None, action=BOUNDED):
    return EnvSpec(
        env_id, {"obs": obs or spaces.Box(-1, 1, (3,), np.float32)}, action, 1, torch.device("cpu")
    )


def recorded_in(env_id, name="toy/a-v0"):
    path = write(name, [episode(3)]) / "metadata.json"
    said = json.loads(path.read_text())
    said["env_spec"] = json.dumps({"id": env_id, "kwargs": {}})
    path.write_text(json.dumps(said))
    return load_demos([name])


def test_another_environment_is_refused_even_with_the_same_spaces():
    data = recorded_in("HalfCheetah-v5")
    with pytest.raises(
        UserError, match=r"recorded in HalfCheetah-v5\): data of another environment than Walker2d"
    ):
        check_fits(data, spec("Walker2d-v4"))
    assert check_fits(data, spec("Walker2d-v4"), same_name=False) is not None


def test_two_versions_of_an_environment_may_be_combined_and_two_environments_not():
    recorded_in("Walker2d-v5")
    recorded_in("Walker2d-v4", "toy/b-v0")
    recorded_in("HalfCheetah-v5", "toy/c-v0")
    lines = []
    assert load_demos(["toy/a-v0", "toy/b-v0"], say=lines.append).rows == 6
    assert lines == ["demonstrations: toy/a-v0 is of Walker2d-v5, toy/b-v0 of Walker2d-v4"]
    refused("one is of Walker2d-v5, the other of HalfCheetah-v5", "toy/a-v0", "toy/c-v0")


def test_another_version_of_the_environment_is_told():
    line = check_fits(recorded_in("Walker2d-v5"), spec("Walker2d-v4"))
    assert "recorded in Walker2d-v5" in line
    assert "training on Walker2d-v4" in line
    assert check_fits(load_demos(["toy/a-v0"]), spec("Walker2d-v5")) is None


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (
            {"obs": spaces.Box(-1, 1, (4,), np.float32)},
            r"observation 'obs' has shape \(3,\), that of .* \(4,\)",
        ),
        ({"obs": spaces.MultiDiscrete([2, 2, 2])}, "observation 'obs' is float32, that of .* int64"),
        (
            {"action": spaces.Box(-2.0, 2.0, (2,))},
            r"its actions are Box\(-1.0, 1.0.*those of .*Box\(-2.0, 2.0",
        ),
        ({"action": spaces.Box(-1.0, 1.0, (3,))}, "its actions are"),
        ({"action": spaces.Discrete(2)}, "its actions are"),
    ],
)
def test_other_spaces_are_refused(other, match):
    write("toy/a-v0", [episode(3)])
    with pytest.raises(UserError, match=match):
        check_fits(load_demos(["toy/a-v0"]), spec(**other))


def test_a_missing_observation_is_named():
    write("toy/a-v0", [episode(3)])
    wanted = EnvSpec("X-v0", {"eye": BOX}, BOUNDED, 1, torch.device("cpu"))
    with pytest.raises(UserError, match=r"has no observation 'eye', as X-v0 has \(it has obs\)"):
        check_fits(load_demos(["toy/a-v0"]), wanted)


def test_the_list_shows_what_is_there():
    write("toy/b-v0", [episode(3)])
    write("alone-v1", [episode(3), episode(2)], format_="arrow")
    assert [(each.name, each.episodes, each.steps, each.format) for each in store.local()] == [
        ("alone-v1", 2, 5, "arrow"),
        ("toy/b-v0", 1, 3, "hdf5"),
    ]
