"""A package, so that `tests.statistics_of_tests` is always this one."""
