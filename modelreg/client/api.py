"""``RegistryAPI``: one method for each operation of the registry, named after it."""

from __future__ import annotations

from modelreg.client.additions import Additions, BatchResult, ServerCapabilities
from modelreg.client.experiments import ExperimentOperations
from modelreg.client.models import ModelOperations
from modelreg.client.serving import ServingOperations

__all__ = ["BatchResult", "RegistryAPI", "ServerCapabilities"]


class RegistryAPI(ModelOperations, ExperimentOperations, ServingOperations, Additions):
    """A registry's operations: those of the contract, and those that modelreg's own registry adds.

    Listings take :class:`~modelreg.types.ListOptions` and return a :class:`~modelreg.types.Page`; give one to a
    :class:`~modelreg.types.pager.Pager` for all its pages. A create whose answer is lost is looked up by its name,
    so that there is never a second object.

    Args:
        session: What carries requests to the registry.
    """
