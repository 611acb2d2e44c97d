"""Downloading through Minari's own code from a hub on this machine; and what happens where there is none."""

import importlib.util
import json
import socket
import threading
import time

import pytest
from loopback_hub import Hub

from proximo.config.experiment import EnvConfig
from proximo.demos import fetch, store
from proximo.demos.minari import load_demos
from proximo.demos.scripted import scripted
from proximo.errors import UserError
from proximo.recipes.demos import record_demos

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("minari", "h5py", "pyarrow", "huggingface_hub")),
    reason="needs pip install 'proximo[demos]'",
)
NAME = "classic/cartpole/random-v0"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that has data set `NAME`, in a collection as Minari keeps it; nothing is on this disk."""
    with monkeypatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "remote"))
        config = EnvConfig(id="CartPole-v1")
        record_demos(config, scripted("random", config, 0), NAME, 3, 0, say=lambda line: None)
        said = tmp_path / "remote" / "classic" / "namespace_metadata.json"
        said.write_text(json.dumps({"datasets": [NAME], "namespaces": ["classic/cartpole"]}))
    served = Hub(tmp_path / "remote")
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HF_HUB_OFFLINE", "MINARI_REMOTE"):
        monkeypatch.delenv(name, raising=False)
    yield served
    served.close()


def test_what_is_not_here_is_downloaded(hub):
    lines = []
    data = load_demos([NAME], say=lines.append)
    assert data.episodes == 3
    assert lines == [f"downloading data set {NAME} from hf://farama-minari into {store.root()}"]
    asked = len(hub.requests)
    assert load_demos([NAME], say=lines.append).episodes == 3
    assert len(hub.requests) == asked
    assert not list(store.root().glob(f"{store.PARTIAL}*"))
    import minari.namespace

    assert minari.load_dataset(NAME).total_episodes == 3
    assert "classic/cartpole" in minari.namespace.list_local_namespaces()


def test_what_the_hub_does_not_have(hub):
    with pytest.raises(
        UserError, match=r"random-v1 cannot be downloaded .*doesn't exist.*demos record"
    ) as caught:
        load_demos(["classic/cartpole/random-v1"])
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="Couldn't find any version for dataset nobody/knows"):
        load_demos(["nobody/knows-v0"])
    assert not list(store.root().glob("*"))


def test_force_replaces_and_a_download_that_breaks_off_leaves_things_as_they_were(hub):
    fetch.fetch(NAME, say=lambda line: None)
    first = store.folder(NAME).stat().st_ino
    fetch.fetch(NAME, say=lambda line: None)
    second = store.folder(NAME).stat().st_ino
    assert second != first
    hub.cut = ".hdf5"
    with pytest.raises(UserError, match=f"data set {NAME} cannot be downloaded") as caught:
        fetch.fetch(NAME, say=lambda line: None)
    assert "\n" not in str(caught.value)
    assert store.folder(NAME).stat().st_ino == second
    assert load_demos([NAME]).episodes == 3
    assert not list(store.root().glob(f"{store.PARTIAL}*"))


# --- nobody there ---


def seconds(call, match):
    begun = time.monotonic()
    with pytest.raises(UserError, match=match):
        call()
    return time.monotonic() - begun


def test_a_hub_that_refuses_is_known_at_once():
    took = seconds(
        lambda: load_demos([NAME]), r"neither in .* nor to be had: http://127.0.0.1:9 does not answer"
    )
    assert took < fetch.REACH_SECONDS


def test_a_hub_that_says_nothing_is_known_in_seconds(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(fetch, "REACH_SECONDS", 0.3)
        seconds(lambda: load_demos([NAME]), "does not answer")


def test_a_name_server_that_says_nothing_is_not_waited_for(monkeypatch):
    over = threading.Event()

    def hangs(*_, **__):
        over.wait()
        raise OSError("too late")

    monkeypatch.setattr(fetch.urllib.request, "urlopen", hangs)
    assert fetch.unreachable("http://somewhere", seconds=0.2) == "no answer within 0.2 s"
    over.set()


def test_offline_is_respected(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=f"{NAME} is not on this disk, and HF_HUB_OFFLINE forbids downloads"):
        load_demos([NAME])
