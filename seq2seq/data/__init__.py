"""From text files to padded batches: corpora, reading, cleaning, splitting, tokenizer, binarised ids, batching."""
