"""Files of every kind: downloads, archives, compressed text, folders of the cache."""
