"""OCI registries: the distribution API, spoken in-process, with no other program's help."""
