"""What loads and runs models by the format of their files, each module importing its library when a model is loaded."""

from __future__ import annotations
