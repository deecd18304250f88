"""The process around a run: device, precision, threads, allocator, seeding."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from collections.abc import Iterator

import torch

from seq2seq.config.schema import AllocatorName, KernelsName, RuntimeConfig
from seq2seq.config.training import PrecisionName
from seq2seq.errors import ConfigError
from seq2seq.kernels import bindings

# mallopt parameter numbers (glibc malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def configure(config: RuntimeConfig) -> None:
    """Set threads and allocator; only commands call this, never an import."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    bindings.enable(config.kernels is KernelsName.auto)
    if config.allocator is AllocatorName.auto:
        keep_freed_memory()
    # Every new shape (rows, length) compiles kernels, and oneDNN keeps those of the last 1,024, and torch its calls of
    # them, with scratch memory: gigabytes in an hour. Only the products of a loop come again. Read at first use.
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, "16")


def kernels_problem(device: torch.device) -> str | None:
    """Return why this device has no compiled kernels, or in what they fall short; None if nothing is missing."""
    return bindings.problem() if device.type == "cpu" else None


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next tensor; return whether it was told.

    By default glibc gives every large block back to the kernel, and each new tensor then costs a page fault per
    4 KiB. Nothing happens on another C library, or where the user has chosen (MALLOC_* or a preloaded allocator).
    """
    chosen = "LD_PRELOAD" in os.environ or any(name.startswith("MALLOC_") for name in os.environ)
    if chosen or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    values = ((_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 256 * 2**20), (_M_MMAP_MAX, 0))
    accepted = [mallopt(parameter, value) == 1 for parameter, value in values]
    return all(accepted)


def resolve_device(name: str) -> torch.device:
    """Return the device called `name` (auto, cpu, cuda, cuda:N, mps).

    Raises:
        ConfigError: unknown name, or this machine has no such device.
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
        found = f": {torch.cuda.device_count()} CUDA devices found" if device.type == "cuda" else ""
        raise ConfigError(f"device {name!r} is not there{found}")
    return device


def resolve_precision(name: PrecisionName, device: torch.device) -> torch.dtype:
    """Return the type of the matrix products; `auto` is bf16 where the hardware multiplies it natively."""
    if name is PrecisionName.auto:
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    return torch.bfloat16 if name is PrecisionName.bf16 else torch.float32


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """Return the context in which matrix products run in `dtype`."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


@contextlib.contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Switch dropout off inside the block and put the mode back after it."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def seed_everything(seed: int) -> None:
    """Seed torch's generators; every other random choice is derived from (seed, epoch) where it is made."""
    torch.manual_seed(seed)
