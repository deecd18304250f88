"""Parts of `python -m seq2seq.evaluate`: the systems that it compares, and the texts that it scores them on."""
