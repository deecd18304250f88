"""Run `python -m seq2seq.data`, whose subcommands are in `seq2seq/cli/data/`."""

import sys

from seq2seq.cli.data.app import main

if __name__ == "__main__":
    sys.exit(main())
