"""Nothing here is a test: these modules need libraries that only `make zoo` installs."""

collect_ignore_glob = ["*.py"]
