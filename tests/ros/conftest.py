"""The peers are programs of their own, with libraries that may not be here."""

collect_ignore_glob = ["*peer.py", "*_sleeper.py"]
