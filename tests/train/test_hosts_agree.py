"""What several processes of a run must agree on, and what they tell each other of themselves."""

import dataclasses
import json
import sys
from dataclasses import replace

import jax
import pytest

from radmae_jax.data.index import index
from radmae_jax.plain import to_dict
from radmae_jax.train.hosts import Hosts, HostsDisagree, agree, gather, join, read_hosts
from radmae_jax.train.loop import train_run
from radmae_jax.train.presence import BEHIND_SECONDS, SILENT_SECONDS, Roll

_RUN = """
import json, sys
from pathlib import Path
from radmae_jax.config_checks import read_json
from radmae_jax.train.hosts import HostsDisagree, join, read_hosts
from radmae_jax.train.loop import train_run

if __name__ == "__main__":
    join(read_hosts(sys.argv[1]))
    own = {}  # what is asked of each configuration
    for path in map(Path, sys.argv[2].split(",")):
        try:
            own[path.stem] = train_run(read_json(path), path.with_suffix(""), quiet=True).step
        except HostsDisagree as error:
            own[path.stem] = str(error)
    print(json.dumps(own))
"""

# Once storage does not answer process 1, then it lacks a file of the newest checkpoint there.
_AWAY = """
import json, sys
from pathlib import Path
import jax
from orbax.checkpoint import CheckpointManager
from radmae_jax.config_checks import read_json
from radmae_jax.train.checkpoint import CheckpointError
from radmae_jax.train.hosts import join, read_hosts
from radmae_jax.train.loop import train_run

if __name__ == "__main__":
    join(read_hosts(sys.argv[1]))
    workdir, own, whole = Path(sys.argv[2]), [], CheckpointManager.restore
    for error in (OSError("no answer"), FileNotFoundError("no such file")):

        def restore(manager, step, args):
            if jax.process_index() == 1 and step == 6 and "state" in args.keys():
                raise error
            return whole(manager, step, args=args)

        CheckpointManager.restore = restore
        try:
            own.append(train_run(read_json(workdir.with_suffix(".json")), workdir).step)
        except CheckpointError as raised:
            own.append(str(raised))
    print(json.dumps(own))
"""


def test_a_host_that_would_train_something_else_is_refused_by_name(run_config, archive, tmp_path, start_processes):
    (tmp_path / "fewer").mkdir()
    for image in sorted((archive.parent / "images").iterdir())[:-1]:
        (tmp_path / "fewer" / image.name).symlink_to(image)
    other = tmp_path / "other.parquet"
    index(tmp_path / "fewer", other, workers=1, show_progress=False)
    cases = {
        "lengths": replace(run_config, bins=replace(run_config.bins, lengths=(20, 36))),
        "seed": replace(run_config, train=replace(run_config.train, seed=1)),
        "manifest": replace(run_config, data=replace(run_config.data, manifest=str(other))),
        "config.optim.learning_rate": replace(run_config, optim=replace(run_config.optim, learning_rate=2e-3)),
    }
    script = tmp_path / "run.py"
    script.write_text(_RUN)
    paths = {0: [], 1: []}
    for host, config in ((0, dict.fromkeys(cases, run_config)), (1, cases)):
        for name, asked in config.items():
            path = tmp_path / f"{host}" / f"{name}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(to_dict(asked)))
            paths[host].append(str(path))
    job = start_processes(2, lambda host, hosts: [sys.executable, str(script), hosts, ",".join(paths[host])])
    ended = job.ended()
    for code, out, _ in ended:
        assert code == 0, ended
        said = json.loads(out.splitlines()[-1])
        for name in cases:
            assert f"disagree: {name} is " in said[name], said[name]


