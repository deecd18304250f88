"""The process around a run: device, precision, threads, allocator, seeding."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import warnings
from collections.abc import Iterator, Mapping

import torch

from seq2seq.config.runtime import AllocatorName, IsaName, KernelsName, RuntimeConfig
from seq2seq.config.training import PrecisionName
from seq2seq.errors import ConfigError
from seq2seq.kernels import bindings, instruction_set
from seq2seq.runtime.threads import thread_source

# mallopt parameter numbers (glibc malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def configure(config: RuntimeConfig, processes: int = 1) -> None:
    """Apply the process settings; called by commands only, never at import.

    Args:
        config: the settings.
        processes: ranks of this run on this machine, which share its cores.

    Raises:
        ConfigError: the instructions cannot be limited to `config.isa`.
    """
    limit_instructions(config.isa)
    bindings.ask_for_threads(thread_source(config.threads, processes))
    bindings.enable(config.kernels is KernelsName.auto)
    if config.allocator is AllocatorName.auto:
        keep_freed_memory()
    # cuDNN copies the weights of a layer side by side in each call: a few megabytes, which a user cannot change.
    warnings.filterwarnings("ignore", message="RNN module weights are not part of single contiguous chunk of memory")
    # oneDNN compiles a primitive for every new shape (rows, length). oneDNN and torch each cache the last 1,024, with
    # scratch memory: gigabytes within an hour. Only the products inside a loop are reused. Both read this at first use.
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, "16")


def limit_instructions(isa: IsaName) -> None:
    """Limit the instructions of this process to `isa`, `auto` being the limit that the environment sets, and check it.

    Raises:
        ConfigError: this machine has no such instructions, or torch has chosen others before.
    """
    instruction_set.limit(isa)
    wanted = instruction_set.current()
    if wanted is IsaName.auto:
        return
    if not torch.cpu._is_avx2_supported():  # ATen does not check it
        raise ConfigError(f"isa={wanted}: this processor ({platform.machine()}) has no such instructions")
    if (found := torch.backends.cpu.get_cpu_capability()) != wanted.name.upper():
        raise ConfigError(
            f"isa={wanted}: torch has chosen {found} before; set {instruction_set.VARIABLE}={wanted} in the environment"
        )


def kernels_problem(device: torch.device) -> str | None:
    """Return why the compiled kernels are off or slow on this device; None if they run as they should."""
    return bindings.problem() if device.type == "cpu" else None


def keep_freed_memory() -> bool:
    """Configure glibc to keep freed memory for the next tensor; return True if it accepted.

    By default glibc returns every large block to the kernel, and each new tensor then costs a page fault per 4 KiB.
    Does nothing with another C library, or if the user configured an allocator (MALLOC_*, LD_PRELOAD).
    """
    configured = "LD_PRELOAD" in os.environ or any(name.startswith("MALLOC_") for name in os.environ)
    if configured or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    values = ((_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 256 * 2**20), (_M_MMAP_MAX, 0))
    accepted = [mallopt(parameter, value) == 1 for parameter, value in values]
    return all(accepted)


def resolve_device(name: str) -> torch.device:
    """Return the device called `name` (auto, cpu, cuda, cuda:N, mps).

    Raises:
        ConfigError: the name is unknown, or this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device {name!r} is unknown: use auto, cpu, cuda, cuda:N or mps") from None
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if device.type not in present:
        raise ConfigError(f"device {name!r} is not supported: use auto, cpu, cuda, cuda:N or mps")
    if not present[device.type]:
        count = f": {torch.cuda.device_count()} CUDA devices found" if device.type == "cuda" else ""
        raise ConfigError(f"device {name!r} is not available{count}; use auto or cpu")
    return device


def resolve_precision(name: PrecisionName, device: torch.device) -> torch.dtype:
    """Return the type of the matrix products; `auto` is bf16 if the hardware multiplies it natively, else fp32.

    Raises:
        ConfigError: fp16 on another device than a CUDA GPU.
    """
    if name is PrecisionName.auto:
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    if name is PrecisionName.fp16 and device.type != "cuda":
        raise ConfigError(f"precision fp16 runs on a CUDA GPU, not on {device}: use auto, fp32 or bf16")
    return {PrecisionName.bf16: torch.bfloat16, PrecisionName.fp16: torch.float16}.get(name, torch.float32)


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and cpu_has_bf16(getattr(torch.cpu, "get_capabilities", dict)())


def cpu_has_bf16(capabilities: Mapping[str, object]) -> bool:
    """Return whether a processor with these capabilities multiplies bf16 natively, under this process' limit."""
    limited = instruction_set.current() is not IsaName.auto
    return not limited and bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """Return the autocast context for matrix products in `dtype`; fp32 holds inside a block of another type, too."""
    if not torch.amp.is_autocast_available(device.type):  # the meta device: there is nothing to turn off
        return contextlib.nullcontext()
    if dtype == torch.float32:
        return torch.autocast(device.type, enabled=False)
    return torch.autocast(device.type, dtype=dtype)


@contextlib.contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Put the network in evaluation mode inside the block, and back in its previous mode after it."""
    was_training = network.training
    if any(module.training for module in network.modules()):  # changing nothing takes longer than looking
        network.eval()
    try:
        yield
    finally:
        if was_training:
            network.train()


def seed_everything(seed: int) -> None:
    """Seed torch's generators; all other random numbers are functions of (seed, epoch) or (seed, step)."""
    torch.manual_seed(seed)
