"""A package, so that `tests.helpers.statistics` is always this one."""
