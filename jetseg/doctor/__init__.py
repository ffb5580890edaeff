"""What this machine has and lacks for jetseg, with a next step for each."""
