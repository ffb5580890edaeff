"""What a verb does, for verb, recipe, notebook and search alike: opens what is named, runs stages, returns results."""
