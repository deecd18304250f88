"""Pictures: functions that return a Matplotlib figure, and `figure.save`.

Matplotlib is in the extra `plots`, and imported in functions only.
"""
