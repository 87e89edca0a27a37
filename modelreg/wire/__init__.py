"""Conversion between what users hold and what goes over the wire; nothing else."""
