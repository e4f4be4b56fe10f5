"""What a mutant is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A guard taken away. `find` stands in `file` exactly once and becomes `put`; then one of `tests` (as pytest names them; several words: file, then -k) is red."""

    name: str
    file: str
    find: str
    put: str
    tests: str
