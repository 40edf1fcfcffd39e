"""Tests of the C++ header: compiled, run, and paired with RLay's own ends."""
