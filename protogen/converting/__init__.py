"""File to file, with receipts; comparing two models."""
