"""The SQL doors: jobs submitted and completed in other programs' transactions."""
