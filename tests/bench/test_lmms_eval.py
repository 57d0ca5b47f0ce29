"""omnimem as a model of lmms-eval: by lmms-eval's own command where it is installed, by a stand-in elsewhere."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import InputError, MissingError, UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.bench.public.answers import all_answered
from omnimem_cli.bench.public.dataset import Clip, Dataset, Item
from omnimem_cli.bench.public.videomme import SUBTITLES
from omnimem_cli.bench.public.watches import batch_of, jobs_of
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.world.mp4 import write_mp4
from omnimem_cli.world.questions import questions
from omnimem_cli.world.video import make_video

ROOT = Path(__file__).parents[2]
KINDS = ("digit", "word_at", "first_slide", "count_words")
BUDGET = 256
INSTALLED = importlib.util.find_spec("lmms_eval") is not None
OURS = Dataset("world", None, lambda text, options: text, None, "", "", "")


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> list[Clip]:
    """Four generated clips, in the world that nano knows, with questions about each."""
    folder, made = tmp_path_factory.mktemp("clips"), []
    for number in range(4):
        video, path = make_video(61_000 + number, 4, "even", split="eval"), folder / f"{number}.mp4"
        write_mp4(video, path)
        asked = enumerate(questions(video, 0, KINDS))
        items = tuple(Item(f"{number}-{i}", q.text, (), q.answer, (q.kind,), {}) for i, q in asked)
        made.append(Clip(path.stem, path.stem, path, items))
    return made


def docs_of(clips: list[Clip]) -> list[dict]:
    """The first question about each clip, then the second one, and so on."""
    docs = [
        {"video": str(clip.path), "question": item.prompt, "answer": item.answer, "id": item.id}
        for clip in clips
        for item in clip.items
    ]
    return sorted(docs, key=lambda doc: doc["id"][::-1])


def run_ours(clips: list[Clip], out: Path) -> dict[str, tuple[str, bool]]:
    """What ``bench run`` hears and how it judges that, by the question's id."""
    settings = Settings(model="nano", device="cpu", budget=Budget(entries=BUDGET), output=str(out))
    batch, jobs = batch_of(OURS, settings), jobs_of(clips, ["salience"], out)
    out.mkdir()
    ended = {job.key: batch.do_one(job, "") for job in jobs}
    return {one.item.id: (one.text, one.right) for one in all_answered(OURS, clips, jobs, ended)}


def lmms_eval(folder: Path, docs: list[dict], more: str = "", *arguments: str) -> subprocess.CompletedProcess[str]:
    """Its own command, on a task of these questions, with the entry points of this working tree."""
    task, info = folder / "task", folder / "omnimem_cli-0.dist-info"
    for made in (task, info):
        made.mkdir(parents=True, exist_ok=True)
    source = ROOT / "tests/support/world_task"
    (task / "utils.py").write_text((source / "utils.py").read_text())
    (task / "world.yaml").write_text((source / "world.yaml").read_text().replace("questions", f"{task}/questions"))
    (task / "questions.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    text = "".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in one.items()) for group, one in groups.items())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: omnimem-cli\nVersion: 0\n")
    (info / "entry_points.txt").write_text(text)
    command = [sys.executable, "-m", "lmms_eval", "eval", "--model", "omnimem", "--tasks", "omnimem_world"]
    command += ["--model_args", f"model=nano,device=cpu,budget={BUDGET}{more}", "--include_path", str(task)]
    command += ["--batch_size", "1", "--log_samples", "--output_path", str(folder / "out"), *arguments]
    paths = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=folder, env=os.environ | paths, capture_output=True, text=True)


def accuracy(folder: Path) -> float:
    (path,) = (folder / "out").rglob("*_results.json")
    return json.loads(path.read_text())["results"]["omnimem_world"]["right,none"]


