"""LoRA weights merged at load time: what `--adapter` names."""

import json

import pytest
import torch
from fake_run import omnimem
from families import MAKERS
from safetensors.torch import save_file

from omnimem_cli.base.errors import MissingError, UsageError
from omnimem_cli.base.settings import Settings
from omnimem_cli.jobs.model import LazyModel
from omnimem_cli.jobs.recall import check_model
from omnimem_cli.models.loader import load


def lora_folder(path, model, rank=4, seed=1, **config):
    """A folder in PEFT's layout for q, k and v of a model's decoder."""
    path.mkdir()
    generator, stored = torch.Generator().manual_seed(seed), {}
    decoder = model.get_decoder()
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    for name, module in decoder.named_modules():
        if name.endswith(("q_proj", "k_proj", "v_proj")):
            key = f"base_model.model.{prefix}.{name}"
            stored[f"{key}.lora_A.weight"] = torch.randn(rank, module.in_features, generator=generator)
            stored[f"{key}.lora_B.weight"] = torch.randn(module.out_features, rank, generator=generator)
    save_file(stored, path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 8} | config
    (path / "adapter_config.json").write_text(json.dumps(settings))
    return stored


@pytest.mark.parametrize("family", MAKERS)
def test_an_adapter_is_added_to_the_weights_of_any_family(family, tmp_path):
    folder = MAKERS[family](tmp_path / "model")
    base = load(str(folder), device="cpu")
    stored = lora_folder(tmp_path / "lora", base.model)
    tuned = load(str(folder), device="cpu", lora=str(tmp_path / "lora"))
    before, after = base.model.state_dict(), tuned.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    modules = {key.removeprefix("base_model.model.").rpartition(".lora_")[0] for key in stored}
    assert changed == {f"{module}.weight" for module in modules}
    module = min(modules)
    low, high = (stored[f"base_model.model.{module}.lora_{half}.weight"] for half in "AB")
    torch.testing.assert_close(after[f"{module}.weight"], before[f"{module}.weight"] + 8 / 4 * high @ low)
    assert base.lora is None and tuned.lora["name"] == "lora"


@pytest.mark.parametrize("family", MAKERS)
def test_a_merged_adapter_answers_as_the_peft_library_does(family, tmp_path):
    peft = pytest.importorskip("peft")
    folder = MAKERS[family](tmp_path / "model")
    base = load(str(folder), device="cpu")
    stored = lora_folder(tmp_path / "lora", base.model, target_modules=["q_proj", "k_proj", "v_proj"])
    ours = load(str(folder), device="cpu", lora=str(tmp_path / "lora")).decoder
    peft.PeftModel.from_pretrained(base.model, tmp_path / "lora")
    embeds = torch.randn(1, 9, base.decoder.config.hidden_size, generator=torch.Generator().manual_seed(0))
    theirs, mine = (d(inputs_embeds=embeds, use_cache=False).last_hidden_state for d in (base.decoder, ours))
    assert stored and (theirs - mine).abs().max() < 1e-3
    plain = load(str(folder), device="cpu").decoder(inputs_embeds=embeds, use_cache=False).last_hidden_state
    assert (theirs - plain).abs().max() > 1e-2


def test_an_adapter_of_another_model_is_refused(tiny_folder, tiny_adapter, tmp_path):
    held = min(lora_folder(tmp_path / "lora", tiny_adapter.model)).rpartition(".lora_")[0]
    file = tmp_path / "lora" / "adapter_model.safetensors"
    for key, width, why in ((held.replace(".0.", ".77."), 64, "layers.77"), (held, 3, "shape")):
        pair = {"lora_A": torch.zeros(4, width), "lora_B": torch.zeros(32, 4)}
        save_file({f"{key}.{half}.weight": part for half, part in pair.items()}, file)
        with pytest.raises(MissingError, match=why):
            load(str(tiny_folder), device="cpu", lora=str(tmp_path / "lora"))


def test_a_folder_that_is_no_plain_lora_is_refused_before_any_work(tiny_adapter, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    lora_folder(tmp_path / "dora", tiny_adapter.model, use_dora=True)
    lora_folder(tmp_path / "torn", tiny_adapter.model)
    (tmp_path / "torn" / "adapter_model.safetensors").unlink()
    lora_folder(tmp_path / "words", tiny_adapter.model)
    (tmp_path / "words" / "adapter_config.json").write_text("[1]")
    for name, code, why in (
        ("nowhere", 2, "is no adapter"),
        ("empty", 2, "is no adapter"),
        ("dora", 5, "use_dora"),
        ("torn", 5, "lacks adapter_model.safetensors"),
        ("words", 5, "not a JSON object"),
    ):
        assert omnimem("summarize", "clip.mp4", "-m", "nano", "--adapter", str(tmp_path / name)) == code
        assert why in capsys.readouterr().err


def test_weights_that_cannot_be_read_are_refused(tiny_folder, tiny_adapter, tmp_path):
    lora_folder(tmp_path / "lora", tiny_adapter.model)
    (tmp_path / "lora" / "adapter_model.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(MissingError, match="cannot be read"):
        load(str(tiny_folder), device="cpu", lora=str(tmp_path / "lora"))


def test_quantized_weights_take_no_adapter(tiny_folder, tiny_adapter, tmp_path, monkeypatch):
    lora_folder(tmp_path / "lora", tiny_adapter.model)
    monkeypatch.setattr("omnimem_cli.models.loader.dtype_name", lambda dtype, device, cpu_dtype: "int8")
    with pytest.raises(UsageError, match="int8"):
        load(str(tiny_folder), device="cpu", dtype="int8", lora=str(tmp_path / "lora"))


def test_an_adapter_is_part_of_what_identifies_the_model(tiny_folder, tiny_adapter, tmp_path):
    lora_folder(tmp_path / "a", tiny_adapter.model)
    lora_folder(tmp_path / "b", tiny_adapter.model, seed=2)
    found = [LazyModel(Settings(model=str(tiny_folder), adapter=lora)).facts() for lora in (None, *_folders(tmp_path))]
    assert "adapter" not in found[0] and len({facts.get("adapter") for facts in found}) == 3
    check_model("x.omnimem", found[1], found[1])
    for made, here in ((found[0], found[1]), (found[1], found[0]), (found[1], found[2])):
        with pytest.raises(UsageError, match="adapter"):
            check_model("x.omnimem", made, here)


def _folders(path):
    return str(path / "a"), str(path / "b")
