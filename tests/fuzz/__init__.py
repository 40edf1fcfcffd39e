"""Any bytes, at every place where bytes of a peer come in."""
