"""Says what compression cost and gained: tables, figures and one HTML page."""
