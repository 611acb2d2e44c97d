"""The tree as data: paths, bounds, JSON Schema."""

from proximo.config import schema
from proximo.config.experiment import Experiment
from proximo.config.load import load_experiment


def test_the_walk_finds_nested_fields_of_all_alternatives() -> None:
    fields = {(f.path, f.variant): f for f in schema.walk()}
    assert fields["ppo.clip", ""].default == 0.2
    assert fields["env.id", ""].default is schema.REQUIRED
    assert fields["policy.memory.size", "gru"].allowed == "a whole number ≥ 1"
    assert fields["policy.memory.size", "lstm"].doc == "Width of the hidden state."
    assert ("rewards.<name>.weight", "custom") in fields
    assert ("env.wrappers.<n>.kwargs", "") in fields
    assert fields["device", ""].allowed == "auto | cpu | cuda | mps"
    assert fields["ppo.target_kl", ""].allowed == "a number > 0 | null"
    assert (
        fields["track", ""].allowed
        == "a list of: a mapping; type: tensorboard | wandb | trackio | module:Class"
    )
    assert fields["seed", ""].allowed == "a whole number ≥ 0 and < 2147483648"


def test_every_field_but_the_selectors_is_explained() -> None:
    bare = [f.path for f in schema.walk() if not f.doc and not f.path.endswith(".type")]
    assert bare == []


def test_the_json_schema_describes_fields() -> None:
    document = schema.json_schema()
    clip = document["$defs"]["PpoConfig"]["properties"]["clip"]
    assert clip["description"] == "The probability ratio counts only within 1 ± this."
    assert clip["exclusiveMinimum"] == 0
    assert document["additionalProperties"] is False
    assert document["required"] == ["env"]


def test_values_of_a_built_tree_have_the_paths_that_settings_use() -> None:
    experiment: Experiment = load_experiment("X-v0", ["track=[wandb]", "rewards.a.type=env"], untuned=True)
    found = {path: value for path, value, _ in schema.values(experiment)}
    assert found["track.0.project"] == "proximo"
    assert found["rewards.a.weight"] == 1.0
    assert found["policy.hidden_sizes"] == [64, 64]
    assert found["streams"] == {}
