"""The place of ``kserve.utils``: what handlers written for KServe make their answers with."""
