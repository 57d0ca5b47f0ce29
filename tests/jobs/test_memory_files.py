"""A memory that was saved and loaded is the memory that was watched; whatever else is in a file is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import footage
import jsonschema
import pytest
import torch
from kept import MODEL, loaded, logits, same_state, saved, watched
from salmonn_tiny import tiny_salmonn
from tiny_qwen3 import tiny_qwen3_omni

import omnimem_cli
from omnimem_cli.base.budget import Budget
from omnimem_cli.base.errors import InputError, UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs import recall
from omnimem_cli.jobs.watched import Watched
from omnimem_cli.memory.policies import POLICIES
from omnimem_cli.models.loader import load
from omnimem_cli.results.result import schema
from omnimem_cli.session.memory_file import part_sizes, read_header, read_memory_file, write_memory_file
from omnimem_cli.session.plan_file import EvidenceRule
from omnimem_cli.tasks.several import Part

SETTINGS = Settings(budget=Budget(90), max_tokens=4, fps=1, max_pixels=56 * 56, chunk=100)
DEMO = Path(omnimem_cli.__file__).parent / "world" / "demo.mp4"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return footage.av(tmp_path_factory.mktemp("clip"), video_s=12, audio_s=12)


@pytest.fixture(scope="module")
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("family") / request.param
    make = tiny_qwen3_omni if request.param == "qwen3-omni" else lambda path: tiny_salmonn(path, request.param)
    return load(str(make(folder)), device="cpu")


def check_same_answers(one: Watched, path: Path, adapter) -> None:
    """The memory of the file is that of ``one``: state, logits and answers, bit for bit."""
    again = loaded(saved(one, path), adapter)
    assert same_state(one, again)
    assert torch.equal(logits(one), logits(again))
    assert one.ask("What?", "And who is it?") == again.ask("What?", "And who is it?")


@pytest.mark.parametrize("positions", ["keep", "lazy", "eager", "retime"])
@pytest.mark.parametrize("policy", [*POLICIES, "omnimem:score=code", "hermes:pool=split"])
def test_a_loaded_memory_answers_bit_for_bit_as_the_saved_one(policy, positions, clip, tiny_adapter, tmp_path):
    settings = replace(SETTINGS, policy=policy, positions=positions)
    check_same_answers(watched(clip, settings, tiny_adapter), tmp_path / "a.omnimem", tiny_adapter)


def test_what_a_watch_was_about_is_in_its_facts_and_file_and_another_focus_is_another_memory(
    clip, tiny_adapter, tmp_path
):
    settings = replace(SETTINGS, focus=("the budget", "who speaks"))
    one = watched(clip, settings, tiny_adapter)
    path = saved(one, tmp_path / "a.omnimem")
    assert one.facts["memory"]["focus"] == read_header(path)["settings"]["focus"] == ["the budget", "who speaks"]
    check_same_answers(one, path, tiny_adapter)
    again = loaded(path, tiny_adapter)
    assert again.settings.focus == again.session.memory.focus == settings.focus
    assert loaded(path, tiny_adapter, settings).settings.focus == settings.focus
    with pytest.raises(UsageError, match="--focus"):
        loaded(path, tiny_adapter, replace(settings, focus=("cats",)))
    digest = one.facts["input"]["digest"]
    same = [recall.is_memory_of(path, digest, {"name": MODEL["name"]}, each) for each in (settings, SETTINGS)]
    assert same == [True, False]
    assert "focus" not in watched(clip, SETTINGS, tiny_adapter).facts["memory"]


def test_a_loaded_memory_has_the_evidence_rule_of_its_watch(clip, tiny_adapter, tmp_path):
    plan = tmp_path / "plan.json"
    rule = {"heads": [[1, 0], [3, 2]], "least_score": 0.0}
    budgets = [[10, 30], [20, 20], [5, 55], [10, 10]]
    plan.write_text(json.dumps({"model": {"name": tiny_adapter.name}, "budgets": budgets, "evidence": rule}))
    one = watched(clip, replace(SETTINGS, plan=str(plan)), tiny_adapter)
    again = loaded(saved(one, tmp_path / "a.omnimem"), tiny_adapter)
    assert one.session.evidence_rule == again.session.evidence_rule == EvidenceRule(((1, 0), (3, 2)), 0.0)
    assert again.session.ask(["What?"], max_tokens=4, evidence=True)[0].evidence


def test_a_memory_with_an_evidence_rule_of_another_model_is_refused(clip, tiny_adapter, tmp_path):
    one = watched(clip, SETTINGS, tiny_adapter)
    one.session.evidence_rule = EvidenceRule(((99, 0),), 0.0)
    with pytest.raises(InputError):
        loaded(saved(one, tmp_path / "a.omnimem"), tiny_adapter)


@pytest.mark.parametrize("policy", ["omnimem", "snapkv", "streammem"])
@pytest.mark.parametrize("kv_bits", [8, 4])
def test_a_quantized_memory_is_saved_as_codes_and_loaded_bit_for_bit(kv_bits, policy, clip, tiny_adapter, tmp_path):
    one = watched(clip, replace(SETTINGS, policy=policy, kv_bits=kv_bits, positions="eager"), tiny_adapter)
    check_same_answers(one, tmp_path / "a.omnimem", tiny_adapter)
    assert one.facts["memory"]["kv_bits"] == kv_bits
    sizes, stores = part_sizes(tmp_path / "a.omnimem"), one.session.memory.stores
    assert sizes["keys and values"] == sum(len(store) * store.kv_bytes for store in stores)
    assert sizes["tables"] == sum(store.table.nbytes for store in stores)
    with pytest.raises(UsageError, match="another --kv-bits"):
        loaded(tmp_path / "a.omnimem", tiny_adapter, Settings(kv_bits=12 - kv_bits))


def test_a_file_without_bits_is_of_whole_entries(clip, tiny_adapter, tmp_path):
    one = watched(clip, SETTINGS, tiny_adapter)
    path = saved(one, tmp_path / "a.omnimem")
    header, state = read_memory_file(path)
    del header["settings"]["kv_bits"], header["facts"]["memory"]["kv_bits"]
    write_memory_file(path, {k: v for k, v in header.items() if k not in ("schema", "state", "checksums")}, state)
    assert recall.read_facts(path)["settings"] == SETTINGS.shaping
    assert same_state(one, loaded(path, tiny_adapter))


@pytest.mark.parametrize("positions", ["keep", "eager"])
@pytest.mark.parametrize("family", ["qwen3-omni", "salmonn25", "salmonn3"], indirect=True)
def test_every_family_can_be_loaded_again(family, positions, clip, tmp_path):
    one = watched(clip, replace(SETTINGS, positions=positions, budget=Budget(400)), family)
    check_same_answers(one, tmp_path / "a.omnimem", family)


@pytest.mark.parametrize("dtype", ["int8", "bfloat16"])
def test_other_types_of_weights_can_be_loaded_again(dtype, clip, tiny_folder, tmp_path):
    if dtype == "int8":
        pytest.importorskip("bitsandbytes")
    adapter = load(str(tiny_folder), device="cpu", dtype=dtype)
    check_same_answers(watched(clip, SETTINGS, adapter), tmp_path / "a.omnimem", adapter)


@pytest.mark.parametrize(("here", "there"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_a_memory_of_other_fractions_is_read_in_the_models_own(here, there, clip, tiny_folder, tmp_path):
    one, other = (load(str(tiny_folder), device="cpu", dtype=dtype) for dtype in (here, there))
    again = loaded(saved(watched(clip, SETTINGS, one), tmp_path / "a.omnimem"), other)
    assert again.session.memory.stores[0].state()["key"].dtype == other.dtype
    assert len(again.ask("What?")) == 1


@pytest.mark.parametrize("policy", ["omnimem", "streammem", "hermes", "uniform"])
def test_a_watch_in_two_parts_with_a_file_between_them_equals_an_unbroken_one(policy, clip, tiny_adapter, tmp_path):
    settings = replace(SETTINGS, policy=policy, budget=Budget(9), chunk=8, no_audio=True)  # two segments a chunk
    part = watched(clip, replace(settings, end_s=8.0), tiny_adapter)
    again = loaded(saved(part, tmp_path / "a.omnimem"), tiny_adapter, settings)
    whole = watched(clip, settings, tiny_adapter)
    continued = watched(clip, settings, tiny_adapter, before=again)
    assert part.session.chunks_seen < continued.session.chunks_seen
    assert same_state(whole, continued)
    assert continued.facts["coverage"] == whole.facts["coverage"]


def test_a_watch_with_sound_in_two_parts_covers_all_of_it(clip, tiny_adapter, tmp_path):
    part = watched(clip, replace(SETTINGS, end_s=8.0), tiny_adapter)
    again = loaded(saved(part, tmp_path / "a.omnimem"), tiny_adapter)
    continued = watched(clip, SETTINGS, tiny_adapter, before=again)
    whole = watched(clip, SETTINGS, tiny_adapter)
    assert continued.facts["coverage"] == whole.facts["coverage"]
    assert continued.session.memory.seen == whole.session.memory.seen


def test_a_part_that_ends_inside_a_segment_is_continued_where_it_ended(clip, tiny_adapter):
    part = watched(clip, replace(SETTINGS, end_s=7.0), tiny_adapter)
    continued, whole = watched(clip, SETTINGS, tiny_adapter, before=part), watched(clip, SETTINGS, tiny_adapter)
    assert continued.facts["coverage"] == whole.facts["coverage"]
    assert continued.session.end_s == whole.session.end_s


def test_a_memory_that_was_continued_is_saved_with_its_own_budgets(clip, tiny_adapter, tmp_path):
    part = watched(clip, replace(SETTINGS, end_s=8.0), tiny_adapter)
    continued = watched(clip, replace(SETTINGS, budget=Budget(60)), tiny_adapter, before=part)
    header = recall.read_facts(saved(continued, tmp_path / "a.omnimem"))
    assert {sum(pair) for pair in header["opening"]["budgets"]} == {90}


def test_an_input_of_another_form_cannot_continue_a_memory(clip, tiny_adapter):
    part = watched(clip, replace(SETTINGS, end_s=8.0), tiny_adapter)
    with pytest.raises(InputError, match="another form"):
        watched(clip, replace(SETTINGS, no_audio=True), tiny_adapter, before=part)


def test_the_header_is_as_its_schema_says_and_holds_no_path_of_folders(clip, tiny_adapter, tmp_path):
    path = saved(watched(clip, SETTINGS, tiny_adapter, {"transcript": Part("transcribe")}), tmp_path / "a.omnimem")
    facts = recall.read_facts(path)
    jsonschema.Draft202012Validator.check_schema(schema("memory-1"))
    assert facts["facts"]["input"]["digest"].startswith("sha256:")
    assert facts["model"]["memory_dtype"] == "float32"
    assert [part["task"] for part in facts["taken"]] == ["transcribe"]


def test_the_file_is_at_most_three_percent_larger_than_the_memory(tmp_path):
    memory = omnimem_cli.load_model("nano").watch(DEMO)
    memory.save(tmp_path / "demo.omnimem")
    assert 1 <= (tmp_path / "demo.omnimem").stat().st_size / memory.facts["memory"]["bytes"] <= 1.03


def test_a_new_process_gives_the_same_answer(tmp_path):
    memory = omnimem_cli.load_model("nano").watch(DEMO)
    memory.save(tmp_path / "demo.omnimem")
    code = "import omnimem_cli, sys; print(omnimem_cli.load_model('nano').load(sys.argv[1]).ask('What was shown?'))"
    command = [sys.executable, "-c", code, str(tmp_path / "demo.omnimem")]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert ended.stdout.strip() == str(memory.ask("What was shown?"))


def test_importing_the_package_imports_no_torch():
    code = "import sys, omnimem_cli; omnimem_cli.__all__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("name", ["name", "revision", "config"])
def test_the_memory_of_another_model_is_a_usage_error(name, clip, tiny_adapter, tmp_path):
    path = saved(watched(clip, SETTINGS, tiny_adapter), tmp_path / "a.omnimem")
    with pytest.raises(UsageError, match="is a memory of tiny") as refused:
        recall.recall(path, tiny_adapter, MODEL | {name: "other"}, Settings())
    assert "-m" in refused.value.hint


def test_a_setting_that_the_watch_did_not_have_is_a_usage_error(clip, tiny_adapter, tmp_path):
    path = saved(watched(clip, SETTINGS, tiny_adapter), tmp_path / "a.omnimem")
    with pytest.raises(UsageError, match="--budget"):
        recall.recall(path, tiny_adapter, MODEL, Settings(budget=Budget(91)))
    recall.recall(path, tiny_adapter, MODEL, Settings(budget=Budget(90)))


def test_the_file_has_the_permissions_of_the_users_umask(clip, tiny_adapter, tmp_path):
    import os

    one = watched(clip, SETTINGS, tiny_adapter)
    before = os.umask(0o027)
    try:
        path = saved(one, tmp_path / "a.omnimem")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_of_a_newer_version_says_so(clip, tiny_adapter, tmp_path, monkeypatch):
    import omnimem_cli.session.memory_file as memory_file

    one = watched(clip, SETTINGS, tiny_adapter)
    monkeypatch.setattr(memory_file, "SCHEMA", "omnimem/memory/2")
    path = saved(one, tmp_path / "a.omnimem")
    with pytest.raises(InputError) as refused:
        read_memory_file(path)
    assert refused.value.code == "memory_newer"


def test_other_files_are_no_memories(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3)}, tmp_path / "weights.omnimem")
    (tmp_path / "text.omnimem").write_text("# notes\n")
    (tmp_path / "empty.omnimem").touch()
    for name in ("weights", "text", "empty"):
        with pytest.raises(InputError) as refused:
            read_header(tmp_path / f"{name}.omnimem")
        assert refused.value.code == "not_memory"
    with pytest.raises(InputError) as refused:
        read_header(tmp_path / "none.omnimem")
    assert refused.value.code == "missing"


def test_the_results_of_one_watch_are_those_of_their_own_commands(clip, tiny_adapter):
    parts = {
        "summary": Part("summarize", {"style": "brief"}),
        "chapters": Part("summarize", {"style": "chapters", "notes_s": 5.0}),
        "transcript": Part("transcribe", {"window_s": 5.0}),
        "answers": Part("ask", {"questions": recall_questions("What?", "Who?")}),
    }
    from omnimem_cli.tasks.several import Several

    settings = replace(SETTINGS, budget=Budget(12), chunk=40)
    task = Several(settings, parts)
    one = watch_with(clip, task, tiny_adapter, settings)
    assert one.facts["memory"]["seen"]["audio"] > 10 * one.facts["memory"]["kept"]["audio"], "little is kept"
    together = one.result(task)["results"]
    for key, part in parts.items():
        alone_task = Several(settings, {key: part})
        alone = watch_with(clip, alone_task, tiny_adapter, settings).result(alone_task)["results"][key]
        assert json.dumps(without_cost(together[key])) == json.dumps(without_cost(alone))


def recall_questions(*texts: str):
    from omnimem_cli.tasks.presets.library import as_questions

    return as_questions(texts)


def watch_with(clip, task, adapter, settings) -> Watched:
    from omnimem_cli.jobs.watch_one import watch_one
    from omnimem_cli.session.preflight import prepare

    prepared = prepare(str(clip), settings, adapter, task.recent_s)
    return watch_one(prepared, task, adapter, lambda progress: None)


def without_cost(result: dict) -> dict:
    memory = {key: value for key, value in result["memory"].items() if key != "peak_bytes"}
    return {key: value for key, value in result.items() if key != "timing"} | {"memory": memory}
