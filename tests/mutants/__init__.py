"""Every guard and every fence of the product, each taken away by itself: some test must turn red.

The modules beside this one hold the tables, a MUTANTS each; `run` applies them, one at a time, to a copy of the tree (`make mutants`). A line of a table is repaired by
finding the guard again in the code: its text must stand in its file exactly once, and a test of the ordinary run sees to that.
"""

import importlib
import pkgutil

from tests.mutants.mutant import Mutant

TABLES = [module.name for module in pkgutil.iter_modules(__path__) if module.name not in ("mutant", "run")]
MUTANTS: tuple[Mutant, ...] = tuple(mutant for table in TABLES for mutant in importlib.import_module(f"{__name__}.{table}").MUTANTS)