@pytest.mark.slow  # lmms-eval reads a thousand tasks before it begins: a minute and more on a busy core
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not INSTALLED, reason="lmms-eval is not installed")
class TestItsOwnCommand:
    def test_answers_and_accuracy_are_those_of_bench_run(self, clips, tmp_path):
        docs = docs_of(clips)
        done = lmms_eval(tmp_path, docs)
        assert done.returncode == 0, done.stderr
        ours = run_ours(clips, tmp_path / "ours")
        (samples,) = (tmp_path / "out").rglob("*_samples_omnimem_world.jsonl")
        lines = [json.loads(line) for line in samples.read_text().splitlines()]
        heard = {docs[line["doc_id"]]["id"]: line["filtered_resps"] for line in lines}
        assert heard == {name: text for name, (text, _) in ours.items()}
        right = [right for _, right in ours.values()]
        assert 0 < sum(right) < len(right), "questions that nano finds neither impossible nor too easy"
        assert accuracy(tmp_path) == pytest.approx(sum(right) / len(right))

    def test_a_missing_video_costs_the_score_unless_it_counts_as_wrong_and_the_rest_is_kept(self, clips, tmp_path):
        gone = {"video": str(tmp_path / "gone.mp4"), "question": "What?", "answer": "none", "id": "gone"}
        docs = [gone, *docs_of(clips[:1])]
        cache = ("--use_cache", str(tmp_path / "cache"))
        done = lmms_eval(tmp_path, docs, "", *cache)
        assert "1 of 5 questions have no answer" in done.stderr and not list(tmp_path.rglob("*_results.json"))
        done = lmms_eval(tmp_path, docs, ",failed=wrong", *cache)
        assert "They count as wrong" in done.stderr and 0 < accuracy(tmp_path) <= 4 / 5


class Heard:
    """A session that says what it is asked, and how."""

    def ask(self, texts: list[str], max_tokens: int, stop: tuple[str, ...]) -> list[SimpleNamespace]:
        return [SimpleNamespace(text=f"{text} {max_tokens} {list(stop)}") for text in texts]


@pytest.fixture
def plugin(monkeypatch) -> ModuleType:
    """The plugin over a stand-in for lmms-eval's two names, a model that is not loaded, and watches of nothing."""
    model, registry = ModuleType("lmms_eval.api.model"), ModuleType("lmms_eval.models.registry_v2")
    model.lmms = type("lmms", (), {})
    registry.ModelManifest = lambda name, **paths: (name, paths)
    for module in (
        ModuleType("lmms_eval"),
        ModuleType("lmms_eval.api"),
        ModuleType("lmms_eval.models"),
        model,
        registry,
    ):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    name = "omnimem_cli.bench.public.lmms_eval_model"
    monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(name)
    monkeypatch.setattr(LazyModel, "check_name", lambda self: None)
    monkeypatch.setattr(LazyModel, "load", lambda self: None)
    yield module
    sys.modules.pop(name, None)


@pytest.fixture
def watched(plugin, monkeypatch) -> list[str]:
    """The paths of all watches; one of "gone" fails."""
    paths = []

    def watch(self, view):
        paths.append(view.path)
        if view.path == "gone":
            raise InputError("gone does not exist.")
        return SimpleNamespace(session=Heard())

    monkeypatch.setattr(plugin.OmniMem, "watch", watch)
    return paths


def answers(plugin: ModuleType, docs: list, wishes: dict | None = None, **typed) -> Iterator[str]:
    model = plugin.OmniMem(batch_size=1, **typed)
    model.task_dict = {"task": {"test": docs}}
    own = {"max_new_tokens": 9} | (wishes or {})
    arguments = [("", lambda doc: [{"role": "user", "content": doc}], own, i, "task", "test") for i in range(len(docs))]
    return model.generate_until([SimpleNamespace(args=one) for one in arguments])


def doc(path: object, question: str, kind: str = "video") -> list[dict]:
    return [{"type": kind, "url": path}, {"type": "text", "text": question}]


def test_the_entry_point_names_the_class(plugin):
    group = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["lmms_eval.models"]
    module, _, name = group["omnimem"].partition(":")
    model_id, paths = getattr(importlib.import_module(module), name)
    assert model_id == "omnimem" and paths == {"chat_class_path": f"{module}.OmniMem"}
    assert not plugin.OmniMem.is_simple


