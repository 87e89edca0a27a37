"""The registry's REST operations, one method each."""
