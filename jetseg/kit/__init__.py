"""The deployment kit: one file that carries a network to a vehicle, with the frames that prove it arrived whole."""
