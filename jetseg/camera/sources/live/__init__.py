"""What every camera and stream shares: a connection that may hang, vanish and return, and the age of its frames."""
