"""What importing modelreg loads, name by name, and how long it takes.

A module that is new in a list below costs every program that imports modelreg: look twice before you add it.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys

import pytest

# What must never be loaded before a call needs it.
HEAVY = {
    "adlfs",
    "boto3",
    "botocore",
    "falcon",
    "gcsfs",
    "granian",
    "grpc",
    "lark",
    "numpy",
    "obstore",
    "psycopg",
    "rich",
} | {
    "s3fs",
    "sqlite3",
}
# What compilers of Python put beside the modules that they compiled, under names of their own.
COMPILED = re.compile(r"cython|__mypyc$")
PACKAGE = ["modelreg", "modelreg._version"]
# Generous, as machines that run tests are busy: several times what a quiet one measures.
LIMIT_S = {"import modelreg": 0.060, "from modelreg import ModelRegistry": 0.900}


def loaded_by(statement: str) -> set[str]:
    """The names of the modules that ``statement`` loads in a new process, beyond those of an empty program."""
    report = "import json, sys; before = set(sys.modules); {}; print(json.dumps(sorted(set(sys.modules) - before)))"
    result = subprocess.run(
        [sys.executable, "-c", report.format(statement)], capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout))


def cpu_seconds(statement: str) -> float:
    """The CPU time that ``statement`` takes in a new process, whatever else the machine is doing meanwhile."""
    code = f"import time; start = time.process_time(); {statement}; print(time.process_time() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def test_importing_the_package_loads_no_other_module_of_it_and_no_library():
    own_or_foreign = {
        name for name in loaded_by("import modelreg") if name.partition(".")[0] not in sys.stdlib_module_names
    }

    assert sorted(own_or_foreign) == PACKAGE


@pytest.mark.parametrize("statement", LIMIT_S)
def test_importing_loads_nothing_heavy(statement: str):
    assert loaded_by(statement) & HEAVY == set()


def test_importing_the_registry_loads_these_libraries_and_no_other():
    loaded = {name.partition(".")[0] for name in loaded_by("from modelreg import ModelRegistry")}
    libraries = {name for name in loaded if not COMPILED.search(name)} - sys.stdlib_module_names - {"modelreg"}
    # urllib3 takes what it finds to unpack answers with.
    libraries.discard("zstandard")

    assert sorted(libraries) == ["attr", "attrs", "certifi", "charset_normalizer", "idna", "requests", "urllib3"]


@pytest.mark.parametrize("statement", LIMIT_S)
def test_importing_is_quick(statement: str):
    assert statistics.median(cpu_seconds(statement) for _ in range(5)) < LIMIT_S[statement]
