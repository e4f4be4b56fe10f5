"""The `headrace` command: what operators and scripts type."""
