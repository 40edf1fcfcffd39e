"""What users and authors of clients test with."""
