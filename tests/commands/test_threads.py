"""Threads that wait leave the processor to others, unless the user says otherwise."""

import json
import os
import subprocess
import sys

import pytest

from omnimem_cli.base.process import PASSIVE

CLI = "import json, os, sys; from omnimem_cli.app import run; run(['models', 'show', 'nano', '-f', 'json'])"
API = "import json, os, sys; import omnimem_cli; omnimem_cli.load_model"


@pytest.mark.parametrize("entrance", [CLI, API])
@pytest.mark.parametrize(
    ("own", "expected"), [({}, PASSIVE), ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"})]
)
def test_waiting_threads_sleep_unless_the_user_chose_otherwise(entrance, own, expected):
    environment = {name: value for name, value in os.environ.items() if name not in PASSIVE} | own
    code = f"{entrance}; print(); print(json.dumps(dict(os.environ)))"
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    after = json.loads(ended.stdout.splitlines()[-1])
    assert {name: after[name] for name in PASSIVE if name in after} == expected
