"""Tools of the tests: real servers, real programs, a ledger of executions."""
