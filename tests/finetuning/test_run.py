"""Runs of a fine-tuning on tiny models of every family, and on nano."""

import dataclasses
import json
import shutil

import pytest
import torch
from fake_run import omnimem
from families import MAKERS
from watching import watch

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.finetuning.choices import Training
from omnimem_cli.finetuning.dataset import Example
from omnimem_cli.finetuning.example_watch import watch_example
from omnimem_cli.finetuning.rate import rate
from omnimem_cli.models.loader import load
from omnimem_cli.session.taught_answers import answer_ids
from omnimem_cli.tasks.ask import Ask
from omnimem_cli.tasks.presets.preset import Question
from omnimem_cli.world.mp4 import write_mp4
from omnimem_cli.world.questions import questions
from omnimem_cli.world.video import make_video

SETTINGS = Settings(budget=Budget(24), chunk=1, fps=1.0, max_pixels=56 * 56)  # a chunk is one segment
VIDEOS = {seed: make_video(seed, 2, "even", duration_s=seconds) for seed, seconds in ((1, 38.0), (2, 10.0))}
TRAINING = Training(rank=4, alpha=8.0, dropout=0.0, learning_rate=2e-2, epochs=4, warmup=0.0)


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Two short videos, and a file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in VIDEOS:
        write_mp4(VIDEOS[seed], folder / f"{seed}.mp4")
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture
def examples(clips):
    return [Example(str(n), clips / f"{n}.mp4", ((f"Which {n}?", "ab"), ("What?", f"c{n}"))) for n in (1, 2)]


def run_of(adapter, examples, folder, training=TRAINING, settings=SETTINGS, held_out=()):
    pytest.importorskip("peft")
    from omnimem_cli.finetuning.run import FinetuneRun

    return FinetuneRun(adapter, settings, training, examples, list(held_out), folder)


def silent(_progress):
    pass


@pytest.mark.parametrize("family", MAKERS)
def test_the_loss_falls_and_the_adapter_is_what_lowers_it(family, examples, tmp_path):
    folder = MAKERS[family](tmp_path / "model")
    run = run_of(load(str(folder), device="cpu"), examples, tmp_path / "lora")
    run.run(silent)
    losses = [record["loss"] for record in run.curve]
    assert sum(losses[-2:]) < 0.8 * sum(losses[:2])
    tuned, plain = (load(str(folder), device="cpu", lora=lora) for lora in (str(tmp_path / "lora"), None))
    after, before = (watch_example(examples[0], SETTINGS, adapter).loss().item() for adapter in (tuned, plain))
    assert before == pytest.approx(next(r["loss"] for r in run.curve if r["ids"] == ["1"]), rel=1e-3)
    assert after < 0.8 * before


@pytest.mark.parametrize("policy", ["omnimem", "streammem", "full"])
@pytest.mark.parametrize("family", MAKERS)
def test_the_loss_is_of_the_answers_that_would_be_decoded(family, policy, examples, tmp_path):
    adapter = load(str(MAKERS[family](tmp_path / "model")), device="cpu")
    settings = dataclasses.replace(SETTINGS, policy=policy)
    watched = watch_example(examples[0], settings, adapter)
    assert watched.memory.tokens_seen, "an earlier chunk was absorbed, or this says nothing of evictions"
    loss, losses = watched.loss().item(), []
    for question, answer in examples[0].pairs:
        (asked,), fork = watched.session.stream.question([question]), watched.memory.fork()
        hidden = fork.forward(asked.embeds[None], asked.positions[:, None])
        position = asked.positions[:, -1:]
        for token in answer_ids(adapter, answer):
            losses.append(-adapter.head(hidden[0, -1]).log_softmax(-1)[token])
            position = position + 1
            hidden = fork.forward(adapter.embed(torch.tensor([[token]])), position[:, None])
    assert loss == pytest.approx(torch.stack(losses).mean().item(), abs=1e-3)


def test_a_resumed_run_is_the_run_that_was_not_interrupted(tiny_folder, examples, tmp_path):
    training = dataclasses.replace(TRAINING, epochs=2, dropout=0.3, save_every=2)
    whole = run_of(load(str(tiny_folder), device="cpu"), examples, tmp_path / "whole", training)
    saved = whole.save

    def save_and_copy():
        saved()
        if whole.step == 2:
            shutil.copytree(tmp_path / "whole", tmp_path / "part")

    whole.save = save_and_copy
    whole.run(silent)
    resumed = run_of(load(str(tiny_folder), device="cpu"), examples, tmp_path / "part", training)
    resumed.resume()
    assert resumed.step == 2
    resumed.run(silent)
    for name, matrix in whole.lora.state().items():
        assert torch.equal(matrix, resumed.lora.state()[name]), name
    assert [r["loss"] for r in resumed.curve] == [r["loss"] for r in whole.curve]
    other = dataclasses.replace(training, learning_rate=1e-3)
    with pytest.raises(UsageError, match="other data or settings"):
        run_of(load(str(tiny_folder), device="cpu"), examples, tmp_path / "part", other).resume()
    with pytest.raises(UsageError, match="no run to resume"):
        run_of(load(str(tiny_folder), device="cpu"), examples, tmp_path / "none", training).resume()