def test_what_one_host_cannot_read_is_read_by_none(run_config, tmp_path, start_processes):
    """None waits for it either: those whose files are sound end, or take the one before, with it."""
    workdir, train = tmp_path / "run", replace(run_config.train, checkpoint_every=2)
    config = replace(run_config, train=replace(train, max_steps=6))
    train_run(config, workdir, devices=jax.devices()[:1], quiet=True)
    config = replace(run_config, train=replace(train, max_steps=4))  # no more is asked of it
    workdir.with_suffix(".json").write_text(json.dumps(to_dict(config)))
    script = tmp_path / "run.py"
    script.write_text(_AWAY)
    job = start_processes(2, lambda _, hosts: [sys.executable, str(script), hosts, str(workdir)])
    ended = job.ended()
    assert [code for code, _, _ in ended] == [0, 0], ended
    for (_, out, _), named in zip(ended, ("host 1: ", ""), strict=True):
        assert json.loads(out.splitlines()[-1]) == [f"{named}checkpoint 6: cannot be read: no answer", 4]
    said = " ".join(ended[0][2].split())
    assert "host 1: checkpoint 6: cannot be read: no such file; the one before is taken" in said
    assert "nothing to do: step 4 of 4 is done" in said


def test_hosts_are_spelled():
    assert read_hosts("") is None
    assert read_hosts("auto") == Hosts()
    assert read_hosts("10.0.0.1:1234,4,3") == Hosts("10.0.0.1:1234", 4, 3)
    with pytest.raises(ValueError, match="must be auto, or ADDRESS:PORT,COUNT,INDEX"):
        read_hosts("10.0.0.1")
    with pytest.raises(ValueError, match="the index is from 0 to COUNT - 1 = 3"):
        read_hosts("10.0.0.1:1234,4,4")
    join(None)


def test_one_process_agrees_with_itself():
    assert gather({"a": 1}) == [{"a": 1}]
    agree({"a": [1, 2]})


def test_disagreement_names_fields_hosts_and_values(monkeypatch):
    everyone = [
        {"seed": 0, "lengths": [1, 2]},
        {"seed": 0, "lengths": [1, 3]},
        {"seed": 7, "lengths": [1, 2], "new": 1},
    ]
    monkeypatch.setattr("radmae_jax.train.hosts.gather", lambda value: everyone)
    with pytest.raises(HostsDisagree) as raised:
        agree(everyone[0])
    assert str(raised.value) == (
        "the hosts disagree: lengths is [1, 3] on host 1, [1, 2] on host 0; seed is 7 on host 2, 0 on host 0; "
        "new is 1 on host 2, null on host 0"
    )


def test_every_field_of_a_run_is_compared(run_config, archive):
    from radmae_jax.data.dataset import open_dataset
    from radmae_jax.train.premises import common, premises_of

    dataset = open_dataset(run_config)
    fields = common(run_config, premises_of(run_config, dataset, 3))
    assert {"lengths", "seed", "manifest", "split", "config.optim.learning_rate", "jax"} <= fields.keys()
    own = {f"config.data.{name}" for name in ("manifest", "root", "workers", "threads", "prefetch_mib", "cache_mib")}
    settings = {f"config.{s.name}.{f.name}" for s in dataclasses.fields(run_config) for f in dataclasses.fields(s.type)}
    assert settings - fields.keys() == own | {"config.data.split", "config.train.start", "config.train.continue_from"}
    json.dumps(fields)


def test_presence_names_the_silent_and_those_behind_once():
    roll = Roll(3, own=0, now=0.0)
    for now in range(1, 200):
        roll.take(0, now, now, now)
        roll.take(1, now, min(now, 20), now)  # beats, but stays at step 20
        if now < 50:
            roll.take(2, now, now, now)
        said = roll.sentences(now)
        if now == 49 + SILENT_SECONDS + 1:
            assert said == ["host 2 has not been heard of for 11 s, after step 49"]
        elif now == 21 + BEHIND_SECONDS + 1:
            assert said == [f"host 1 is behind for 61 s: at step 20 of {now}"]
        else:
            assert said == [], now
    # Steps of the others are heard of seconds late: nobody is behind.
    even = Roll(2, own=0, now=0.0)
    for now in range(1, 200):
        even.take(0, now, 3 * now, now)
        even.take(1, now, 3 * now - 2, now)
        assert even.sentences(now) == []
    roll.take(2, 200, 200, 200)
    assert roll.sentences(200) == [] and roll.sentences(200 + SILENT_SECONDS + 1)[-1].startswith("host 2 has not")
