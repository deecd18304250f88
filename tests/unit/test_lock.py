"""The lock script: what a version of Python needs of what pip found with another one."""

from __future__ import annotations

from lock import reach

FOUND = {
    "project": {"requires_dist": ["a[x]>=1", "old; python_version < '3.11'", "new; python_version >= '3.11'"]},
    "a": {"requires_dist": ["A-B; extra == 'x'", "never; extra == 'y'", "older>=2; python_version < '3.10'"]},
    "a-b": {"requires_dist": ["project"]},
    "new": {"requires_dist": ["of-new"]},
    "of-new": {},
    "never": {},
}


def test_what_another_python_does_not_need_is_dropped_and_what_it_lacks_is_named() -> None:
    assert reach(FOUND, ["project"], "3.10") == ({"project", "a", "a-b"}, ["old"])
    assert reach(FOUND, ["project"], "3.11") == ({"project", "a", "a-b", "new", "of-new"}, [])
    assert reach(FOUND, ["a"], "3.9") == ({"a"}, ["older>=2"])
