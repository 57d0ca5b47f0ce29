"""How kept keys and values are stored is the store's own business: no other file may depend on it."""

import ast
from pathlib import Path

import torch

import omnimem_cli
from omnimem_cli.memory import store as module
from omnimem_cli.memory.store import Store

PACKAGE = Path(omnimem_cli.__file__).parent
INSIDE = {"_read", "_held", "_form", "_waiting", "_keys", "_values"}


def reads_of_a_store(source: str) -> list[str]:
    """Attributes through which a source would reach the entries of a store."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value).split("[")[0].split(".")[-1].lstrip("_")
            if owner in ("store", "stores") and node.attr in {"keys", "values"} | INSIDE:
                found.append(ast.unparse(node))
    return found


def inner_names_of_subclasses(source: str) -> list[str]:
    """What a subclass of Store takes from its inside."""
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    subclasses = [c for c in classes if any(ast.unparse(base).endswith("Store") for base in c.bases)]
    nodes = [node for c in subclasses for node in ast.walk(c) if isinstance(node, ast.Attribute)]
    return [ast.unparse(node) for node in nodes if node.attr in INSIDE]


def test_only_the_store_touches_kept_keys_and_values():
    caught = reads_of_a_store("layer.store.keys[:, 0]; self.stores[0]._values; merged.keys; store.table")
    assert sorted(caught) == ["layer.store.keys", "self.stores[0]._values"]
    others = [path for path in PACKAGE.rglob("*.py") if path != Path(module.__file__)]
    sources = {str(path.relative_to(PACKAGE)): path.read_text() for path in others}
    found = {name: reads_of_a_store(text) + inner_names_of_subclasses(text) for name, text in sources.items()}
    assert not {name: reads for name, reads in found.items() if reads}


def test_a_store_shows_no_tensor_of_keys_or_values():
    store = Store(2, 16, torch.float32, "cpu")
    assert {name for name in vars(store) if name.startswith("_")} == {"_groups", "_dim"} | INSIDE - {"_keys", "_values"}
    assert not {"keys", "values"} & set(dir(store))


def test_only_the_store_and_the_benchmark_of_the_forms_know_the_forms_of_keys_and_values():
    users = [path.name for path in PACKAGE.rglob("*.py") if "omnimem_cli.memory.forms import" in path.read_text()]
    assert sorted(users) == ["store.py", "text_bits.py"]
