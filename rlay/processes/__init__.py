"""Starting, supervising and ending other programs."""
