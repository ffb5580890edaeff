"""The search for the best chain within a budget: on one machine or many, resumable at any moment."""
