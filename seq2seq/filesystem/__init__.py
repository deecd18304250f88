"""Writing that a crash, a full disk or another process cannot spoil: atomic files, temporary names, locks."""
