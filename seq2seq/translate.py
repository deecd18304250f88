"""Translate text: `python -m seq2seq.translate MODEL [FILE ...]`, one line out per line in, in order."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.command import run, writing
from seq2seq.decoding.line_reader import check_inputs, windows
from seq2seq.errors import DataError

if TYPE_CHECKING:
    from seq2seq.decoding.translator import Translation, Translator


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = parser().parse_args(argv)
    return run(lambda: translate(args))


def parser() -> argparse.ArgumentParser:
    """Return the command line; defaults that come from the model file are None here."""
    parser = argparse.ArgumentParser(
        prog="seq2seq-translate",
        description="Translate text with a trained model, one line out per line in, in order.",
        epilog="Translations go to stdout, everything else to stderr. Exit status 2: a mistake in what was given.",
    )
    parser.add_argument("model", metavar="MODEL", help="model file, or a run folder that holds best.safetensors")
    parser.add_argument("files", metavar="FILE", nargs="*", help="UTF-8 text; none or -: standard input")
    parser.add_argument("--text", action="append", metavar="TEXT", help="translate this line instead (repeatable)")
    parser.add_argument("--output", default="-", metavar="FILE", help="write here; -: standard output")
    shape = parser.add_argument_group("what is written")
    shape.add_argument(
        "--n-best",
        type=_positive,
        default=1,
        metavar="N",
        help="up to N outputs per line, best first, as: number of the input line, TAB, score, TAB, text",
    )
    shape.add_argument("--scores", action="store_true", help="write each line as: score, TAB, text")
    search = parser.add_argument_group("search (defaults: the model's)")
    search.add_argument("--beam-size", type=int, metavar="K", help="hypotheses kept; 1 is greedy")
    search.add_argument("--length-penalty", type=float, metavar="ALPHA", help="higher prefers longer outputs; 0: none")
    search.add_argument(
        "--batch-tokens", type=int, metavar="N", help="ceiling of sentences × longest source in a batch"
    )
    process = parser.add_argument_group("process")
    process.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    process.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"), help="of matrix products")
    process.add_argument("--threads", type=_positive, metavar="N", help="CPU threads; default: torch's choice")
    process.add_argument(
        "--buffer-lines",
        type=_positive,
        default=2000,
        metavar="N",
        help="read ahead up to N lines to batch them by length; a pause in the input ends the wait (default 2000)",
    )
    process.add_argument("--strict", action="store_true", help="stop at bytes that are not UTF-8 (default: U+FFFD)")
    return parser


def translate(args: argparse.Namespace) -> None:
    """Translate what the command line names."""
    if args.text and args.files:
        raise DataError("give FILE or --text, not both")
    logging.basicConfig(format="warning: %(message)s")
    check_inputs(args.files)  # before the model is loaded: a wrong name fails at once
    translator = _load(args)
    options = _options(args, translator)
    done = 0
    with _output(args.output, args.files) as write:
        for lines in [args.text] if args.text else windows(args.files or ["-"], args.buffer_lines, args.strict):
            found = translator.translate_n_best(lines, **options)
            write("".join(_format(found, done, args)))
            done += len(lines)


def _load(args: argparse.Namespace) -> Translator:
    # Imported here because torch takes a second: --help and a mistyped flag answer at once.
    from seq2seq import runtime
    from seq2seq.config import RuntimeConfig
    from seq2seq.decoding.translator import Translator

    runtime.configure(RuntimeConfig(threads=args.threads))
    return Translator.load(args.model, args.device, args.precision)


def _options(args: argparse.Namespace, translator: Translator) -> dict[str, Any]:
    given = {name: getattr(args, name) for name in ("beam_size", "length_penalty", "batch_tokens")}
    given = {name: value for name, value in given.items() if value is not None}
    return {"n_best": args.n_best, "beam_size": max(translator.decode.beam_size, args.n_best), **given}


def _format(found: Iterable[Sequence[Translation]], done: int, args: argparse.Namespace) -> Iterator[str]:
    for number, outputs in enumerate(found, start=done + 1):
        for one in outputs:
            if args.n_best > 1:
                yield f"{number}\t{one.score:.4f}\t{one.text}\n"
            elif args.scores:
                yield f"{one.score:.4f}\t{one.text}\n"
            else:
                yield f"{one.text}\n"


@contextlib.contextmanager
def _output(name: str, inputs: Sequence[str]) -> Iterator[Callable[[str], None]]:
    """Yield a function that writes text to the file (`-`: standard output) at once."""
    shown = "standard output" if name == "-" else name
    with contextlib.ExitStack() as stack:
        with writing(shown):
            if any(_same(name, other) for other in inputs):
                raise DataError(f"{name} is both input and output")
            # Unbuffered: what a full disk has refused is not tried again on closing.
            file = sys.stdout.buffer if name == "-" else stack.enter_context(Path(name).open("wb", buffering=0))

        def write(text: str) -> None:
            data = text.encode()
            with writing(shown):
                while data:
                    data = data[file.write(data) :]
                file.flush()

        yield write


def _same(one: str, other: str) -> bool:
    return "-" not in (one, other) and Path(one).exists() and Path(one).samefile(other)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