def test_a_video_that_cannot_be_watched_costs_itself_alone(tiny_folder, clips, examples, tmp_path):
    broken = Example("x", clips / "broken.mp4", (("What?", "a"),))
    training = dataclasses.replace(TRAINING, epochs=2)
    run = run_of(load(str(tiny_folder), device="cpu"), [*examples, broken], tmp_path / "lora", training)
    run.run(silent)
    assert list(run.failed) == ["x"] and sum("failed" in record for record in run.curve) == 1
    assert sum(record.get("loss") is not None for record in run.curve) == 4


def test_the_rate_rises_then_falls_along_a_cosine():
    rates = [rate(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(n + 1) / 10 for n in range(10)]) and rates[10] == 1
    assert rates[55] == pytest.approx(0.5) and 0 < rates[99] < 0.001


def data_file(folder, clips, names, answer="apple"):
    (asked,) = questions(VIDEOS[1], 0, ("first_slide",), 1)
    data = folder / "data.json"
    entries = []
    for name in names:
        turns = [{"from": "human", "value": "<video>\n" + asked.text}, {"from": "gpt", "value": answer}]
        entries.append({"id": name, "video": str(clips / f"{name}.mp4"), "conversations": turns})
    data.write_text(json.dumps(entries))
    return data


def test_nano_is_validated_by_its_answers_and_results_name_the_adapter(clips, tmp_path, capsys):
    pytest.importorskip("peft")
    lora = tmp_path / "lora"
    (asked,) = questions(VIDEOS[1], 0, ("first_slide",), 1)
    data = data_file(tmp_path, clips, ["1", "1"], asked.answer.upper())
    shutil.copy(clips / "1.mp4", tmp_path / "copy.mp4")
    entries = json.loads(data.read_text())
    entries[1] |= {"id": "2", "video": "copy.mp4"}
    data.write_text(json.dumps(entries))
    options = ("-m", "nano", "--budget", "60", "--chunk", "140", "--rank", "8", "--validate", "0.5", "-q")
    assert omnimem("finetune", str(data), "-o", str(lora), *options) == 0
    step, validation = [json.loads(line) for line in (lora / "loss.jsonl").read_text().splitlines()]
    assert step["loss"] > 0 and validation["validation"]["exact"] == 1 and validation["validation"]["answers"] == 1
    settings = Settings(model="nano", adapter=str(lora))
    ask = Ask(settings, [Question("q", asked.text)])
    result = watch(clips / "1.mp4", settings, ask, load("nano", lora=str(lora)))
    assert result["answers"][0]["answer"] == asked.answer.strip() and result["model"]["adapter"]["name"] == "lora"
    assert omnimem("finetune", str(data), "-o", str(lora), *options) == 2 and "--resume" in capsys.readouterr().err
    assert omnimem("finetune", str(data), "-o", str(lora), *options, "--resume") == 0


def test_nano_learns_another_answer(examples, tmp_path):
    training = dataclasses.replace(TRAINING, learning_rate=3e-3, epochs=8)
    settings = dataclasses.replace(SETTINGS, chunk=140)
    run = run_of(load("nano"), examples[1:], tmp_path / "lora", training, settings)
    run.run(silent)
    assert run.curve[-1]["loss"] < 0.85 * run.curve[0]["loss"]


def test_exit_codes_of_videos_that_cannot_be_watched(clips, tmp_path, capsys):
    pytest.importorskip("peft")
    short = ("-m", "nano", "--epochs", "1", "--rank", "2", "-q")
    some, none = data_file(tmp_path, clips, ["1", "broken"]), tmp_path / "none.json"
    assert omnimem("finetune", str(some), "-o", str(tmp_path / "a"), *short) == 3
    none.write_text(json.dumps(json.loads(some.read_text())[1:]))
    assert omnimem("finetune", str(none), "-o", str(tmp_path / "b"), *short) == 4
    assert omnimem("finetune", str(tmp_path / "gone.json"), "-o", str(tmp_path / "c"), *short) == 2
    assert omnimem("finetune", str(some), "-o", str(tmp_path / "d"), *short, "--targets", "mlp") == 2
    assert "q_proj" in capsys.readouterr().err


def test_dropout_is_on_only_while_weights_are_taught(tiny_folder, examples, tmp_path):
    run = run_of(load(str(tiny_folder), device="cpu"), examples, tmp_path, dataclasses.replace(TRAINING, dropout=0.3))
    drops = [module for module in run.adapter.decoder.modules() if isinstance(module, torch.nn.Dropout)]
    with run.lora.teaching():
        assert drops and all(module.training for module in drops)
    assert not any(module.training for module in run.adapter.model.modules())
