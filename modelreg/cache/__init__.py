"""A store of files by their content, shared by many processes: content in, content out; it knows no URI scheme.

:class:`~modelreg.cache.store.Cache` is the whole of it. The layout on disk is documented as a format of its own
(``docs/reference/cache-format.md``). What a hit needs imports the standard library alone.
"""
