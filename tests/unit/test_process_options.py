"""The argument parser of the commands."""

import pytest

from seq2seq.cli.process_options import CommandParser
from seq2seq.errors import ConfigError


def parser() -> CommandParser:
    made = CommandParser(prog="x")
    made.add_argument("names", nargs="*")
    made.add_argument("--many", action="append")
    group = made.add_argument_group("group")
    group.add_argument("--number", "-n", type=int, default=1)
    group.add_argument("--flag", action="store_true")
    return made


@pytest.mark.parametrize("arguments", ["--number 1 --number 2", "-n 1 --numb 1", "--flag a --flag"])
@pytest.mark.parametrize("method", ["parse_args", "parse_intermixed_args"])
def test_an_option_that_is_given_twice_is_refused(arguments: str, method: str) -> None:
    with pytest.raises(ConfigError, match=r"^--\w+(/-n)? is given twice: give it once \(see x --help\)$"):
        getattr(parser(), method)(arguments.split())


@pytest.mark.parametrize("method", ["parse_args", "parse_intermixed_args"])
def test_a_parser_counts_anew_and_repeatable_options_repeat(method: str) -> None:
    made = parser()
    for _ in range(2):
        args = getattr(made, method)(["a", "--many", "1", "--flag", "--many", "1", "-n", "1"])
        assert (args.names, args.many, args.flag, args.number) == (["a"], ["1", "1"], True, 1)
