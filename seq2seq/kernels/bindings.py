"""The compiled kernels as functions of tensors; kernels.h defines their arguments.

They work on CPU tensors of float32, bfloat16 or float64. Sums, carried states and attention weights have the type
`sum_dtype(dtype)`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cffi
import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor
from torch.nn.functional import pad

from seq2seq.kernels import build
from seq2seq.kernels.program import Program, recorder

_TYPES = {  # of elements and of sums, as kernels.h is read with
    torch.float32: ("fp32", "typedef float element; typedef float sum;"),
    torch.bfloat16: ("bf16", "typedef struct { uint16_t bits; } element; typedef float sum;"),
    torch.float64: ("fp64", "typedef double element; typedef double sum;"),
}
_enabled = True
_threads: Callable[[], int] = torch.get_num_threads


def enable(enabled: bool) -> None:
    """Enable or disable the kernels in this process (default: enabled)."""
    global _enabled
    _enabled = enabled


def ask_for_threads(source: Callable[[], int]) -> None:
    """Ask `source` for the number of threads before each kernel that uses several (default: torch's number)."""
    global _threads
    _threads = source


def threads() -> int:
    """Return the number of threads to use now; a source that follows the load also sets torch's."""
    return _threads()


def usable(values: Tensor) -> bool:
    """Return whether the kernels can be used for such a tensor, under autocast too; the first call compiles them."""
    known = values.is_cpu and values.dtype in _TYPES and compute_dtype(values) in _TYPES
    return _enabled and known and failure() is None


@functools.cache
def failure() -> str | None:
    """Return why the kernels cannot be loaded on this machine; None if they can."""
    try:
        interface(torch.float32)
    except OSError as error:
        return str(error)
    return None


def problem() -> str | None:
    """Return a phrase that says why the kernels are off or limited to one thread; None if they run as they should."""
    reason = failure() if _enabled else "runtime.kernels=plain"
    if reason:
        return f"compiled kernels are off: {reason}"
    limits = interface(torch.float32).built.problem
    return limits and f"compiled kernels use one thread: {limits}"


def compute_dtype(values: Tensor) -> torch.dtype:
    """Return the type of matrix products: autocast's inside its context, else that of `values`."""
    kind = values.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else values.dtype


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type of sums over values of `dtype`."""
    return torch.promote_types(dtype, torch.float32)


class Interface(NamedTuple):
    """kernels.h as cffi reads it for one type of element, and the library's functions for that type."""

    built: build.Build
    ffi: cffi.FFI
    library: Any  # unloaded when nothing refers to it
    table: Any
    pointers: dict[torch.dtype, Any]
    cell_kinds: dict[str, int]


@functools.cache
def interface(dtype: torch.dtype) -> Interface:
    """Load the library for elements of this type.

    Raises:
        OSError: the library cannot be loaded, or was compiled from another kernels.h.
    """
    name, types = _TYPES[dtype]
    ffi = cffi.FFI()
    ffi.cdef(types + build.HEADER.read_text(encoding="utf-8") + f"const struct kernel_table *kernels_{name}(void);")
    built, library = _loaded(ffi)
    try:
        table = getattr(library, f"kernels_{name}")()
    except AttributeError as error:
        raise OSError(f"{error}; to compile it again, delete {built.path}") from None
    kernels = [kernel for kernel, field in ffi.typeof("struct kernel_table").fields if field.type.kind == "function"]
    size = ffi.sizeof("struct kernel_table") + sum(ffi.sizeof(f"struct {kernel}_args") for kernel in kernels)
    if (table.header, table.bytes) != (build.header_hash(), size):
        raise OSError(f"{built.path} was compiled from another kernels.h: delete it")
    names = {
        torch.int64: "int64_t",
        torch.bool: "uint8_t",
        torch.uint8: "uint8_t",
        torch.int8: "int8_t",
        sum_dtype(dtype): "sum",
    }
    pointers = {kind: ffi.typeof(f"{name} *") for kind, name in (names | {dtype: "element"}).items()}
    return Interface(built, ffi, library, table, pointers, ffi.typeof("enum cell_kind").relements)


def _loaded(ffi: cffi.FFI) -> tuple[build.Build, Any]:
    """Load the library; if it does not load here, one that is compiled once more, under another name.

    A home folder may be shared with a container that lacks a library of the system where the kernels were compiled.

    Raises:
        OSError: there is no library, or neither can be loaded.
    """
    problems: list[str] = []
    for _ in range(2):
        built = build.library(*problems)
        if built.path is None:
            raise OSError("; compiled again, ".join([*problems, str(built.problem)]))
        try:
            return built, ffi.dlopen(str(built.path))
        except OSError as error:
            reason = str(error).partition(".  Additionally")[0]  # cffi has also looked for a system library
            problems = [f"{reason}; to compile it again, delete {built.path}"]
    raise OSError(*problems)


def blocks(kind: str) -> tuple[int, int]:
    """Return the blocks of units of the gates, and of the activations saved for backward, of a kind of cell."""
    loaded = interface(torch.float32)
    number = loaded.cell_kinds[kind]
    return loaded.table.gates[number], loaded.table.saved[number]


class Kernel:
    """One kernel for one type of element, called with the fields of its struct in kernels.h by name.

    A tensor is passed as a pointer to its first element: its type must be that of the field, its layout that which
    kernels.h describes. Several are a tuple. None is null. Fields that are not given are 0.

    Args:
        name: of the kernel.
        dtype: of elements.
        fixed: fields that are the same at every call; tensors are kept alive.
    """

    def __init__(self, name: str, dtype: torch.dtype, **fixed: Any) -> None:
        _, ffi, _, table, self._pointers, self._cell_kinds = interface(dtype)
        self._new, self._cast, self._function = ffi.new, ffi.cast, getattr(table, name)
        self._type, self._kept = ffi.typeof(f"struct {name}_args *"), fixed
        self._has_threads = any(field == "threads" for field, _ in self._type.item.fields)
        self._fixed: dict[str, Any] = {}
        for field, value in fixed.items():
            if isinstance(value, Kernel):  # a struct inside another one
                self._fixed[field] = value._fixed
            elif value is not None:
                self._fixed[field] = self._cell_kinds[value] if isinstance(value, str) else self._converted(value)

    def __call__(self, **arguments: Any) -> None:
        """Run the kernel."""
        fields = self._fixed.copy()
        if self._has_threads:
            fields["threads"] = _threads()
        cast, pointers = self._cast, self._pointers
        for field, value in arguments.items():
            kind = type(value)  # a call in a search takes microseconds, and `isinstance` of a Tensor is slow
            if kind is Tensor:
                fields[field] = cast(pointers[value.dtype], value.data_ptr())
            elif kind is int:
                fields[field] = value
            elif kind is tuple:
                fields[field] = [cast(pointers[part.dtype], part.data_ptr()) for part in value]
            elif value is not None:
                fields[field] = self._converted(value)
        call = self._new(self._type, fields)
        if recorder.program is None:
            self._function(call)
        else:
            recorder.program.add(self._function, call, self._has_threads, arguments)

    def _converted(self, value: Any) -> Any:
        return self._cast(self._pointers[value.dtype], value.data_ptr()) if isinstance(value, Tensor) else value


_kernel = functools.cache(Kernel)


@contextlib.contextmanager
def recording() -> Iterator[Program]:
    """Record the kernels that this thread calls inside the block instead of running them."""
    _, ffi, _, table, *_ = interface(torch.float32)
    program = recorder.program = Program()
    try:
        yield program
    finally:
        recorder.program = None
    program.finish(ffi, table.program)


def _check(shape: tuple[int, ...], **tensors: Tensor | None) -> None:
    """Check tensors that a kernel reads or writes without knowing their layout.

    Raises:
        ValueError: a tensor is not on the CPU, not contiguous or of another shape.
    """
    for name, tensor in tensors.items():
        if tensor is not None and not (tensor.shape == shape and tensor.is_contiguous() and tensor.is_cpu):
            layout = f"shape {tuple(tensor.shape)}, strides {tensor.stride()}, on {tensor.device}"
            raise ValueError(f"{name}: {layout}; the kernel needs a contiguous CPU tensor of shape {shape}")


def cross_entropy(
    logits: Float[Tensor, "rows vocab"],
    bias: Float[Tensor, " vocab"] | None,
    targets: Int[Tensor, " rows"],
    smoothing: float,
    loss: Float[Tensor, " rows"],
    nll: Float[Tensor, " rows"],
) -> None:
    """Label-smoothed cross entropy of logits + bias: fill loss and nll; the gradient replaces the logits.

    A target that is no class makes the loss, nll and gradient of its row NaN.
    """
    rows, classes = logits.shape
    _check((rows, classes), logits=logits)
    _check((classes,), bias=bias)
    _check((rows,), targets=targets, loss=loss, nll=nll)
    _kernel("cross_entropy", logits.dtype)(
        rows=rows, classes=classes, logits=logits, bias=bias, targets=targets, smoothing=smoothing, loss=loss, nll=nll
    )


def r_drop(
    first: Float[Tensor, "rows vocab"],
    second: Float[Tensor, "rows vocab"],
    bias: Float[Tensor, " vocab"] | None,
    targets: Int[Tensor, " rows"],
    smoothing: float,
    alpha: float,
    loss: Float[Tensor, " rows"],
    nll: Float[Tensor, " rows"],
) -> None:
    """The same for the loss of R-Drop, whose second pass is `second`; its gradients replace the logits of both."""
    rows, classes = first.shape
    _check((rows, classes), first=first, second=second)
    _check((classes,), bias=bias)
    _check((rows,), targets=targets, loss=loss, nll=nll)
    sizes = {"rows": rows, "classes": classes, "smoothing": smoothing, "alpha": alpha}
    tensors = {"first": first, "second": second, "bias": bias, "targets": targets, "loss": loss, "nll": nll}
    _kernel("r_drop", first.dtype)(**sizes, **tensors)


def dropout(values: Float[Tensor, "*any"], output: Float[Tensor, "*any"], keep: float, seed: int) -> None:
    """Fill `output` with `values`, each kept with probability `keep` and divided by it, or 0; both contiguous."""
    _check(values.shape, values=values, output=output)
    _kernel("dropout", values.dtype)(count=values.numel(), values=values, output=output, keep=keep, seed=seed)


def log_sum_exp(values: Float[Tensor, "*rows columns"]) -> Float[Tensor, "*rows"]:
    """Return log(sum of e^x) over the last dimension."""
    values = values.contiguous()
    output = values.new_empty(values.shape[:-1], dtype=sum_dtype(values.dtype))
    _kernel("log_sum_exp", values.dtype)(rows=output.numel(), columns=values.shape[-1], values=values, output=output)
    return output


def best_continuations(
    logits: Float[Tensor, "sentences beam vocab"],
    normaliser: Float[Tensor, "sentences beam"],
    live: Float[Tensor, "sentences beam"],
    only_eos: Bool[Tensor, " sentences"] | None,
    never: Bool[Tensor, "one_or_sentences vocab"],
    eos: int,
    totals: Float[Tensor, "sentences best"],
    parents: Int[Tensor, "sentences best"],
    tokens: Int[Tensor, "sentences best"],
    log_probs: Float[Tensor, "sentences best"],
) -> None:
    """Fill the last four tensors with the best continuations by one token; all tensors are contiguous."""
    sentences, beam, vocab = logits.shape
    _check((sentences, beam, vocab), logits=logits)
    _check((sentences, beam), normaliser=normaliser, live=live)
    _check((sentences,), only_eos=only_eos)
    _check((1 if len(never) == 1 else sentences, vocab), never=never)
    _check((sentences, totals.shape[1]), totals=totals, parents=parents, tokens=tokens, log_probs=log_probs)
    if not (0 <= eos < vocab and totals.shape[1]):
        raise ValueError(f"eos={eos}, best={totals.shape[1]}: need 0 ≤ eos < {vocab} and best ≥ 1")
    _kernel("best_continuations", logits.dtype)(
        sentences=sentences,
        beam=beam,
        vocab=vocab,
        best=totals.shape[1],
        logits=logits,
        normaliser=normaliser,
        live=live,
        only_eos=only_eos,
        never=never,
        never_stride=vocab if len(never) > 1 else 0,
        eos=eos,
        totals=totals,
        parents=parents,
        tokens=tokens,
        log_probs=log_probs,
    )


def _padded(outputs: int, panel: int) -> int:
    """Return `outputs`, rounded up to a multiple of `panel`."""
    return -(-outputs // panel) * panel


def pack(weight: Float[Tensor, "outputs inputs"]) -> Float[Tensor, "padded_outputs inputs"]:
    """Return the matrix as `packed_product` reads it."""
    outputs, inputs = weight.shape
    weight = weight if weight.stride(1) == 1 else weight.contiguous()
    panel = interface(weight.dtype).table.panel
    packed = weight.new_empty(_padded(outputs, panel), inputs, dtype=sum_dtype(weight.dtype))
    _kernel("pack", weight.dtype)(
        inputs=inputs, outputs=outputs, weight=weight, weight_stride=weight.stride(0), packed=packed
    )
    return packed


def packed_product(
    x: Float[Tensor, "*rows inputs"],
    packed: Float[Tensor, "padded_outputs inputs"],
    outputs: int,
    bias: Float[Tensor, " outputs"] | None,
) -> Float[Tensor, "*rows outputs"]:
    """Return x W^T + b for a packed W; the rounding of a row depends neither on other rows nor on threads."""
    inputs, x = x.shape[-1], x.contiguous()
    _check((_padded(outputs, interface(x.dtype).table.panel), inputs), packed=packed)
    _check((outputs,), bias=bias)
    output = x.new_empty(*x.shape[:-1], outputs)
    _kernel("packed_product", x.dtype)(
        rows=x.numel() // inputs, inputs=inputs, outputs=outputs, x=x, packed=packed, bias=bias, output=output
    )
    return output


def has_int8_product() -> bool:
    """Return whether this machine has the instructions that make `int8_product` fast."""
    return usable(torch.zeros(0)) and bool(interface(torch.float32).table.int8)


class Int8Product:
    """x -> x W^T + b computed in 8 bits, with a scale for each row of W and one for each row of x.

    The sums are exact and every row of x has its own scale, so its result depends neither on other rows nor on threads.

    Args:
        weight: W / scales, rounded.
        scales: of the rows of W.
        bias: b; None: 0.
        dtype: of x and of the result.
        tanh: return tanh(x W^T + b) instead.
    """

    def __init__(
        self,
        weight: Int8[Tensor, "outputs inputs"],
        scales: Float[Tensor, " outputs"],
        bias: Float[Tensor, " outputs"] | None,
        dtype: torch.dtype,
        tanh: bool = False,
    ) -> None:
        self.outputs, self.inputs = weight.shape
        table = interface(torch.float32).table
        panel, group = table.int8_panel, table.int8_group
        _check((self.outputs,), scales=scales, bias=bias)
        filled = pad(weight, (0, -self.inputs % group, 0, -self.outputs % panel))
        packed = filled.view(len(filled) // panel, panel, -1, group).transpose(1, 2).contiguous()
        fixed = {"packed": packed, "scales": scales, "bias": bias, "tanh": tanh}
        self._product = Kernel("int8_product", dtype, inputs=self.inputs, outputs=self.outputs, **fixed)

    def __call__(self, *parts: Float[Tensor, "_ _"]) -> Float[Tensor, "rows outputs"]:
        """Return x W^T + b for x = [part, part, …] of up to four parts, whose rows may lie apart.

        Raises:
            ValueError: parts of other shapes.
        """
        rows, widths = parts[0].shape[0], [part.shape[1] for part in parts]
        output = parts[0].new_empty(rows, self.outputs)
        contiguous = all(part.shape[0] == rows and part.stride(1) == 1 for part in parts)
        if not (contiguous and sum(widths) == self.inputs and len(parts) <= 4 and parts[0].is_cpu):
            shapes = [(*part.shape, *part.stride()) for part in parts]
            raise ValueError(f"parts: shapes and strides {shapes}; the kernel needs rows of {self.inputs} on the CPU")
        strides = [part.stride(0) for part in parts]
        self._product(rows=rows, parts=len(parts), x=parts, widths=widths, strides=strides, output=output)
        return output
