"""The workflows, one module each. Their version is the one of the release that is built, ``BUILD_VERSION``."""
