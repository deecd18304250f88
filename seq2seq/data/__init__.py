"""From text to batches: download, corpus, split, tokenizer, binarised ids, batches."""
