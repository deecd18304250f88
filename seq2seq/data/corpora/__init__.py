"""The corpora, one module per source."""
