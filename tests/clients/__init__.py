"""Tests of the clients in other languages; each needs its language's tools."""
