"""The subcommands of `python -m seq2seq.draw`."""
