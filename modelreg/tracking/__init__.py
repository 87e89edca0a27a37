"""Tracking: what a run logs is kept in a journal on this machine first, and sent to the registry from there.

:mod:`~modelreg.tracking.run` is what users hold, :mod:`~modelreg.tracking.tracker` what makes one;
:mod:`~modelreg.tracking.journal` keeps, :mod:`~modelreg.tracking.writer` sends, through the protocol in
:mod:`~modelreg.tracking.sink`. Importing the package loads none of them.
"""
