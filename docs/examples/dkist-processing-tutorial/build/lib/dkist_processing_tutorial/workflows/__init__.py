"""Every workflow that a module here declares is exported."""
