"""The workflows, one per module. Their version is that of the release that is built, ``BUILD_VERSION``."""
