"""Whole messages between two processes of one machine. Synchronous."""
