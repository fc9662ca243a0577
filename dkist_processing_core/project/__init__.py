"""What is done to the source tree of an author's package."""
