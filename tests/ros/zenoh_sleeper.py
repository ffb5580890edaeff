"""A subscriber on Zenoh that the test stops: PORT."""

import sys
import time

import zenoh
from peer import say


def main():
    config = zenoh.Config()
    config.insert_json5("connect/endpoints", f'["tcp/127.0.0.1:{sys.argv[1]}"]')
    config.insert_json5("scouting/multicast/enabled", "false")
    with zenoh.open(config) as session:
        session.declare_subscriber("0/segmentation/*/*", lambda sample: None)
        say("ready")
        time.sleep(60)


if __name__ == "__main__":
    main()
