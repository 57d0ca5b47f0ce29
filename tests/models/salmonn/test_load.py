"""Released checkpoints: every stored tensor finds its place, and nothing else is accepted."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from salmonn_tiny import DATA, FAMILIES, load_tiny, tiny_salmonn, tiny_weights
from transformers import Qwen2_5_VLConfig, Qwen3VLConfig

from omnimem_cli.base.errors import DoesNotFitError, MissingError
from omnimem_cli.models import hub
from omnimem_cli.models.catalogue import row
from omnimem_cli.models.folder import read_checkpoint
from omnimem_cli.models.loader import installed, load, locate
from omnimem_cli.models.salmonn.load import renamed
from omnimem_cli.models.salmonn.qwen3 import Qwen3Salmonn
from omnimem_cli.models.salmonn.qwen25 import Qwen25Salmonn

BUFFER = "qformer.bert.embeddings.position_ids"


@pytest.fixture
def folder(request, tmp_path):
    return tiny_salmonn(tmp_path / "model", getattr(request, "param", "salmonn25"))


def refused(folder) -> str:
    with pytest.raises(MissingError) as caught:
        load_tiny(folder)
    assert caught.value.exit_code == 5
    assert caught.value.hint
    return caught.value.message


def rewrite(folder, change) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_every_published_tensor_is_loaded_and_none_is_missing(folder):
    stored = {key: value for key, value in load_file(folder / "model.safetensors").items() if BUFFER not in key}
    held = load_tiny(folder).model.state_dict()
    assert {renamed(key) for key in stored} == set(held)
    for key, value in stored.items():
        assert torch.equal(held[renamed(key)], value), key


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_a_folder_without_a_tokenizer_is_refused(folder):
    for file in folder.glob("*token*"):
        file.unlink()
    assert "holds no tokenizer" in refused(folder)


def with_sound(folder, change) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config["audio_config"])
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_a_config_without_what_equals_its_classs_default_loads(folder):
    def without_defaults(sound):
        del (
            sound["activation_function"],
            sound["qformer_config"]["hidden_act"],
            sound["qformer_config"]["layer_norm_eps"],
        )

    before = load_tiny(folder).model.audio.qformer.config.to_dict()
    with_sound(folder, without_defaults)
    assert load_tiny(folder).model.audio.qformer.config.to_dict() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sound: sound.update(second_stride=0.25), "second_stride"),
        (lambda sound: sound.pop("second_per_window"), "second_per_window"),
        (lambda sound: sound.pop("qformer_config"), "qformer_config"),
        (lambda sound: sound["qformer_config"].update(query_length=2), "query_length"),
        (lambda sound: sound["qformer_config"].pop("encoder_width"), "encoder_width"),
        (lambda sound: sound.pop("num_mel_bins"), "weights of another shape"),
        (lambda sound: sound.update(encoder_attention_heads=3), "cannot be loaded"),
    ],
)
def test_a_sound_config_that_no_tower_can_be_built_from_is_refused(folder, change, said):
    with_sound(folder, change)
    assert said in refused(folder)


def test_memory_that_runs_out_while_weights_are_placed_is_6(folder, monkeypatch):
    def full(*args, **more):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(Qwen25Salmonn, "from_pretrained", full)
    with pytest.raises(DoesNotFitError, match="do not fit on cpu") as caught:
        load_tiny(folder)
    assert "omnimem doctor" in caught.value.hint


def wide(family: str, layers: dict[str, int]) -> set[str]:
    """The published key layout with as many layers as ``layers`` says per stack."""
    keys = set()
    for key in json.loads((DATA / family / "shapes.json").read_text()):
        stack = re.match(r"(.*?(?:layers|layer|blocks))\.0\.", key)
        if stack:
            count = layers[stack[1]]
            keys |= {key.replace(f"{stack[1]}.0.", f"{stack[1]}.{i}.", 1) for i in range(count)}
        elif not re.search(r"(layers|layer|blocks)\.\d+\.", key):
            keys.add(key)
    return keys


QFORMER = {
    "hidden_size": 3072, "num_hidden_layers": 2, "num_attention_heads": 12, "intermediate_size": 12288,
    "hidden_act": "gelu", "layer_norm_eps": 1e-12, "encoder_width": 1280, "cross_attention_freq": 1, "query_length": 1,
}  # fmt: skip
SOUND = {
    "num_mel_bins": 128, "d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120, "max_source_positions": 1500, "second_per_window": 0.5, "second_stride": 0.5,
    "qformer_config": QFORMER,
}  # fmt: skip


def test_the_7b_geometry_has_the_published_keys_and_size():
    config = Qwen2_5_VLConfig(
        text_config={
            "hidden_size": 3584, "num_hidden_layers": 28, "intermediate_size": 18944,
            "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
        },
        vision_config={"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584},
        audio_config=SOUND,
    )  # fmt: skip
    layers = {"audio.layers": 32, "audio.qformer.bert.encoder.layer": 2, "visual.blocks": 32, "model.layers": 28}
    compare(Qwen25Salmonn, config, wide("salmonn25", layers), keys=1274, billions=9.22)


def test_the_8b_geometry_has_the_published_keys_and_size():
    config = Qwen3VLConfig(
        text_config={
            "hidden_size": 4096, "num_hidden_layers": 36, "intermediate_size": 12288, "head_dim": 128,
            "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 151936,
        },
        vision_config={
            "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "out_hidden_size": 4096, "num_heads": 16,
            "deepstack_visual_indexes": [8, 16, 24], "num_position_embeddings": 2304, "patch_size": 16,
        },
        audio_config=SOUND,
    )  # fmt: skip
    layers = {
        "model.audio.layers": 32, "model.audio.qformer.bert.encoder.layer": 2, "model.visual.blocks": 27,
        "model.language_model.layers": 36,
    }  # fmt: skip
    compare(Qwen3Salmonn, config, wide("salmonn3", layers), keys=1295, billions=9.70)


def compare(kind, config, published_config: set[str], *, keys: int, billions: float) -> None:
    assert len(published_config) == keys
    with torch.device("meta"):
        held = kind(config).state_dict()
    assert {renamed(key) for key in published_config if BUFFER not in key} == set(held)
    assert sum(value.numel() for value in held.values()) / 1e9 == pytest.approx(billions, abs=0.005)


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_a_checkpoint_that_lacks_a_tensor_is_refused(folder):
    rewrite(folder, lambda tensors: {k: v for k, v in tensors.items() if "q_tokens" not in k})
    assert "audio.q_tokens" in refused(folder)


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
@pytest.mark.parametrize(
    "name", ["model.layers.0.self_attn.rotary_emb.inv_freq", "visual.rotary_pos_emb.inv_freq", "model.layers.0.ttt_w1"]
)
def test_tensors_that_no_model_reads_are_passed_over(folder, name):
    checkpoint = read_checkpoint(folder)
    values, before = checkpoint.values, load_tiny(folder).model.state_dict()
    rewrite(folder, lambda tensors: tensors | {name: torch.zeros(2)})
    after = load_tiny(folder).model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items()) and checkpoint.values == values


def test_tensors_that_the_model_does_not_have_are_refused_by_name(folder):
    rewrite(folder, lambda tensors: tensors | {"model.layers.0.attt_w1": torch.zeros(2), "talker.x": torch.zeros(2)})
    assert "holds 2 weights that its model does not have" in refused(folder)
    assert "attt_w1" in refused(folder)


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_a_head_that_alone_is_missing_is_the_input_embeddings(folder):
    rewrite(folder, lambda tensors: {k: v for k, v in tensors.items() if k != "lm_head.weight"})
    adapter = load_tiny(folder)
    assert adapter.model.lm_head.weight is adapter.decoder.get_input_embeddings().weight


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_ends_that_a_folder_lists_are_added_to_those_of_the_text(folder):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [300, 65]}))
    assert load_tiny(folder).eos_ids == (300, 301, 308)


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_settings_of_pixels_that_are_another_familys_are_refused(folder):
    own = load_tiny(folder).patches
    settings = {"image_mean": own.image_mean, "image_std": [0.3, 0.3, 0.3]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    assert "image_std" in refused(folder)


def test_a_tensor_of_another_shape_is_refused(folder):
    rewrite(folder, lambda tensors: tensors | {"audio.audio_proj.bias": torch.zeros(3)})
    assert "audio.audio_proj.bias" in refused(folder)


def test_plain_qwen_vl_is_refused(folder):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    del config["audio_config"]
    file.write_text(json.dumps(config))
    assert "qwen2_5_vl" in refused(folder)


def test_half_precision_loads_whole(folder):
    from omnimem_cli.models.loader import load

    adapter = load(str(folder), device="cpu", dtype="bfloat16")
    assert {weight.dtype for weight in adapter.model.parameters()} == {torch.bfloat16}
    assert adapter.hear(torch.zeros(1, 16, 3000)).dtype == torch.bfloat16


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
@pytest.mark.parametrize(("dtype", "kind"), [("int8", "Linear8bitLt"), ("int4", "Linear4bit")])
def test_quantized_weights_are_those_of_the_language_model_alone(folder, dtype, kind):
    pytest.importorskip("bitsandbytes")
    adapter = load(str(folder), device="cpu", dtype=dtype)
    inside = [name for name, part in adapter.model.named_modules() if type(part).__name__ == kind]
    assert inside and not any(part in name for name in inside for part in ("visual", "audio", "lm_head"))


def lora_release(base, path, **config):
    """A PEFT folder on ``base``: q, k, v of the language model, and the visual merger stored whole."""
    path.mkdir()
    generator, stored = torch.Generator().manual_seed(1), {}
    for key, weight in tiny_weights("salmonn25").items():
        if re.fullmatch(r"model\.layers\.\d+\.self_attn\.[qkv]_proj\.weight", key):
            module = "base_model.model." + key.removesuffix(".weight")
            stored[f"{module}.lora_A.weight"] = torch.randn(4, weight.shape[1], generator=generator)
            stored[f"{module}.lora_B.weight"] = torch.randn(weight.shape[0], 4, generator=generator)
        elif key.startswith("visual.merger."):
            stored[f"base_model.model.{key}"] = torch.randn(weight.shape, generator=generator)
    save_file(stored, path / "adapter_model.safetensors")
    settings = {"base_model_name_or_path": base, "r": 4, "lora_alpha": 8, "peft_type": "LORA"} | config
    (path / "adapter_config.json").write_text(json.dumps(settings))
    return stored


def test_a_lora_release_is_merged_into_its_base(folder, tmp_path):
    stored = lora_release(str(folder), tmp_path / "lora")
    base, merged = load_tiny(folder).model.state_dict(), load_tiny(tmp_path / "lora").model.state_dict()
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert len(changed) == 3 * 3 + 5
    name, module = "model.language_model.layers.1.self_attn.k_proj.weight", "base_model.model.model.layers.1.self_attn"
    delta = 2 * stored[f"{module}.k_proj.lora_B.weight"] @ stored[f"{module}.k_proj.lora_A.weight"]
    torch.testing.assert_close(merged[name], base[name] + delta)
    assert torch.equal(merged["model.visual.merger.mlp.2.bias"], stored["base_model.model.visual.merger.mlp.2.bias"])


def test_a_lora_release_without_its_base_names_it(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "cached", lambda hub_id: None)
    lora_release("some/audioAlign", tmp_path / "lora")
    assert "some/audioAlign" in refused(tmp_path / "lora")


def test_a_lora_release_of_another_base_is_refused(folder, tmp_path):
    lora_release(str(folder), tmp_path / "lora")
    file = tmp_path / "lora" / "adapter_model.safetensors"
    save_file({"base_model.model.model.layers.77.self_attn.q_proj.lora_A.weight": torch.zeros(4, 64)}, file)
    assert "layers.77" in refused(tmp_path / "lora")


@pytest.mark.parametrize("folder", ["salmonn3"], indirect=True)
def test_the_omnimem_repository_keeps_its_model_in_a_folder_of_its_own(folder, tmp_path, monkeypatch):
    repository = tmp_path / "snapshot"
    shutil.copytree(folder, repository / "vs2_checkpoint")
    (repository / "base").mkdir()
    for file in [*repository.glob("vs2_checkpoint/tokenizer*")]:
        file.rename(repository / "base" / file.name)
    assert load_tiny(repository).decode([72, 105]) == "Hi"
    monkeypatch.setattr(hub, "cached", lambda hub_id: repository if hub_id == "BrianatCambridge/OmniMem" else None)
    smaller = row("video-salmonn2-plus-4b")  # of the two that the repository may hold, the nearer to a tiny one
    assert installed(smaller) == repository == locate(smaller.name).folder


@pytest.mark.parametrize("folder", FAMILIES, indirect=True)
def test_a_tied_head_may_be_absent(folder):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": True}))
    rewrite(folder, lambda tensors: {k: v for k, v in tensors.items() if k != "lm_head.weight"})
    adapter = load_tiny(folder)
    assert adapter.model.lm_head.weight is adapter.decoder.embed_tokens.weight
