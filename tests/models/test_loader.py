"""Loading a model: names, folders, and what can be wrong with them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import IMAGE, SOUND, tiny_omni, write_json
from tiny_qwen3 import tiny_qwen3_omni

from omnimem_cli.base.errors import MissingError, UsageError
from omnimem_cli.models import folder as checkpoint
from omnimem_cli.models import hub, loader
from omnimem_cli.models.catalogue import ROWS, row
from omnimem_cli.models.dummy import random_adapter
from omnimem_cli.models.families import families
from omnimem_cli.models.folder import is_installed
from omnimem_cli.models.loader import installed, load, locate


@pytest.fixture
def broken_folder(tiny_folder, tiny_full_folder, tmp_path):
    """Makes a copy of a whole folder, to be damaged."""

    def copy(full: bool = False) -> Path:
        return Path(shutil.copytree(tiny_full_folder if full else tiny_folder, tmp_path / "copy"))

    return copy


@pytest.fixture
def hub_cache(monkeypatch):
    """A made-up hub cache: hub id -> folder."""
    held: dict[str, Path] = {}
    monkeypatch.setattr(hub, "cached", lambda hub_id: held.get(hub_id))
    return held


def refused(folder: Path | str) -> MissingError:
    with pytest.raises(MissingError) as caught:
        load(str(folder), device="cpu")
    assert caught.value.exit_code == 5 and caught.value.hint
    return caught.value


def test_both_layouts_load_the_same_weights(tiny_folder, tiny_full_folder):
    one, other = (load(str(folder), device="cpu") for folder in (tiny_folder, tiny_full_folder))
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, other.model.state_dict()[name]), name
    assert one.eos_ids == other.eos_ids and one.patches == other.patches


def test_a_loaded_thinker_holds_what_was_saved(tiny_folder):
    saved = load_file(tiny_folder / "model.safetensors")
    held = load(str(tiny_folder), device="cpu").model.lm_head.weight
    assert torch.equal(held, saved["lm_head.weight"])


def test_dtype_is_float32_on_cpu_unless_asked(tiny_folder):
    assert load(str(tiny_folder), device="cpu").dtype == torch.float32
    adapter = load(str(tiny_folder), device="cpu", dtype="bfloat16")
    assert adapter.dtype == torch.bfloat16 and adapter.head(torch.zeros(64).bfloat16()).dtype == torch.float32


def test_a_folder_of_another_architecture_is_named(broken_folder):
    folder = broken_folder()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert "llama" in refused(folder).message


def test_a_folder_without_a_config_is_refused(tmp_path):
    assert "config.json" in refused(tmp_path).message


def test_a_config_that_is_not_json_is_refused(broken_folder):
    folder = broken_folder()
    (folder / "config.json").write_text("{")
    assert "not JSON" in refused(folder).message


def test_a_config_of_another_clock_is_refused(broken_folder):
    folder = broken_folder()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"position_id_per_seconds": 13}))
    assert "audio tokens per second" in refused(folder).message


def test_preprocessing_settings_that_the_towers_were_not_built_for_are_refused(broken_folder):
    folder = broken_folder(full=True)
    write_json(folder / "preprocessor_config.json", SOUND | IMAGE | {"patch_size": 16})
    assert "preprocessing settings" in refused(folder).message


def test_settings_of_pixels_that_are_absent_are_the_familys_own(tmp_path, broken_folder):
    folder = tiny_qwen3_omni(tmp_path / "three")
    whole = load(str(folder), device="cpu").patches
    write_json(folder / "preprocessor_config.json", SOUND)
    assert load(str(folder), device="cpu").patches == whole
    (folder / "preprocessor_config.json").unlink()
    assert load(str(folder), device="cpu").patches == whole and whole.image_mean == (0.5, 0.5, 0.5)
    folder = broken_folder(full=True)
    (folder / "preprocessor_config.json").unlink()
    assert load(str(folder), device="cpu").patches.image_mean[0] == IMAGE["image_mean"][0]


@pytest.mark.parametrize("change", [{"image_mean": [0.5] * 3}, {"image_std": [0.5] * 3}, {"rescale_factor": 1}])
def test_settings_of_pixels_that_are_another_familys_are_refused(broken_folder, change):
    folder = broken_folder(full=True)
    write_json(folder / "preprocessor_config.json", SOUND | IMAGE | change)
    assert next(iter(change)) in refused(folder).message


def test_the_pixels_of_qwen2_5_in_a_qwen3_folder_are_refused_before_a_weight_is_read(tmp_path):
    folder = tiny_qwen3_omni(tmp_path / "three")
    write_json(folder / "preprocessor_config.json", SOUND | IMAGE | {"patch_size": 16})
    assert "image_mean" in refused(folder).message
    with pytest.raises(MissingError, match="image_mean"):
        random_adapter(str(folder), device="meta")


@pytest.mark.parametrize("listed", [[829, 8294], 65, [], None, "absent"])
def test_an_answer_ends_at_the_ends_of_text_whatever_a_folder_lists(broken_folder, listed):
    folder = broken_folder()
    write_json(folder / "generation_config.json", {} if listed == "absent" else {"eos_token_id": listed})
    adapter = load(str(folder), device="cpu")
    ends = adapter.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert adapter.eos_ids == tuple(sorted(ends)), "what is an ordinary word of the text ends nothing"


def test_a_special_token_that_a_folder_lists_ends_an_answer_too(broken_folder):
    folder = broken_folder()
    other = load(str(folder), device="cpu").tokenizer.convert_tokens_to_ids("<|im_start|>")
    write_json(folder / "generation_config.json", {"eos_token_id": other})
    assert other in load(str(folder), device="cpu").eos_ids


def without_head(file: Path) -> None:
    tensors = {name: value for name, value in load_file(file).items() if not name.endswith("lm_head.weight")}
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize("make", [tiny_omni, tiny_qwen3_omni])
def test_a_head_that_alone_is_missing_is_the_input_embeddings(tmp_path, make):
    folder = make(tmp_path / "model")
    whole = load(str(folder), device="cpu")
    without_head(folder / "model.safetensors")
    adapter = load(str(folder), device="cpu")
    embeddings = adapter.decoder.get_input_embeddings().weight
    assert adapter.model.lm_head.weight is embeddings and not torch.equal(whole.model.lm_head.weight, embeddings)
    hidden = torch.randn(2, embeddings.shape[1])
    assert torch.equal(adapter.head(hidden), hidden @ embeddings.T)


def test_a_head_that_is_missing_with_another_weight_is_refused(broken_folder):
    folder = broken_folder()
    file = folder / "model.safetensors"
    without_head(file)
    tensors = {
        name: value for name, value in load_file(file).items() if not name.endswith("layers.0.mlp.up_proj.weight")
    }
    save_file(tensors, file, metadata={"format": "pt"})
    assert "lacks 2 of the model's weights" in refused(folder).message


def test_a_generation_config_that_is_not_json_is_refused(broken_folder):
    folder = broken_folder()
    (folder / "generation_config.json").write_text("{")
    assert "generation_config.json that is not JSON" in refused(folder).message


MALFORMED = [{"shape": [2]}, {"shape": "ab"}, {"data_offsets": [0]}, {"data_offsets": [0, "x"]}]


@pytest.mark.parametrize("header", [[], {"a": 1}, *({"a": entry} for entry in MALFORMED)])
def test_a_safetensors_file_with_another_header_is_refused(broken_folder, header):
    folder, text = broken_folder(), json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    assert "incomplete" in refused(folder).message


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "model.safetensors"])
def test_a_folder_in_the_place_of_a_file_is_refused(broken_folder, name):
    folder = broken_folder()
    (folder / name).unlink()
    (folder / name).mkdir()
    assert name in refused(folder).message


@pytest.mark.parametrize("shards", [3, {"a": 7}, None])
def test_an_index_that_names_no_files_is_refused(broken_folder, shards):
    folder = broken_folder(full=True)
    write_json(folder / "model.safetensors.index.json", {"weight_map": shards})
    assert "model.safetensors.index.json" in refused(folder).message


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("generation_config.json", {"repetition_penalty": "x"}),
        ("generation_config.json", {"eos_token_id": "x"}),
        ("generation_config.json", {"eos_token_id": [1, None]}),
        ("processor_config.json", {"feature_extractor": []}),
    ],
)
def test_a_setting_of_another_kind_is_refused(broken_folder, name, settings):
    folder = broken_folder()
    write_json(folder / name, settings)
    assert name in refused(folder).message


@pytest.mark.parametrize("settings", [{"image_mean": 3}, {"patch_size": "x"}, {"n_fft": [1]}])
def test_preprocessing_settings_that_are_no_settings_are_refused(broken_folder, settings):
    folder = broken_folder(full=True)
    write_json(folder / "preprocessor_config.json", SOUND | IMAGE | settings)
    assert str(folder) in refused(folder).message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_attention_heads": "x"}, "num_attention_heads"),
        ({"num_attention_heads": 0}, "division"),
        ({"num_hidden_layers": 9}, "num_hidden_layers"),
    ],
)
def test_a_config_that_the_library_cannot_build_is_refused(broken_folder, change, said):
    folder = broken_folder()
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= change
    write_json(folder / "config.json", config)
    assert said in refused(folder).message


@pytest.mark.parametrize("text", ["{", "{}", '{"base_model_name_or_path": 7}'])
def test_a_lora_release_that_names_no_base_is_refused(broken_folder, text):
    folder = broken_folder()
    (folder / "adapter_config.json").write_text(text)
    assert "names no base model" in refused(folder).message


def test_an_adapter_of_an_adapter_is_refused(broken_folder):
    folder = broken_folder()
    write_json(folder / "adapter_config.json", {"base_model_name_or_path": "."})
    assert "an adapter itself" in refused(folder).message


def test_an_index_that_names_a_missing_shard_is_refused(broken_folder):
    folder = broken_folder(full=True)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in refused(folder).message


@pytest.mark.parametrize("left", [0, 5, 100, 0.5, -1])
def test_a_half_downloaded_shard_is_refused(broken_folder, left):
    folder = broken_folder()
    file = folder / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * left) if isinstance(left, float) else left])
    assert "incomplete" in refused(folder).message


def test_a_folder_without_weights_is_refused(broken_folder):
    folder = broken_folder()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "no safetensors" in refused(folder).message


def test_missing_keys_are_counted(broken_folder):
    folder = broken_folder()
    weights = load_file(folder / "model.safetensors")
    gone = [name for name in weights if "layers.1.mlp" in name]
    save_file({n: w for n, w in weights.items() if n not in gone}, folder / "model.safetensors", {"format": "pt"})
    assert f"lacks {len(gone)} " in refused(folder).message


def test_weights_of_another_shape_are_refused(broken_folder):
    folder = broken_folder()
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"lm_head.weight": torch.zeros(3, 64)}, folder / "model.safetensors", {"format": "pt"})
    assert "lm_head.weight" in refused(folder).message


@pytest.mark.parametrize("damage", ["absent", "without marks", "not json"])
def test_a_folder_without_a_tokenizer_of_its_marks_is_refused(broken_folder, damage):
    folder = broken_folder()
    file = folder / "tokenizer.json"
    if damage == "absent":
        for tokenizer_file in folder.glob("*token*"):
            tokenizer_file.unlink()
    elif damage == "not json":
        file.write_text("{")
    else:
        for each in (file, folder / "tokenizer_config.json"):
            each.write_text(each.read_text().replace("<|im_end|>", "<|over|>"))
    assert "holds no tokenizer" in refused(folder).message


def test_an_unknown_name_is_a_usage_error_naming_the_nearest():
    with pytest.raises(UsageError) as caught:
        load("qwen2.5-omni-3")
    assert "qwen2.5-omni-3b" in caught.value.hint


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "no/where/at", "models/of mine"])
def test_a_folder_that_does_not_exist_is_a_usage_error(name):
    with pytest.raises(UsageError):
        load(name)


def test_an_adapter_of_a_base_that_no_hub_could_have_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/their/disk/base"}')
    assert "/their/disk/base" in refused(tmp_path).message


def test_no_weights_tells_how_large_and_how_to_get_them(hub_cache):
    error = refused("qwen2.5-omni-3b")
    assert "11.1 GiB" in error.message
    assert "omnimem models pull qwen2.5-omni-3b" in error.hint and "omnimem demo" in error.hint
    assert refused("Qwen/Qwen2.5-Omni-3B").message == error.message
    assert "omnimem models pull some/finetune" in refused("some/finetune").hint


def test_auto_takes_the_first_installed_row_that_fits(hub_cache, tiny_folder, monkeypatch):
    hub_cache[row("qwen2.5-omni-7b").hub_id] = tiny_folder
    hub_cache[row("qwen2.5-omni-3b").hub_id] = tiny_folder
    monkeypatch.setattr(loader, "total_memory", lambda device: 100e9)
    assert locate("auto", device="cpu").row.name == "qwen2.5-omni-7b"
    monkeypatch.setattr(loader, "total_memory", lambda device: 25e9)
    assert locate("auto", device="cpu").row.name == "qwen2.5-omni-3b"
    assert locate("auto", device="cpu", dtype="bfloat16").row.name == "qwen2.5-omni-7b"


def test_auto_never_takes_nano_unasked(hub_cache):
    error = refused("auto")
    assert "omnimem models pull" in error.hint and "omnimem demo" in error.hint


def test_a_half_downloaded_row_is_not_installed(hub_cache, broken_folder):
    folder = broken_folder(full=True)
    hub_cache[row("qwen2.5-omni-3b").hub_id] = folder
    assert installed(row("qwen2.5-omni-3b")) == folder
    (folder / "model-00001-of-00002.safetensors").unlink()
    assert installed(row("qwen2.5-omni-3b")) is None


def test_a_cached_repository_loads_by_name_and_by_hub_id(hub_cache, tiny_full_folder):
    hub_cache["Qwen/Qwen2.5-Omni-3B"] = tiny_full_folder
    hub_cache["some/finetune"] = tiny_full_folder
    assert load("qwen2.5-omni-3b", device="cpu").row == row("qwen2.5-omni-3b")
    assert load("Qwen/Qwen2.5-Omni-3B", device="cpu").row == row("qwen2.5-omni-3b")
    assert load("some/finetune", device="cpu").row.name == "some/finetune"


def test_a_repository_that_two_rows_share_is_the_one_whose_size_it_holds(hub_cache, monkeypatch, tiny_folder):
    small, large = row("video-salmonn2-plus-4b"), row("video-salmonn2-plus-8b")
    hub_cache[small.hub_id] = tiny_folder
    for held, other in ((small, large), (large, small)):
        monkeypatch.setattr(checkpoint.Checkpoint, "values", property(lambda self, held=held: held.params_b * 1e9))
        assert locate(held.name).row is held is locate(held.hub_id).row
        assert installed(held) == tiny_folder and installed(other) is None
        assert is_installed(held) and not is_installed(other), "as `models list` says it"
        with pytest.raises(MissingError, match=f"holds {held.name}, not {other.name}"):
            locate(other.name)


@pytest.mark.parametrize("name", ["nano", "Nano", "NANO"])
def test_the_built_in_model_is_found_by_its_name_in_any_case(name):
    found = locate(name, device="cpu")
    assert found.row == row("nano") and found.folder == loader.NANO


def test_every_family_of_the_catalogue_is_registered_once():
    names = [family.name for family in families()]
    assert len(set(names)) == len(names) and {known.family for known in ROWS} == set(names)
