"""`crossmargin backtest`: what the margin models would have required in a past, and whether it was enough."""
