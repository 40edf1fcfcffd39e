"""Gymnasium environments over channels."""
