"""The ``modelreg`` command: one module per command group, each imported when it is called for."""
