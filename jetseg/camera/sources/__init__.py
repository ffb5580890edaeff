"""Where frames come from: a file for each kind of source, `opening` for what a user names, `live` for all cameras."""
