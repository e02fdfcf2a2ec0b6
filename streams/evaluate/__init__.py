"""`crossmargin evaluate`: the margin report of a portfolio document, by the engine's own functions."""
