"""`python -m seq2seq.data`: a module per subcommand, chosen in `app.py`."""
