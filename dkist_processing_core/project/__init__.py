"""What is done to an author's source tree. Runs in: author and CI."""