def test_one_watch_answers_all_questions_about_a_video_in_the_order_of_the_requests(plugin, watched):
    asked = [doc("a", "1"), doc("b", "2"), doc("a", "3"), doc("b", "4"), doc("a", "1")]
    assert [answer[0] for answer in answers(plugin, asked)] == ["1", "2", "3", "4", "1"]
    assert watched == ["a", "b"]


def test_the_length_and_the_end_of_answers_are_the_tasks(plugin, watched):
    assert list(answers(plugin, [doc("a", "1")], {"max_new_tokens": 3, "until": ["END", ""]})) == ["1 3 ['END']"]


def test_a_failed_video_is_raised_when_every_other_one_has_been_tried(plugin, watched):
    heard = answers(plugin, [doc("gone", "1"), doc("a", "2"), doc("gone", "3"), doc("b", "4")])
    assert [next(heard)[:1] for _ in range(3)] == ["", "2", ""]
    with pytest.raises(plugin.FailedError, match=r"2 of 4 questions have no answer: gone\. "):
        next(heard)
    assert watched == ["gone", "a", "b"]


def test_a_failed_video_counts_as_wrong_where_that_is_wanted(plugin, watched, capsys):
    assert [one[:1] for one in answers(plugin, [doc("gone", "1"), doc("a", "2")], failed="wrong")] == ["", "2"]
    assert "warning: 1 of 2 questions have no answer: gone. They count as wrong." in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_part_of_a_video_is_watched_as_that_part(plugin, monkeypatch):
    ranges = []

    def prepare(path, settings, adapter):
        ranges.append((path, settings.start_s, settings.end_s))
        raise InputError("It is watched elsewhere.")

    monkeypatch.setattr("omnimem_cli.session.preflight.prepare", prepare)
    part = [doc("a", "1")[0] | {"start_time": 5.0, "end_time": 9.0}, {"type": "text", "text": "1"}]
    assert list(answers(plugin, [part, doc("a", "2"), part], failed="wrong")) == ["", "", ""]
    assert ranges == [("a", 5.0, 9.0), ("a", None, None)]


def test_other_kinds_of_request_are_refused(plugin):
    model = plugin.OmniMem()
    for refused in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(UsageError):
            refused([])


def test_a_machine_that_lacks_something_ends_the_run(plugin, monkeypatch):
    def watch(self, view):
        raise MissingError("There is no ffmpeg.")

    monkeypatch.setattr(plugin.OmniMem, "watch", watch)
    with pytest.raises(MissingError):
        next(answers(plugin, [doc("a", "1"), doc("b", "2")]))


@pytest.mark.parametrize(
    ("refused", "wishes"),
    [
        (doc("a", f"{SUBTITLES} \nhello\nWhat?"), {}),
        (doc(object(), "What?"), {}),
        (doc("a.png", "What?", "image"), {}),
        ([*doc("a", "What?"), *doc("b", "Or?")], {}),
        (doc("a", "What?"), {"temperature": 0.7}),
        (doc("a", "What?"), {"num_beams": 5}),
    ],
)
def test_what_omnimem_does_not_do_is_refused_before_the_first_watch(refused, wishes, plugin, watched):
    with pytest.raises(UsageError):
        answers(plugin, [doc("b", "fine?"), refused], wishes)
    assert not watched


def test_settings_are_those_of_the_flags_and_others_are_refused(plugin):
    settings = plugin.settings_of({"model": "nano", "budget": "8k", "fps": 2, "kv_bits": 8, "no_audio": True})
    assert (settings.budget, settings.fps, settings.kv_bits) == (Budget(entries=8192), 2, 8) and settings.no_audio
    assert plugin.settings_of({"budget": 8192}).budget == Budget(entries=8192)
    assert not plugin.settings_of({}).no_audio, "sound is heard"
    for typed in ({"subtitles": "hint"}, {"start": "10"}, {"bugdet": "8k"}, {"kv_bits": 3}):
        with pytest.raises(UsageError):
            plugin.settings_of(typed)
    with pytest.raises(UsageError):
        plugin.OmniMem(failed="maybe")
