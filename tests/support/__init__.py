"""Shared by the tests: waiting, child processes, what a test leaves behind."""
