"""A process limited to AVX2: its libraries, compiler and precision; in processes of their own, as a limit lasts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seq2seq.config.runtime import IsaName
from seq2seq.errors import ConfigError
from seq2seq.kernels import build, instruction_set
from seq2seq.runtime import cpu_has_bf16

PLAIN = {
    name: value
    for name, value in os.environ.items()
    if name not in {instruction_set.VARIABLE, *instruction_set.LIBRARIES}
}
needs_avx2 = pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="the processor has no AVX2")
CAPABILITY = "import torch; print(torch.backends.cpu.get_cpu_capability());"
CONFIGURE = (
    "from seq2seq import runtime; from seq2seq.config.runtime import *; runtime.configure(RuntimeConfig(isa={}));"
)
AVX2 = CONFIGURE.format("IsaName.avx2")
AUTO = CONFIGURE.format("IsaName.auto")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process that has no limit but that of `environment`."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=PLAIN | environment)


def printed(code: str, **environment: str) -> str:
    done = python(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_avx2
@pytest.mark.parametrize(("code", "variable"), [("import seq2seq;", "avx2"), (AVX2, ""), (AUTO, "avx2")])
def test_the_libraries_are_limited_before_they_compute(code: str, variable: str) -> None:
    """A lower limit of the user's is replaced, so that the limit is what it says."""
    show = CAPABILITY + "import os; print(os.environ['ONEDNN_MAX_CPU_ISA'], os.environ['MKL_ENABLE_INSTRUCTIONS'])"
    settings = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    assert printed(code + show, SEQ2SEQ_ISA=variable, **settings) == "AVX2\nAVX2 AVX2"
    assert printed("import seq2seq;" + CAPABILITY, ATEN_CPU_CAPABILITY="default") == "DEFAULT"


@needs_avx2
def test_onednn_reads_its_limit_at_its_first_product() -> None:
    product = "torch.conv1d(torch.ones(8, 8, 8), torch.ones(8, 8, 3))"
    settings = {"ONEDNN_MAX_CPU_ISA": "SSE41", "DNNL_MAX_CPU_ISA": "SSE41", "ONEDNN_VERBOSE": "1"}
    assert "isa:Intel SSE4.1" in printed(CAPABILITY + product, **settings)
    assert "isa:Intel AVX2" in printed(AVX2 + CAPABILITY + product, **settings)


@needs_avx2
def test_a_limit_that_comes_too_late_or_would_be_lifted_is_an_error() -> None:
    late = python(CAPABILITY + AVX2, ATEN_CPU_CAPABILITY="default")
    assert "ConfigError: isa=avx2: torch has chosen DEFAULT before; set SEQ2SEQ_ISA=avx2" in late.stderr
    lifted = python(AVX2 + AUTO)
    assert "ConfigError: isa=auto: an earlier run of this process set avx2" in lifted.stderr


@pytest.mark.parametrize("command", ["seq2seq.curves", "seq2seq.translate"])
def test_an_unknown_value_is_one_line(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", command, "--help"], capture_output=True, text=True, env=PLAIN | {"SEQ2SEQ_ISA": "AVX"}
    )
    assert (done.returncode, done.stderr) == (2, "error: SEQ2SEQ_ISA=AVX is unknown: use auto or avx2, or unset it\n")


def test_a_limited_process_has_no_bf16_and_another_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hardware has is passed as data; the compiler only writes down its arguments."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\nfor last; do :; done\necho "$@" > "$last"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    libraries = {}
    for isa, flag in (("", "-march=native"), ("auto", "-march=native"), ("avx2", "-march=x86-64-v3")):
        monkeypatch.setenv(instruction_set.VARIABLE, isa)
        path = build.library.__wrapped__().path
        assert path is not None
        assert [word for word in path.read_text().split() if word.startswith("-march")] == [flag]
        libraries[isa] = path
        for capability in ("avx512_bf16", "amx_bf16"):
            assert cpu_has_bf16({"avx2": True, capability: True}) is (isa != "avx2")
    assert not cpu_has_bf16({"avx2": True, "avx512_f": True})
    assert libraries[""] == libraries["auto"] != libraries["avx2"]


def test_the_kernels_can_be_compiled_for_a_limited_process() -> None:
    """x86-64-v3 is known to the compiler of this machine."""
    if instruction_set.current() is IsaName.auto and build.library().path is not None:
        show = "from seq2seq.kernels import bindings; print(bindings.problem())"
        assert printed(show, SEQ2SEQ_ISA="avx2") == "None"


def test_an_unknown_value_stops_every_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(instruction_set.VARIABLE, "sse")
    with pytest.raises(ConfigError, match="SEQ2SEQ_ISA=sse is unknown"):
        cpu_has_bf16({})
